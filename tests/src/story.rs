//! The story that both deployments must tell alike: customers, stock, orders, payments, alerts.

use serde_json::{Value, json};

use crate::{
    deployment::{Distributed, Embedded, SERVICES},
    eventually,
    http::Http,
};

/// The five services, wherever they run.
#[derive(Clone, Debug)]
pub struct Shop {
    pub customers: Http,
    pub orders: Http,
    pub inventory: Http,
    pub billing: Http,
    pub notifications: Http,
}

impl From<&Embedded> for Shop {
    fn from(deployment: &Embedded) -> Self {
        Self::from(&deployment.http())
    }
}

/// All services at one address.
impl From<&Http> for Shop {
    fn from(http: &Http) -> Self {
        let [customers, orders, inventory, billing, notifications] = SERVICES.map(|_| http.clone());
        Self { customers, orders, inventory, billing, notifications }
    }
}

impl From<&Distributed> for Shop {
    fn from(deployment: &Distributed) -> Self {
        let [customers, orders, inventory, billing, notifications] = SERVICES.map(|service| deployment.http(service));
        Self { customers, orders, inventory, billing, notifications }
    }
}

/// The text at `field` of a document.
///
/// # Panics
/// If there is none.
#[track_caller]
pub fn text(document: &Value, field: &str) -> String {
    document[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {document}")).to_owned()
}

impl Shop {
    /// A new customer's id.
    pub async fn customer(&self, name: &str) -> String {
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let customer = self.customers.post("/customers", json!({"name": name, "email": email})).await.expect(201);
        text(&customer, "customer_id")
    }

    pub async fn receive(&self, sku: &str, quantity: u32) {
        self.inventory.post(&format!("/stock/{sku}/receive"), json!({"quantity": quantity})).await.expect(200);
    }

    /// Place an order of units at 250 cents each; its id.
    pub async fn order(&self, customer_id: &str, lines: &[(&str, u32)]) -> String {
        let lines: Vec<_> =
            lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity, "unit_price": 250})).collect();
        let body = json!({"customer_id": customer_id, "currency": "EUR", "lines": lines});
        // A relay begins once its instance holds the lease, which takes seconds on Kafka: until then the customer is unknown, or
        // orders answer that they have not heard everything.
        let placed = eventually("orders hear of the customer", async || {
            let answer = self.orders.post("/orders", body.clone()).await;
            (![404, 503].contains(&answer.status.as_u16())).then_some(answer)
        });
        let order = placed.await.expect(201);
        assert_eq!((&order["state"], &order["payment"]), (&json!("placed"), &json!("unpaid")), "{order}");
        text(&order, "order_id")
    }

    /// Pay so many cents.
    pub async fn pay(&self, order_id: &str, amount: i64) -> Value {
        let body = json!({"order_id": order_id, "amount": amount, "currency": "EUR", "reference": "bank 1"});
        self.billing.post("/billing", body).await.expect(201)
    }

    /// Wait until an order is as wanted.
    pub async fn order_becomes(&self, order_id: &str, state: &str, payment: &str) -> Value {
        eventually(&format!("order {order_id} becomes {state}, {payment}"), async || {
            let order = self.orders.get(&format!("/orders/{order_id}")).await.expect(200);
            (order["state"] == state && order["payment"] == payment).then_some(order)
        })
        .await
    }

    /// Wait until the stock of a SKU is as wanted: on hand and reserved.
    pub async fn stock_becomes(&self, sku: &str, on_hand: u32, reserved: u32) -> Value {
        eventually(&format!("{sku} becomes {on_hand} on hand, {reserved} reserved"), async || {
            let stock = self.inventory.get(&format!("/stock/{sku}")).await.expect(200);
            (stock["on_hand"] == on_hand && stock["reserved"] == reserved).then_some(stock)
        })
        .await
    }

    /// Wait until an order's invoice is in this state.
    pub async fn invoice_becomes(&self, order_id: &str, state: &str) -> Value {
        eventually(&format!("the invoice of {order_id} becomes {state}"), async || {
            let answer = self.billing.get(&format!("/billing/{order_id}")).await;
            (answer.status == 200 && answer.body["state"] == state).then_some(answer.body)
        })
        .await
    }

    /// Wait until so many notifications for a recipient have a subject that begins so.
    pub async fn notified(&self, recipient: &str, subject: &str, n: usize) -> Vec<Value> {
        eventually(&format!("{recipient} is told `{subject}` {n} times"), async || {
            let found = self.told(recipient, subject).await;
            assert!(found.len() <= n, "told too often: {found:?}");
            (found.len() == n).then_some(found)
        })
        .await
    }

    /// The notifications for a recipient whose subject begins so.
    ///
    /// # Panics
    /// If the list can't be read.
    pub async fn told(&self, recipient: &str, subject: &str) -> Vec<Value> {
        let page = self.notifications.get(&format!("/notifications?recipient={recipient}&limit=100")).await.expect(200);
        let items = page["items"].as_array().unwrap_or_else(|| panic!("no items in {page}")).clone();
        items.into_iter().filter(|item| item["subject"].as_str().is_some_and(|it| it.starts_with(subject))).collect()
    }
}

/// Play the whole story. `tag` makes its SKUs nobody else's.
pub async fn play(shop: &Shop, tag: &str) {
    let (widget, gadget) = (format!("widget-{tag}"), format!("gadget-{tag}"));
    let ada = shop.customer("Ada").await;
    shop.receive(&widget, 10).await;
    shop.receive(&gadget, 5).await;
    let threshold = json!({"low_stock_threshold": 3});
    shop.inventory.put(&format!("/stock/{widget}/threshold"), threshold).await.expect(200);

    paid_and_fulfilled(shop, &ada, &widget, &gadget).await;
    out_of_stock(shop, &ada, &widget, &gadget).await;
    low_and_recovered(shop, &ada, &widget).await;
    cancelled_after_payment(shop, &ada, &gadget).await;
    illegal_things_write_nothing(shop, &ada, &gadget).await;
}

async fn paid_and_fulfilled(shop: &Shop, ada: &str, widget: &str, gadget: &str) {
    let order = shop.order(ada, &[(widget, 2), (gadget, 1), (widget, 1)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.stock_becomes(widget, 10, 3).await;
    shop.stock_becomes(gadget, 5, 1).await;
    shop.orders.post_nothing(&format!("/orders/{order}/fulfil")).await.expect_problem(409, "not_paid");

    shop.invoice_becomes(&order, "open").await;
    shop.pay(&order, 400).await;
    let invoice = shop.pay(&order, 600).await;
    assert_eq!((&invoice["state"], &invoice["amount_paid"]), (&json!("paid"), &json!(1000)), "{invoice}");
    shop.order_becomes(&order, "confirmed", "paid").await;
    shop.notified(ada, "Order paid", 1).await;

    shop.orders.post_nothing(&format!("/orders/{order}/fulfil")).await.expect(200);
    shop.stock_becomes(widget, 7, 0).await;
    shop.stock_becomes(gadget, 4, 0).await;
    let expanded = shop.orders.get(&format!("/orders/{order}?expand=stock,invoice")).await.expect(200);
    assert_eq!(expanded["invoice"]["amount_paid"], json!(1000), "{expanded}");
    assert_eq!(expanded["state"], "fulfilled");
    let of_ada = shop.customers.get(&format!("/customers/{ada}/orders")).await.expect(200);
    assert!(of_ada.to_string().contains(&order), "{of_ada}");
    let history = shop.orders.get(&format!("/orders/{order}/history")).await.expect(200);
    assert_eq!(history["items"].as_array().map(Vec::len), Some(4), "placed, confirmed, paid, fulfilled: {history}");
}

async fn out_of_stock(shop: &Shop, ada: &str, widget: &str, gadget: &str) {
    let order = shop.order(ada, &[(widget, 1), (gadget, 100)]).await;
    let rejected = shop.order_becomes(&order, "rejected", "unpaid").await;
    assert_eq!(rejected["rejection"]["reason"], "out_of_stock", "{rejected}");
    let short = &rejected["rejection"]["shortages"][0];
    assert_eq!((&short["sku"], &short["requested"], &short["available"]), (&json!(gadget), &json!(100), &json!(4)));
    shop.stock_becomes(widget, 7, 0).await;
    shop.invoice_becomes(&order, "void").await;
    let pay = json!({"order_id": order, "amount": 1, "currency": "EUR", "reference": "late"});
    shop.billing.post("/billing", pay).await.expect_problem(409, "invoice_closed");
    let unknown = shop.order(ada, &[("never-received", 1)]).await;
    let rejected = shop.order_becomes(&unknown, "rejected", "unpaid").await;
    assert_eq!(rejected["rejection"]["reason"], "unknown_sku", "{rejected}");
}

async fn low_and_recovered(shop: &Shop, ada: &str, widget: &str) {
    let order = shop.order(ada, &[(widget, 5)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.notified("operations", &format!("Low stock: {widget}"), 1).await;
    // Still low: not told again.
    let more = shop.order(ada, &[(widget, 1)]).await;
    shop.order_becomes(&more, "confirmed", "unpaid").await;
    shop.receive(widget, 10).await;
    shop.notified("operations", &format!("Stock recovered: {widget}"), 1).await;
    shop.notified("operations", &format!("Low stock: {widget}"), 1).await;
    // A count corrected downwards is told over HTTP.
    let correction = json!({"delta": -1, "reason": "one was broken"});
    shop.inventory.post(&format!("/stock/{widget}/adjust"), correction).await.expect(200);
    let told = eventually("operations are told of the corrected count", async || {
        let told = shop.told("operations", "Stock count corrected").await;
        let told: Vec<_> = told.into_iter().filter(|it| it.to_string().contains(widget)).collect();
        (!told.is_empty()).then_some(told)
    })
    .await;
    assert_eq!(told.len(), 1, "{told:?}");
    shop.notifications
        .post_nothing(&format!("/notifications/{}/read", text(&told[0], "notification_id")))
        .await
        .expect(200);
    for order in [order, more] {
        shop.orders.post_nothing(&format!("/orders/{order}/cancel")).await.expect(200);
    }
    shop.stock_becomes(widget, 16, 0).await;
}

async fn cancelled_after_payment(shop: &Shop, ada: &str, gadget: &str) {
    let order = shop.order(ada, &[(gadget, 2)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.invoice_becomes(&order, "open").await;
    shop.pay(&order, 500).await;
    shop.order_becomes(&order, "confirmed", "paid").await;
    shop.orders.post_nothing(&format!("/orders/{order}/cancel")).await.expect(200);
    let invoice = shop.invoice_becomes(&order, "refunded").await;
    assert_eq!(invoice["amount_refunded"], json!(500), "{invoice}");
    shop.order_becomes(&order, "cancelled", "refunded").await;
    shop.stock_becomes(gadget, 4, 0).await;
}

async fn illegal_things_write_nothing(shop: &Shop, ada: &str, gadget: &str) {
    let order = |customer: &str, lines: Value| json!({"customer_id": customer, "currency": "EUR", "lines": lines});
    let line = |quantity: i64| json!([{"sku": gadget, "quantity": quantity, "unit_price": 250}]);
    let nobody = uuid::Uuid::now_v7().to_string();
    shop.orders.post("/orders", order(&nobody, line(1))).await.expect_problem(404, "unknown_customer");
    for (what, body) in [
        ("no lines", order(ada, json!([]))),
        ("zero units", order(ada, line(0))),
        ("negative units", order(ada, line(-1))),
        ("no currency", json!({"customer_id": ada, "currency": "XXX", "lines": line(1)})),
        ("an unknown field", json!({"customer_id": ada, "currency": "EUR", "lines": line(1), "color": "red"})),
        ("not JSON of an order", json!("order")),
    ] {
        let answer = shop.orders.post("/orders", body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        assert!(answer.body["code"].is_string(), "{what}: {}", answer.body);
    }
    let id = shop.order(ada, &[(gadget, 1)]).await;
    shop.order_becomes(&id, "confirmed", "unpaid").await;
    shop.invoice_becomes(&id, "open").await;
    let pay =
        |amount: i64, currency: &str| json!({"order_id": id, "amount": amount, "currency": currency, "reference": "x"});
    shop.billing.post("/billing", pay(100, "USD")).await.expect_problem(409, "wrong_currency");
    shop.billing.post("/billing", pay(251, "EUR")).await.expect_problem(409, "overpayment");
    shop.billing.post("/billing", pay(0, "EUR")).await.expect_problem(400, "invalid_request");
    let told = eventually("operations are told of the refused overpayment", async || {
        let told = shop.told("operations", "Overpayment refused").await;
        let told: Vec<_> = told.into_iter().filter(|it| it.to_string().contains(&id)).collect();
        (!told.is_empty()).then_some(told)
    });
    assert_eq!(told.await.len(), 1);
    assert_eq!(shop.billing.get(&format!("/billing/{id}")).await.expect(200)["amount_paid"], json!(0));
    shop.orders.post_nothing(&format!("/orders/{id}/cancel")).await.expect(200);
    shop.orders.post_nothing(&format!("/orders/{id}/fulfil")).await.expect_problem(409, "illegal_transition");
    shop.inventory.get("/stock/never-received").await.expect_problem(404, "unknown_sku");
    reservations(shop, gadget).await;
    inactive_customers_order_nothing(shop, gadget).await;
}

async fn reservations(shop: &Shop, gadget: &str) {
    let name = format!("basket-{gadget}");
    let basket = |units: u32| {
        json!({"reservation_id": name, "ttl_seconds": 3600,
               "lines": [{"sku": gadget, "quantity": units}, {"sku": gadget, "quantity": 1}]})
    };
    shop.stock_becomes(gadget, 4, 0).await;
    let short = shop.inventory.post("/stock/reserve", basket(9)).await.expect_problem(409, "not_enough_stock");
    assert!(short.to_string().contains(gadget), "{short}");
    shop.inventory.post("/stock/reserve", basket(1)).await.expect(201);
    shop.inventory.post("/stock/reserve", basket(2)).await.expect_problem(409, "reservation_exists");
    shop.stock_becomes(gadget, 4, 2).await;
    shop.inventory.post_nothing(&format!("/stock/reservations/{name}/release")).await.expect(200);
    shop.stock_becomes(gadget, 4, 0).await;
    let brief =
        json!({"reservation_id": format!("{name}-brief"), "ttl_seconds": 1, "lines": [{"sku": gadget, "quantity": 1}]});
    shop.inventory.post("/stock/reserve", brief).await.expect(201);
    shop.stock_becomes(gadget, 4, 0).await;
}

async fn inactive_customers_order_nothing(shop: &Shop, gadget: &str) {
    let bob = shop.customer("Bob").await;
    shop.customers.post_nothing(&format!("/customers/{bob}/deactivate")).await.expect(200);
    eventually("the orders service hears that Bob is inactive", async || {
        let lines = json!([{"sku": gadget, "quantity": 1, "unit_price": 1}]);
        let body = json!({"customer_id": bob, "currency": "EUR", "lines": lines});
        let answer = shop.orders.post("/orders", body).await;
        (answer.body["code"] == "customer_inactive" && answer.status == 409).then_some(())
    })
    .await;
}
