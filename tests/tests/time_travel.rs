//! `as_of`: things as they were, told from their own records.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use chrono::{DateTime, SecondsFormat, Utc};
use orderlog_tests::{
    deployment::{Distributed, Embedded},
    http::{Answer, Http},
    story::{Shop, text},
};
use serde_json::{Value, json};

/// A moment that lies behind everything that was answered, and before everything that is asked from now on.
fn a_moment() -> String {
    let moment = Utc::now();
    // Records tell whole milliseconds.
    while Utc::now().timestamp_millis() <= moment.timestamp_millis() {
        std::thread::yield_now();
    }
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn position(answer: &Answer) -> String {
    answer.header("Orderlog-Position").unwrap_or_else(|| panic!("no position: {answer:?}")).to_owned()
}

async fn as_of(http: &Http, path: &str, moment: &str) -> Value {
    let answer = http.get(&format!("{path}?as_of={moment}")).await;
    let journal_and_offset = position(&answer);
    if moment.contains('@') {
        assert_eq!(journal_and_offset, moment, "the answer says which position it reflects");
    }
    answer.expect(200)
}

async fn customers_as_they_were(shop: &Shop) -> String {
    let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
    let created = shop.customers.post("/customers", json!({"name": "Ada", "email": email})).await;
    let (at_first, then) = (position(&created), a_moment());
    let id = text(&created.expect(201), "customer_id");
    let path = format!("/customers/{id}");
    let renamed = shop.customers.patch(&path, json!({"name": "Countess Lovelace"})).await;
    assert_eq!(as_of(&shop.customers, &path, &at_first).await["name"], "Ada");
    assert_eq!(as_of(&shop.customers, &path, &then).await["name"], "Ada");
    assert_eq!(as_of(&shop.customers, &path, &position(&renamed)).await["name"], "Countess Lovelace");
    id
}

/// Each record of an order's history is found again as the state that it left.
async fn orders_as_they_were(shop: &Shop, customer: &str, sku: &str) -> String {
    let order = shop.order(customer, &[(sku, 3)]).await;
    let path = format!("/orders/{order}");
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    let then = a_moment();
    shop.invoice_becomes(&order, "open").await;
    shop.pay(&order, 750).await;
    let now = shop.order_becomes(&order, "confirmed", "paid").await;
    let history = shop.orders.get(&format!("{path}/history")).await.expect(200);
    let items = history["items"].as_array().unwrap().clone();
    let states = [("placed", "unpaid"), ("confirmed", "unpaid"), ("confirmed", "paid")];
    assert_eq!(items.len(), states.len(), "{history}");
    for (item, (state, payment)) in items.iter().zip(states) {
        let was = as_of(&shop.orders, &path, &format!("orders@{}", item["offset"])).await;
        assert_eq!((&was["state"], &was["payment"]), (&json!(state), &json!(payment)), "{was}");
        assert_eq!(was["version"], item["version"]);
    }
    assert_eq!(as_of(&shop.orders, &path, &then).await["payment"], "unpaid");
    assert_eq!(as_of(&shop.orders, &path, &a_moment()).await, now, "now is the newest past");
    order
}

/// Each movement is found again as the level that it left, also where the record is about a reservation.
async fn stock_as_it_was(shop: &Shop, sku: &str) {
    let path = format!("/stock/{sku}");
    let threshold = json!({"low_stock_threshold": 1});
    let unchanged = json!({"low_stock_threshold": 1});
    shop.inventory.put(&format!("{path}/threshold"), threshold).await.expect(200);
    let last = position(&shop.inventory.put(&format!("{path}/threshold"), unchanged).await);
    let movements = shop.inventory.get(&format!("{path}/movements")).await.expect(200);
    let movements = movements["items"].as_array().unwrap().clone();
    assert!(movements.len() >= 3, "received, reserved, another threshold: {movements:?}");
    for movement in &movements {
        let was = as_of(&shop.inventory, &path, &format!("inventory@{}", movement["offset"])).await;
        for field in ["on_hand", "reserved", "available"] {
            assert_eq!(was[field], movement["after"][field], "{field}: {was} {movement}");
        }
        assert_eq!(was["version"], movement["version"]);
    }
    let now = shop.inventory.get(&path).await.expect(200);
    assert_eq!(as_of(&shop.inventory, &path, &last).await, now);
}

async fn invoices_as_they_were(shop: &Shop, customer: &str, sku: &str) {
    let order = shop.order(customer, &[(sku, 1)]).await;
    let path = format!("/billing/{order}");
    shop.invoice_becomes(&order, "open").await;
    let mut positions = Vec::new();
    for amount in [100, 50, 100] {
        let body = json!({"order_id": order, "amount": amount, "currency": "EUR", "reference": "bank 1"});
        positions.push(position(&shop.billing.post("/billing", body).await));
    }
    let mut paid = Vec::new();
    for position in &positions {
        paid.push(as_of(&shop.billing, &path, position).await["amount_paid"].clone());
    }
    assert_eq!(paid, [json!(100), json!(150), json!(250)]);
}

async fn what_never_was_is_told(shop: &Shop, customer: &str, order: &str) {
    let path = format!("/orders/{order}");
    let asked = async |moment: &str| shop.orders.get(&format!("{path}?as_of={moment}")).await;
    let range = asked("orders@1000000").await.expect_problem(400, "invalid_request");
    assert_eq!(range["errors"][0]["code"], "out_of_range", "{range}");
    assert!(text(&range, "detail").contains("it goes from orders@0"), "{range}");
    let problem = asked("1999-12-31T23:59:59Z").await.expect_problem(400, "invalid_request");
    assert_eq!(problem["errors"][0]["code"], "out_of_range", "{problem}");
    let now = shop.orders.get(&path).await.expect(200);
    assert_eq!(asked("2999-12-31T23:59:59Z").await.expect(200), now, "nothing is newer than now");
    for moment in ["billing@1", "yesterday", "17", ""] {
        let problem = asked(moment).await.expect_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["code"], "invalid_as_of", "{moment}: {problem}");
    }
    let early = asked("orders@0").await.expect_problem(404, "unknown_order");
    assert!(text(&early, "detail").contains("as of orders@0; its first record is orders@"), "{early}");
    let both = shop.orders.get(&format!("{path}?as_of=orders@0&expand=stock")).await;
    assert_eq!(both.expect_problem(400, "invalid_request")["errors"][0]["code"], "expand_with_as_of");
    let other = shop.orders.get(&format!("/orders/{customer}?as_of=orders@0")).await;
    let other = other.expect_problem(404, "unknown_order");
    assert!(text(&other, "detail").ends_with("as of orders@0"), "{other}");
    // East of Greenwich, with a plus as people type it.
    let now = Utc::now().with_timezone(&chrono::FixedOffset::east_opt(3_600).unwrap());
    assert!(DateTime::parse_from_rfc3339(&now.to_rfc3339()).is_ok());
    asked(&now.to_rfc3339()).await.expect(200);
}

async fn time_travels(shop: &Shop) {
    let sku = "travelling";
    shop.receive(sku, 10).await;
    let customer = customers_as_they_were(shop).await;
    let order = orders_as_they_were(shop, &customer, sku).await;
    stock_as_it_was(shop, sku).await;
    invoices_as_they_were(shop, &customer, sku).await;
    what_never_was_is_told(shop, &customer, &order).await;
}

#[tokio::test]
async fn things_are_told_as_they_were_on_the_embedded_log() {
    let deployment = Embedded::start().await;
    time_travels(&Shop::from(&deployment)).await;
}

#[tokio::test]
async fn things_are_told_as_they_were_on_kafka() {
    let deployment = Distributed::start().await;
    time_travels(&Shop::from(&deployment)).await;
}
