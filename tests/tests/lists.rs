//! Lists, page by page, as callers go through them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use orderlog_tests::{
    deployment::{Distributed, Embedded},
    eventually,
    http::{Answer, Http},
    story::{Shop, text},
};
use serde_json::{Value, json};

/// The path in `Link: <PATH>; rel="next"`; `None` on the last page. It says the same as the body.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("Link")?;
    let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    Some(path.to_owned())
}

/// The ids on every page from `path` on; between pages, `meanwhile` happens.
async fn walk(http: &Http, path: &str, id: &str, mut meanwhile: impl AsyncFnMut()) -> Vec<String> {
    let (mut path, mut ids) = (path.to_owned(), Vec::new());
    loop {
        let answer = http.get(&path).await;
        let link = next(&answer);
        let page = answer.expect(200);
        ids.extend(page["items"].as_array().unwrap().iter().map(|item| text(item, id)));
        match (link, page["next_cursor"].as_str()) {
            (Some(link), Some(cursor)) => {
                assert!(link.contains(&format!("cursor={cursor}")), "{link} and {cursor}");
                meanwhile().await;
                path = link;
            }
            (None, None) => return ids,
            differing => panic!("one leads on, the other does not: {differing:?}"),
        }
    }
}

async fn listed(http: &Http, path: &str) -> Vec<String> {
    walk(http, path, "order_id", async || {}).await
}

async fn time(shop: &Shop, order: &str) -> String {
    let order = shop.orders.get(&format!("/orders/{order}")).await.expect(200);
    text(&order, "created_at").replace('+', "%2B")
}

async fn every_order_is_on_one_page(shop: &Shop) {
    let customer = shop.customer("Ada").await;
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(shop.order(&customer, &[("nothing-of-it", 1)]).await);
    }
    let of_customer = format!("/orders?customer_id={customer}&limit=2");
    let late = async || drop(shop.order(&customer, &[("nothing-of-it", 1)]).await);
    // Between two pages an order more is placed each time.
    let newest_first = walk(&shop.orders, &of_customer, "order_id", late).await;
    assert!(newest_first.iter().eq(orders.iter().rev()), "neither twice nor left out");
    let oldest_first = listed(&shop.orders, &format!("{of_customer}&sort=oldest")).await;
    assert_eq!(oldest_first[..5], orders, "the late ones stand behind them");
    assert_eq!(oldest_first.len(), 7);
    let elsewhere = listed(&shop.customers, &format!("/customers/{customer}/orders?limit=3")).await;
    assert!(elsewhere.iter().eq(oldest_first.iter().rev()), "the orders service's pages under the customer");
}

async fn orders_are_found_by_what_they_are(shop: &Shop) {
    shop.receive("enough", 100).await;
    let customer = shop.customer("Grace").await;
    let mut orders = Vec::new();
    for sku in ["enough", "nothing-of-it", "enough"] {
        orders.push(shop.order(&customer, &[(sku, 1)]).await);
        // No two of them in the same millisecond.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    shop.order_becomes(&orders[0], "confirmed", "unpaid").await;
    shop.order_becomes(&orders[1], "rejected", "unpaid").await;
    shop.invoice_becomes(&orders[2], "open").await;
    shop.pay(&orders[2], 250).await;
    shop.order_becomes(&orders[2], "confirmed", "paid").await;
    let found = async |filter: &str| {
        listed(&shop.orders, &format!("/orders?customer_id={customer}&sort=oldest&limit=1&{filter}")).await
    };
    assert_eq!(found("state=confirmed").await, [orders[0].clone(), orders[2].clone()]);
    assert_eq!(found("payment=paid").await, orders[2..]);
    assert_eq!(found("payment=unpaid&state=rejected").await, orders[1..2]);
    let [first, second, third] =
        [time(shop, &orders[0]).await, time(shop, &orders[1]).await, time(shop, &orders[2]).await];
    assert_eq!(found(&format!("created_from={second}")).await, orders[1..]);
    assert_eq!(found(&format!("created_to={third}")).await, orders[..2]);
    assert_eq!(found(&format!("created_from={second}&created_to={third}")).await, orders[1..2]);
    assert!(found(&format!("created_to={first}")).await.is_empty());
    let paid = format!("/customers/{customer}/orders?payment=paid");
    assert_eq!(listed(&shop.customers, &paid).await, orders[2..]);
}

async fn orders_are_found_by_where_they_came_from(shop: &Shop) {
    let customer = shop.customer("Barbara").await;
    let line = json!({"sku": "nothing-of-it", "quantity": 1, "unit_price": 250});
    let place = async |key: &str, channel: Option<&str>| {
        let mut body = json!({"customer_id": customer, "currency": "EUR", "lines": [line]});
        if let Some(channel) = channel {
            body["channel"] = channel.into();
        }
        shop.orders.post_once("/orders", key, body).await
    };
    let placed = place("web", Some("web")).await.expect(201);
    assert_eq!(placed["channel"], "web");
    let order = text(&placed, "order_id");
    assert_eq!(shop.orders.get(&format!("/orders/{order}")).await.expect(200)["channel"], "web");
    assert_eq!(place("none", None).await.expect(201).get("channel"), None);
    assert_eq!(listed(&shop.orders, &format!("/orders?customer_id={customer}&channel=web")).await, [order]);
    place("web", Some("store-7")).await.expect_problem(422, "idempotency_key_reused");
    for wrong in ["", "Web", "a_b", &"a".repeat(41)] {
        let problem = place("wrong", Some(wrong)).await.expect_problem(400, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], "#/channel");
        assert_eq!(problem["errors"][0]["code"], "invalid_identifier");
    }
}

async fn what_no_list_has_is_refused(shop: &Shop) {
    let customer = shop.customer("Alan").await;
    for _ in 0..2 {
        shop.order(&customer, &[("nothing-of-it", 1)]).await;
    }
    let page = shop.orders.get(&format!("/orders?customer_id={customer}&limit=1")).await.expect(200);
    let cursor = text(&page, "next_cursor");
    let other = format!("/orders?customer_id={customer}&state=placed&cursor={cursor}");
    let for_another = format!("/orders?cursor={cursor}");
    for (path, parameter, code) in [
        (other.as_str(), "cursor", "invalid_cursor"),
        (for_another.as_str(), "cursor", "invalid_cursor"),
        ("/orders?cursor=nonsense", "cursor", "invalid_cursor"),
        ("/orders?limit=0", "limit", "invalid_parameter"),
        ("/orders?limit=101", "limit", "invalid_parameter"),
        ("/orders?sort=best", "sort", "invalid_parameter"),
        ("/orders?payment=maybe", "payment", "invalid_parameter"),
        ("/orders?channel=Web", "channel", "invalid_parameter"),
        ("/orders?created_from=yesterday", "created_from", "invalid_parameter"),
        ("/orders?colour=red", "colour", "unknown_parameter"),
        ("/orders?state=placed&state=confirmed", "state", "invalid_parameter"),
        ("/orders?limit=5&limit=5", "limit", "invalid_parameter"),
    ] {
        let problem: Value = shop.orders.get(path).await.expect_problem(400, "invalid_request");
        let error = &problem["errors"][0];
        assert_eq!(
            (error["parameter"].as_str(), error["code"].as_str()),
            (Some(parameter), Some(code)),
            "{path}: {problem}"
        );
    }
    let refused = shop.customers.get(&format!("/customers/{customer}/orders?cursor=nonsense")).await;
    refused.expect_problem(400, "invalid_request");
}

async fn other_lists_lead_on_too(shop: &Shop) {
    let sku = format!("moved-{}", uuid::Uuid::now_v7().simple());
    for n in 1..=3 {
        shop.receive(&sku, n).await;
    }
    let customer = shop.customer("Mary").await;
    let order = shop.order(&customer, &[(&sku, 1)]).await;
    shop.invoice_becomes(&order, "open").await;
    eventually("the order's history has three records", async || {
        let history = shop.orders.get(&format!("/orders/{order}/history")).await.expect(200);
        (history["items"].as_array().unwrap().len() >= 2).then_some(())
    })
    .await;
    let pages = async |http: &Http, path: &str| {
        let first = http.get(path).await;
        let link = next(&first).unwrap_or_else(|| panic!("{path} has one page: {first:?}"));
        let (first, second) = (first.expect(200), http.get(&link).await.expect(200));
        assert_ne!(first["items"][0], second["items"][0], "{path}");
        assert_eq!(second["items"].as_array().map(Vec::len), Some(1), "{link}");
    };
    shop.receive(&format!("{sku}-b"), 1).await;
    pages(&shop.inventory, &format!("/stock/{sku}/movements?limit=1")).await;
    pages(&shop.inventory, "/stock?limit=1").await;
    pages(&shop.customers, "/customers?limit=1").await;
    pages(&shop.orders, &format!("/orders/{order}/history?limit=1")).await;
}

async fn what_is_low_open_or_unread_is_found(shop: &Shop) {
    let sku = format!("scarce-{}", uuid::Uuid::now_v7().simple());
    shop.receive(&sku, 3).await;
    let low = async || {
        let page = shop.inventory.get("/stock?low=true&limit=100").await.expect(200);
        page["items"].as_array().unwrap().iter().any(|item| item["sku"] == sku.as_str())
    };
    assert!(!low().await);
    shop.inventory.put(&format!("/stock/{sku}/threshold"), json!({"low_stock_threshold": 4})).await.expect(200);
    assert!(low().await);

    let customer = shop.customer("Katherine").await;
    let (open, paid) = (shop.order(&customer, &[(&sku, 1)]).await, shop.order(&customer, &[(&sku, 1)]).await);
    for order in [&open, &paid] {
        shop.invoice_becomes(order, "open").await;
    }
    shop.pay(&paid, 250).await;
    shop.invoice_becomes(&paid, "paid").await;
    for (state, is_in, is_not) in [("open", &open, &paid), ("paid", &paid, &open)] {
        let found = listed(&shop.billing, &format!("/billing?state={state}&limit=100")).await;
        assert!(found.contains(is_in) && !found.contains(is_not), "{state}: {found:?}");
    }

    let (recipient, capitals) = (customer.clone(), customer.to_uppercase());
    for (subject, recipient) in [("one", &recipient), ("two", &capitals)] {
        let news = json!({"recipient": recipient, "subject": subject, "body": "b"});
        let told = shop.notifications.post("/notify", news).await.expect(201);
        assert_eq!(told["recipient"], customer, "one customer, one inbox");
    }
    let subjects = async |filter: &str| {
        let list = format!("/notifications?recipient={capitals}&{filter}limit=1");
        walk(&shop.notifications, &list, "subject", async || {}).await
    };
    let of_ours = |mut all: Vec<String>| {
        all.retain(|subject| ["one", "two"].contains(&subject.as_str()));
        all
    };
    assert_eq!(of_ours(subjects("").await), ["two", "one"]);
    let all = shop.notifications.get(&format!("/notifications?recipient={recipient}&limit=100")).await.expect(200);
    let one = all["items"].as_array().unwrap().iter().find(|it| it["subject"] == "one").unwrap();
    let read = format!("/notifications/{}/read", text(one, "notification_id"));
    shop.notifications.post_nothing(&read).await.expect(200);
    assert_eq!(of_ours(subjects("unread=true&").await), ["two"]);
}

async fn all_of_it(shop: &Shop) {
    let first = shop.customer("First").await;
    let order = json!({"customer_id": first, "currency": "EUR",
        "lines": [{"sku": "nothing-of-it", "quantity": 1, "unit_price": 1}]});
    // Relays begin once their instance holds the lease.
    eventually("orders hear of customers", async || {
        (shop.orders.post("/orders", order.clone()).await.status == 201).then_some(())
    })
    .await;
    every_order_is_on_one_page(shop).await;
    orders_are_found_by_what_they_are(shop).await;
    orders_are_found_by_where_they_came_from(shop).await;
    what_no_list_has_is_refused(shop).await;
    other_lists_lead_on_too(shop).await;
    what_is_low_open_or_unread_is_found(shop).await;
}

#[tokio::test]
async fn lists_embedded() {
    let deployment = Embedded::start().await;
    all_of_it(&Shop::from(&deployment)).await;
}

#[tokio::test]
async fn lists_of_five_processes_on_kafka_and_redis() {
    let deployment = Distributed::start().await;
    all_of_it(&Shop::from(&deployment)).await;
}
