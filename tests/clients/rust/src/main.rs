use std::{env, error::Error, time::Duration};

use openapi::{
    apis::{
        Error as Failure,
        configuration::Configuration,
        customers_api::create_customer,
        inventory_api::{get_stock, receive_stock},
        orders_api::{PlaceOrderError, get_order, list_orders, place_order},
    },
    models::{
        CreateCustomer, Order, OrderLineInput, OrderState, PlaceOrder, PlacedOrder, Problem, ReceiveStock,
        place_order::Currency,
    },
};
use uuid::Uuid;

/// An order of two units, whose idempotency key ends in `what`.
async fn place(
    server: &Configuration,
    name: &str,
    customer: Uuid,
    what: &str,
) -> Result<PlacedOrder, Failure<PlaceOrderError>> {
    let line = OrderLineInput::new(2, format!("{name}-beans"), 1890);
    let order = PlaceOrder::new(Currency::Eur, customer, vec![line]);
    place_order(server, order, Some(&format!("{name}-{what}")), None, None, None).await
}

async fn get(server: &Configuration, order: Uuid) -> Result<Order, Box<dyn Error>> {
    Ok(get_order(server, &order.to_string(), None, None, None, None, None).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = env::var("CLIENT")?;
    let mut server = Configuration::new();
    server.base_path = env::var("ORDERLOG_URL")?;
    server.bearer_access_token = Some(env::var("ORDERLOG_KEY")?);

    let ada = CreateCustomer::new(format!("{name}@example.com"), "Ada".to_owned());
    let key = format!("{name}-customer");
    let customer = create_customer(&server, ada, Some(&key), None, None, None).await?.customer_id;
    let (sku, key) = (format!("{name}-beans"), format!("{name}-stock"));
    receive_stock(&server, &sku, ReceiveStock::new(10), Some(&key), None, None, None, None).await?;

    let placed = place(&server, &name, customer, "order").await?.order_id;
    let repeated = place(&server, &name, customer, "order").await?.order_id;
    assert_eq!(repeated, placed, "the same key placed a second order");
    let mut order = get(&server, placed).await?;
    for _ in 0..100 {
        if order.state != OrderState::Placed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        order = get(&server, placed).await?;
    }
    let (of, state) = (customer.to_string(), Some(OrderState::Confirmed));
    let list = list_orders(&server, Some(&of), state, None, None, None, None, None, None, None, None).await?;
    assert_eq!(list.items[0].order_id, placed, "the list has another order");
    let stock = get_stock(&server, &sku, None, None, None, None).await?;

    // `entity` is the first variant whose fields fit, which is `Status400` whatever the status: a `Problem` says which one it was.
    let problem: Problem = match place(&server, &name, placed, "refused").await {
        Err(Failure::ResponseError(response)) => serde_json::from_str(&response.content)?,
        other => return Err(format!("{other:?} instead of a refusal").into()),
    };
    println!(
        "order {placed} is {}, {} of {} are available, refused: {}",
        order.state, stock.available, stock.on_hand, problem.code
    );
    Ok(())
}
