//! What callers can rely on: reads that reflect what they have seen, and writes only to what they have seen.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::time::{Duration, Instant};

use orderlog_tests::{
    deployment::{Distributed, Embedded},
    eventually,
    http::{Answer, Http},
    story::{Shop, text},
};
use reqwest::Method;
use serde_json::{Value, json};

const MIN_POSITION: &str = "Orderlog-Min-Position";

fn position(answer: &Answer) -> String {
    answer.header("Orderlog-Position").unwrap_or_else(|| panic!("no position: {answer:?}")).to_owned()
}

async fn get(http: &Http, path: &str, headers: &[(&str, &str)]) -> Answer {
    http.send(Method::GET, path, headers, None).await.unwrap()
}

fn order(customer: &str, sku: &str, quantity: u32) -> Value {
    json!({"customer_id": customer, "currency": "EUR", "lines": [{"sku": sku, "quantity": quantity, "unit_price": 5}]})
}

/// What one service answered is seen by the others, without a stale 404 in between.
async fn reads_reflect_what_was_seen(shop: &Shop) {
    shop.receive("seen", 1_000).await;
    for n in 0..10 {
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let created = shop.customers.post("/customers", json!({"name": "Ada", "email": email})).await;
        let seen = position(&created);
        let customer = text(&created.expect(201), "customer_id");
        let headers = [(MIN_POSITION, seen.as_str())];
        let placed =
            shop.orders.send(Method::POST, "/orders", &headers, Some(&order(&customer, "seen", 1))).await.unwrap();
        let seen = position(&placed);
        let id = text(&placed.expect(201), "order_id");
        let headers = [(MIN_POSITION, seen.as_str())];
        get(&shop.orders, &format!("/orders/{id}"), &headers).await.expect(200);
        get(&shop.billing, &format!("/billing/{id}"), &headers).await.expect(200);
        let listed = get(&shop.customers, &format!("/customers/{customer}/orders"), &headers).await.expect(200);
        assert!(listed.to_string().contains(&id), "round {n}: {listed}");
    }
}

/// An order that is confirmed, and its customer.
async fn confirmed(shop: &Shop, sku: &str) -> (String, String) {
    let customer = shop.customer("Ada").await;
    let headers = [("Prefer", "wait=20")];
    let placed = shop.orders.send(Method::POST, "/orders", &headers, Some(&order(&customer, sku, 1))).await.unwrap();
    let placed = placed.expect(201);
    assert_eq!(placed["state"], "confirmed", "{placed}");
    (text(&placed, "order_id"), customer)
}

/// A command without a body to a service, with this position.
async fn ask(http: &Http, path: &str, seen: &str) -> Answer {
    http.send(Method::POST, path, &[(MIN_POSITION, seen)], None).await.unwrap()
}

/// What a record of one service leads to in another one is in its answers and decisions, not only that there is something.
async fn answers_reflect_what_followed_from_what_was_seen(shop: &Shop) {
    shop.receive("followed", 1_000).await;
    for n in 0..5 {
        let (id, customer) = confirmed(shop, "followed").await;
        let pay = json!({"order_id": id, "amount": 5, "currency": "EUR", "reference": "bank 1"});
        let paid = position(&shop.billing.post("/billing", pay).await);
        let seen = [(MIN_POSITION, paid.as_str())];
        // Each is asked on its own as the first one.
        match n {
            0 => assert_eq!(get(&shop.orders, &format!("/orders/{id}"), &seen).await.expect(200)["payment"], "paid"),
            1 => {
                let paid = get(&shop.orders, "/orders?payment=paid&limit=1", &seen).await.expect(200);
                assert_eq!(paid["items"][0]["order_id"], json!(id), "{paid}");
            }
            2 => {
                let orders = get(&shop.customers, &format!("/customers/{customer}/orders"), &seen).await.expect(200);
                assert_eq!(orders["items"][0]["payment"], "paid", "{orders}");
            }
            3 => {
                let path = format!("/notifications?recipient={customer}");
                let told = get(&shop.notifications, &path, &seen).await.expect(200);
                assert_eq!(told["items"][0]["subject"], "Order paid", "{told}");
            }
            _ => drop(ask(&shop.orders, &format!("/orders/{id}/fulfil"), &paid).await.expect(200)),
        }
        if n < 4 {
            let refunded = position(&shop.billing.post(&format!("/billing/{id}/refund"), json!({"amount": 5})).await);
            let refused = ask(&shop.orders, &format!("/orders/{id}/fulfil"), &refunded).await;
            refused.expect_problem(409, "not_paid");
        }
    }
    let (id, customer) = confirmed(shop, "followed").await;
    let seen = position(&ask(&shop.orders, &format!("/orders/{id}/cancel"), "orders@0").await);
    let stock = get(&shop.inventory, "/stock/followed", &[(MIN_POSITION, seen.as_str())]).await.expect(200);
    assert_eq!(stock["reserved"], 4, "what was set aside for it is free again: {stock}");
    let seen = position(&shop.customers.post_nothing(&format!("/customers/{customer}/deactivate")).await);
    let headers = [(MIN_POSITION, seen.as_str())];
    let body = order(&customer, "followed", 1);
    let refused = shop.orders.send(Method::POST, "/orders", &headers, Some(&body)).await.unwrap();
    refused.expect_problem(409, "customer_inactive");
}

async fn what_is_not_there_after_all_was_taken_in_is_a_404(shop: &Shop) {
    let customer = shop.customer("Ada").await;
    let seen = position(&shop.orders.post("/orders", order(&customer, "never-received", 1)).await);
    let nobody = uuid::Uuid::now_v7();
    let headers = [(MIN_POSITION, seen.as_str()), ("Prefer", "wait=30")];
    let began = Instant::now();
    get(&shop.billing, &format!("/billing/{nobody}"), &headers).await.expect_problem(404, "unknown_order");
    get(&shop.orders, &format!("/orders/{nobody}"), &headers).await.expect_problem(404, "unknown_order");
    assert!(began.elapsed() < Duration::from_secs(20), "nothing more is on its way");

    what_a_service_does_not_follow_it_does_not_wait_for(shop, &nobody.to_string()).await;
    for (wrong, code) in
        [("orders@1000000", "position_out_of_range"), ("orders", "invalid_position"), ("x@1", "invalid_position")]
    {
        for path in ["/orders", "/stock", "/billing"] {
            let http = if path == "/orders" {
                &shop.orders
            } else if path == "/stock" {
                &shop.inventory
            } else {
                &shop.billing
            };
            let problem = get(http, path, &[(MIN_POSITION, wrong)]).await.expect_problem(400, "invalid_request");
            assert_eq!(problem["errors"][0]["code"], code, "{path} {wrong}: {problem}");
        }
    }
}

/// Waiting for what never comes would only be a slow way to say so.
async fn what_a_service_does_not_follow_it_does_not_wait_for(shop: &Shop, nobody: &str) {
    let (orders, billing, customers) = (&shop.orders, &shop.billing, &shop.customers);
    for (http, path, foreign, own) in [
        (orders, format!("/orders/{nobody}"), "notifications@0", "orders, customers, inventory, billing"),
        (billing, format!("/billing/{nobody}"), "customers@0", "billing, orders"),
        (billing, "/billing".to_owned(), "inventory@0", "billing, orders"),
        (customers, format!("/customers/{nobody}"), "orders@0", "customers"),
    ] {
        let began = Instant::now();
        let answer = get(http, &path, &[(MIN_POSITION, foreign), ("Prefer", "wait=20")]).await;
        let problem = answer.expect_problem(400, "invalid_request");
        let fault = &problem["errors"][0];
        assert_eq!((&fault["parameter"], &fault["code"]), (&json!(MIN_POSITION), &json!("journal_not_followed")));
        assert!(text(fault, "detail").ends_with(&format!("positions of: {own}")), "{problem}");
        assert!(began.elapsed() < Duration::from_secs(10), "{path} {foreign} was waited for");
    }
    // Of the record that begins a journal no news are on the way.
    let began = Instant::now();
    let headers = [(MIN_POSITION, "customers@0"), ("Prefer", "wait=20")];
    get(orders, &format!("/orders/{nobody}"), &headers).await.expect_problem(404, "unknown_order");
    assert!(began.elapsed() < Duration::from_secs(10), "it was waited for");
    let receipt = json!({"quantity": 1});
    let headers = [(MIN_POSITION, "billing@0")];
    let refused = shop.inventory.send(Method::POST, "/stock/foreign/receive", &headers, Some(&receipt)).await.unwrap();
    refused.expect_problem(400, "invalid_request");
    get(&shop.inventory, "/stock/foreign", &[]).await.expect_problem(404, "unknown_sku");
}

async fn an_order_may_be_waited_for(shop: &Shop) {
    let customer = shop.customer("Ada").await;
    shop.receive("waited", 5).await;
    let place = async |quantity, prefer| {
        let body = order(&customer, "waited", quantity);
        let headers = [("Prefer", prefer)];
        let answer = shop.orders.send(Method::POST, "/orders", &headers, Some(&body)).await.unwrap();
        (
            answer.header("Preference-Applied").map(str::to_owned),
            answer.header("ETag").map(str::to_owned),
            position(&answer),
            answer.expect(201),
        )
    };
    let (applied, tag, seen, confirmed) = place(3, "wait=20").await;
    assert_eq!((applied.as_deref(), &confirmed["state"]), (Some("wait=20"), &json!("confirmed")), "{confirmed}");
    assert_eq!(tag, Some(format!("\"{}\"", confirmed["version"])));
    let path = format!("/orders/{}?as_of={seen}", confirmed["order_id"].as_str().unwrap());
    let as_of = get(&shop.orders, &path, &[]).await.expect(200);
    assert_eq!(as_of["state"], "confirmed", "the position is that of what was shown: {as_of}");
    let (_, _, _, rejected) = place(3, "wait=20").await;
    assert_eq!(rejected["state"], "rejected", "{rejected}");
    assert_eq!(rejected["rejection"]["shortages"][0]["available"], 2, "{rejected}");
    let (applied, _, _, placed) = place(1, "respond-async").await;
    assert_eq!((applied.as_deref(), &placed["state"]), (Some("respond-async"), &json!("placed")));
    let (applied, _, _, _) = place(1, "return=minimal").await;
    assert_eq!(applied, None, "what was not honoured is not said to be");
}

async fn what_was_just_paid_can_be_fulfilled(shop: &Shop) {
    shop.receive("just-paid", 10).await;
    let customer = shop.customer("Ada").await;
    for _ in 0..10 {
        let order = shop.order(&customer, &[("just-paid", 1)]).await;
        shop.order_becomes(&order, "confirmed", "unpaid").await;
        shop.invoice_becomes(&order, "open").await;
        shop.pay(&order, 250).await;
        // The payment may still be on its way to orders: a refusal has to wait for it.
        shop.orders.post_nothing(&format!("/orders/{order}/fulfil")).await.expect(200);
    }
}

async fn writes_go_to_what_was_seen(shop: &Shop) {
    shop.receive("versioned", 10).await;
    let seen = get(&shop.inventory, "/stock/versioned", &[]).await;
    let tag = seen.header("ETag").unwrap().to_owned();
    let adjust = async |tag: &str, delta: i64, key: Option<&str>| {
        let body = json!({"delta": delta, "reason": "counted"});
        let mut headers = vec![("If-Match", tag)];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        shop.inventory.send(Method::POST, "/stock/versioned/adjust", &headers, Some(&body)).await.unwrap()
    };
    let adjusted = adjust(&tag, -1, Some("count-1")).await;
    assert_ne!(adjusted.header("ETag"), Some(tag.as_str()));
    adjusted.expect(200);
    let problem = adjust(&tag, -1, None).await.expect_problem(412, "precondition_failed");
    assert_eq!((&problem["version"], &problem["retryable"]), (&json!(2), &json!(false)), "{problem}");
    assert_eq!(
        adjust(&tag, -1, Some("count-1")).await.header("Idempotent-Replayed"),
        Some("true"),
        "it is the same request"
    );
    adjust("W/\"2\"", -1, None).await.expect_problem(412, "precondition_failed");
    adjust("*", -1, None).await.expect(200);
    let problem = adjust("2", -1, None).await.expect_problem(400, "invalid_request");
    assert_eq!(problem["errors"][0]["code"], "invalid_if_match", "{problem}");
    let stock = get(&shop.inventory, "/stock/versioned", &[]).await.expect(200);
    assert_eq!(stock["on_hand"], 8, "{stock}");
    // Of many that saw the same, one gets through.
    let tag = format!("\"{}\"", stock["version"]);
    let outcomes = futures_util::future::join_all((0..16).map(|_| adjust(&tag, -1, None))).await;
    let won = outcomes.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|answer| [200, 412].contains(&answer.status.as_u16())), "{outcomes:?}");

    let stock = get(&shop.inventory, "/stock/versioned", &[]).await;
    let tag = stock.header("ETag").unwrap();
    let unchanged = get(&shop.inventory, "/stock/versioned", &[("If-None-Match", tag)]).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.header("ETag")), (304, Some(tag)));
    get(&shop.inventory, "/stock/versioned", &[("If-None-Match", "\"1\"")]).await.expect(200);
}

async fn what_callers_do_not_see_matches_no_version(shop: &Shop) {
    let customer = shop.customer("Ada").await;
    let body = order(&customer, "unseen", 1);
    let headers = [("Prefer", "wait=20")];
    let rejected = shop.orders.send(Method::POST, "/orders", &headers, Some(&body)).await.unwrap().expect(201);
    assert_eq!(rejected["state"], "rejected", "it is kept that this SKU was looked at: {rejected}");
    get(&shop.inventory, "/stock/unseen", &[]).await.expect_problem(404, "unknown_sku");
    let (receive, adjust) = (json!({"quantity": 5}), json!({"delta": -1, "reason": "counted"}));
    for tag in ["*", "\"1\"", "\"7\""] {
        let ask =
            async |path, body| shop.inventory.send(Method::POST, path, &[("If-Match", tag)], Some(body)).await.unwrap();
        let problem = ask("/stock/unseen/receive", &receive).await.expect_problem(412, "precondition_failed");
        assert!(text(&problem, "detail").contains("it does not exist"), "{tag}: {problem}");
        assert!(problem.get("version").is_none(), "{tag}: {problem}");
        ask("/stock/unseen/adjust", &adjust).await.expect_problem(404, "unknown_sku");
    }
    shop.receive("unseen", 5).await;
}

#[tokio::test]
async fn callers_can_rely_on_what_they_have_seen_on_the_embedded_log() {
    let deployment = Embedded::start().await;
    let shop = Shop::from(&deployment);
    reads_reflect_what_was_seen(&shop).await;
    answers_reflect_what_followed_from_what_was_seen(&shop).await;
    what_is_not_there_after_all_was_taken_in_is_a_404(&shop).await;
    an_order_may_be_waited_for(&shop).await;
    what_was_just_paid_can_be_fulfilled(&shop).await;
    writes_go_to_what_was_seen(&shop).await;
    what_callers_do_not_see_matches_no_version(&shop).await;
}

/// Neither a payment that is not published nor one that is not in the rows is answered without: the caller hears where it is.
#[tokio::test]
async fn who_has_seen_what_does_not_arrive_is_told_so_and_nothing_is_decided() {
    let deployment = Embedded::start_with(&["--command-timeout-ms", "3000"]).await;
    let shop = Shop::from(&deployment);
    shop.receive("held", 10).await;
    let (id, _) = confirmed(&shop, "held").await;
    // Whoever writes to a service's rows holds up its relay, and what it has taken in, not its log.
    let hold = |service: &str| {
        let rows = rusqlite::Connection::open(deployment.rows().join(format!("{service}.1.sqlite"))).unwrap();
        rows.busy_timeout(Duration::from_secs(5)).unwrap();
        rows.execute_batch("begin immediate").unwrap();
        rows
    };
    let pay = json!({"order_id": id, "amount": 5, "currency": "EUR", "reference": "bank 1"});
    let rows = hold("billing");
    let paid = position(&shop.billing.post("/billing", pay).await);
    let not_yet = async |why: &str| {
        let headers = [(MIN_POSITION, paid.as_str()), ("Prefer", "wait=1")];
        for path in [format!("/orders/{id}"), "/orders".to_owned(), format!("/orders/{id}/history")] {
            let answer = get(&shop.orders, &path, &headers).await;
            assert!(answer.header("Retry-After").is_some(), "{path}");
            let problem = answer.expect_problem(504, "not_yet");
            let detail = text(&problem, "detail");
            assert!(detail.contains(&paid) && detail.contains(why), "{path}: {problem}");
        }
        let fulfil = format!("/orders/{id}/fulfil");
        let answer = shop.orders.send(Method::POST, &fulfil, &headers, None).await.unwrap();
        answer.expect_problem(504, "not_yet");
    };
    not_yet("not published").await;
    let of_orders = hold("orders");
    rows.execute_batch("rollback").unwrap();
    not_yet("the rows are behind").await;
    of_orders.execute_batch("rollback").unwrap();
    let headers = [(MIN_POSITION, paid.as_str()), ("Prefer", "wait=20")];
    let order = get(&shop.orders, &format!("/orders/{id}"), &headers).await.expect(200);
    assert_eq!((&order["payment"], &order["state"]), (&json!("paid"), &json!("confirmed")), "nothing was decided");
}

/// Rows that are behind what the caller has seen are no answer: how far behind they are, is.
#[tokio::test]
async fn who_has_waited_in_vain_is_told_how_far_the_rows_are_behind() {
    let deployment = Embedded::start_with(&["--command-timeout-ms", "3000"]).await;
    let shop = Shop::from(&deployment);
    shop.receive("behind", 1).await;
    get(&shop.inventory, "/stock/behind", &[]).await.expect(200);
    // Whoever writes to the file holds up the rows, not the log.
    let rows = rusqlite::Connection::open(deployment.rows().join("inventory.1.sqlite")).unwrap();
    rows.busy_timeout(Duration::from_secs(5)).unwrap();
    rows.execute_batch("begin immediate").unwrap();
    let received = shop.inventory.post("/stock/behind/receive", json!({"quantity": 1})).await;
    let seen = position(&received);
    received.expect(200);
    // What this instance has answered is waited for without a position too.
    get(&shop.inventory, "/stock/behind", &[]).await.expect_problem(503, "rows_behind");
    for path in ["/stock/behind", "/stock", "/stock/never-received"] {
        let headers = [(MIN_POSITION, seen.as_str()), ("Prefer", "wait=1")];
        let answer = get(&shop.inventory, path, &headers).await;
        assert!(answer.header("Retry-After").is_some(), "{path}");
        let problem = answer.expect_problem(504, "not_yet");
        assert_eq!(problem["lag"], 1, "{path}: {problem}");
    }
    rows.execute_batch("rollback").unwrap();
    let headers = [(MIN_POSITION, seen.as_str()), ("Prefer", "wait=20")];
    assert_eq!(get(&shop.inventory, "/stock/behind", &headers).await.expect(200)["on_hand"], 2);
}

#[tokio::test]
async fn callers_can_rely_on_what_they_have_seen_on_kafka() {
    let deployment = Distributed::start().await;
    let shop = Shop::from(&deployment);
    // The relays need their leases first.
    let customer = shop.customer("Ada").await;
    eventually("news of customers flow", async || {
        (shop.orders.post("/orders", order(&customer, "none", 1)).await.status == 201).then_some(())
    })
    .await;
    reads_reflect_what_was_seen(&shop).await;
    answers_reflect_what_followed_from_what_was_seen(&shop).await;
    what_is_not_there_after_all_was_taken_in_is_a_404(&shop).await;
    an_order_may_be_waited_for(&shop).await;
    what_was_just_paid_can_be_fulfilled(&shop).await;
    writes_go_to_what_was_seen(&shop).await;
}
