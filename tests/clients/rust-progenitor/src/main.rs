use std::{env, error::Error, time::Duration};

use futures_util::TryStreamExt;
use orderlog_client::{
    ByteStream, Client, Error as Failure,
    types::{CreateCustomer, OrderLineInput, OrderState, PlaceOrder, PlaceOrderCurrency, Problem, ReceiveStock},
};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An order of two units, whose idempotency key ends in `what`.
async fn place(
    client: &Client,
    name: &str,
    customer: Uuid,
    what: &str,
) -> std::result::Result<Uuid, Failure<ByteStream>> {
    let invalid = |error: &dyn Error| Failure::InvalidRequest(error.to_string());
    let line = OrderLineInput {
        sku: format!("{name}-beans").parse().map_err(|error| invalid(&error))?,
        quantity: 2.try_into().map_err(|error| invalid(&error))?,
        unit_price: 1890,
    };
    let order = PlaceOrder { customer_id: customer, currency: PlaceOrderCurrency::Eur, lines: vec![line] };
    let key = format!("{name}-{what}").parse().map_err(|error| invalid(&error))?;
    Ok(client.place_order(Some(&key), None, None, None, &order).await?.into_inner().order_id)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let name = env::var("CLIENT")?;
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {}", env::var("ORDERLOG_KEY")?).parse()?);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    let client = Client::new_with_client(&env::var("ORDERLOG_URL")?, http);

    let ada = CreateCustomer { name: "Ada".parse()?, email: format!("{name}@example.com").parse()? };
    let key = format!("{name}-customer").parse()?;
    let customer = client.create_customer(Some(&key), None, None, None, &ada).await?.customer_id;
    let goods = ReceiveStock { quantity: 10.try_into()? };
    let sku = format!("{name}-beans");
    client
        .receive_stock(&sku.parse()?, Some(&format!("{name}-stock").parse()?), None, None, None, None, &goods)
        .await?;

    let placed = place(&client, &name, customer, "order").await?;
    assert_eq!(place(&client, &name, customer, "order").await?, placed, "the same key placed a second order");
    let mut order = client.get_order(&placed, None, None, None, None, None).await?.into_inner();
    for _ in 0..100 {
        if order.state != OrderState::Placed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        order = client.get_order(&placed, None, None, None, None, None).await?.into_inner();
    }
    let confirmed = Some(OrderState::Confirmed);
    let list = client
        .list_orders(None, None, None, Some(&customer), None, None, None, confirmed, None, None)
        .await?
        .into_inner();
    assert_eq!(list.items[0].order_id, placed, "the list has another order");
    let stock = client.get_stock(&sku.parse()?, None, None, None, None).await?.into_inner();

    // progenitor knows no `application/problem+json`: it gives the body as a stream of bytes, and `Problem` as a type.
    let refused = match place(&client, &name, placed, "refused").await {
        Err(Failure::ErrorResponse(response)) => response.into_inner().into_inner(),
        other => return Err(format!("{other:?} instead of a refusal").into()),
    };
    let body: Vec<u8> = refused.try_fold(Vec::new(), async |all, part| Ok([all, part.to_vec()].concat())).await?;
    let problem: Problem = serde_json::from_slice(&body)?;
    println!(
        "order {placed} is {}, {} of {} are available, refused: {}",
        order.state, stock.available, stock.on_hand, problem.code
    );
    Ok(())
}
