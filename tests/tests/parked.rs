//! `orderlog parked` as its operator meets it: what can't be read is set aside, shown, and discarded; what stood behind it is
//! folded, and every other way to the rows agrees.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{path::Path, time::Duration};

use orderlog_core::key::Key;
use orderlog_eventlog::kafka::{KafkaConfig, KafkaLog};
use orderlog_projections::orders::TABLES;
use orderlog_readmodel::Store;
use orderlog_tests::{
    deployment::{Distributed, Embedded, Server, free_port, kafka, orderlog, redis},
    eventually,
    http::{Answer, Http},
    keys::key,
    poison::Journal,
    story::{Shop, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// As a newer program would write it.
fn gift() -> Value {
    json!({"OrderGiftWrapped": {}})
}

fn key_of(order: &str) -> Key {
    Key::of(order.parse::<Uuid>().unwrap())
}

/// An order whose stock is reserved, with a SKU of its own.
async fn confirmed(shop: &Shop, customer: &str, sku: &str) -> String {
    shop.receive(sku, 10).await;
    let order = shop.order(customer, &[(sku, 2)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    order
}

/// The cancellation of a confirmed order, as whoever can read what stands before it would write it.
fn cancellation(customer: &str, order: &str) -> Value {
    json!({"OrderCancelled": {"order_id": order, "customer_id": customer, "payment": "unpaid", "version": 3}})
}

/// What this comes to with the journal of orders of a deployment that is stopped.
async fn with_journal<T>(data: &Path, write: impl AsyncFnOnce(&Journal) -> T) -> T {
    with_journal_of("orders", data, write).await
}

/// The same with any journal.
async fn with_journal_of<T>(name: &'static str, data: &Path, write: impl AsyncFnOnce(&Journal) -> T) -> T {
    let journal = Journal::of_stopped(name, data).await;
    let written = write(&journal).await;
    journal.close().await;
    written
}

/// Where a record about an order stands that this program can't read.
async fn put_gift(journal: &Journal, order: &str) -> u64 {
    journal.put(key_of(order), "order_gift_wrapped", &gift()).await
}

/// Where its cancellation stands.
async fn put_cancellation(journal: &Journal, customer: &str, order: &str) -> u64 {
    journal.put(key_of(order), "order_cancelled", &cancellation(customer, order)).await
}

/// The first, and the second behind it.
async fn put_both(journal: &Journal, customer: &str, order: &str) -> [u64; 2] {
    [put_gift(journal, order).await, put_cancellation(journal, customer, order).await]
}

async fn parked(http: &Http) -> Vec<u64> {
    let parked = http.get("/admin/parked/orders").await.expect(200);
    parked.as_array().unwrap().iter().map(|record| record["offset"].as_u64().unwrap()).collect()
}

async fn text_of_metrics(http: &Http) -> String {
    reqwest::get(format!("{}/metrics", http.base)).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_running_server_discards_a_record_and_folds_what_stood_behind_it() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let ada = shop.customer("Ada").await;
    let order = confirmed(&shop, &ada, "tea").await;
    assert!(deployment.stop().await);
    let [poison, behind] = with_journal(&data, async |journal| put_both(journal, &ada, &order).await).await;
    deployment.restart().await;
    let (shop, http) = (Shop::from(&deployment), deployment.http());

    let degraded = eventually("the relay waits", async || {
        let readiness = http.get("/readyz").await.expect(200);
        readiness["degraded"].as_array().unwrap().iter().find(|it| it["task"] == "relay").cloned()
    })
    .await;
    assert_eq!((&degraded["service"], &degraded["record"]), (&json!("orders"), &json!(format!("orders@{poison}"))));
    assert!(degraded["age_seconds"].is_u64(), "{degraded}");
    assert!(text(&degraded, "remedy").contains(&format!("orderlog parked show orders {poison}")), "{degraded}");
    let metrics = text_of_metrics(&http).await;
    let blocked = "orderlog_duty_blocked_seconds{duty=\"relay\",service=\"orders\"} ";
    let age = metrics.lines().find_map(|line| line.strip_prefix(blocked)).unwrap();
    assert!(age.parse::<f64>().unwrap() > 0.0, "{age}");
    assert!(metrics.contains("orderlog_duty_blocked_seconds{duty=\"relay\",service=\"billing\"} 0\n"), "{metrics}");

    let listed = orderlog(&["parked", "list", "orders", "--json"], &data).await.ended_with(0);
    let listed = listed.json_lines();
    assert_eq!(listed.iter().map(|it| it["offset"].as_u64()).collect::<Vec<_>>(), [Some(poison), Some(behind)]);
    let status = orderlog(&["projection", "status", "orders", "--json"], &data).await.ended_with(0).json();
    assert_eq!(status["n_parked"], 2, "{status}");
    let at = poison.to_string();
    let shown = orderlog(&["parked", "show", "orders", &at, "--json"], &data).await.ended_with(0).json();
    assert_eq!((&shown["behind"], &shown["record"]["value"]), (&json!([behind]), &gift()), "{shown}");
    let retried = orderlog(&["parked", "retry", "orders", "--json"], &data).await.ended_with(5).json();
    assert_eq!(retried, json!({"journal": "orders", "before": 2, "after": 2}), "this program can't read it either");
    http.post(&format!("/orders/{order}/cancel"), json!({})).await.expect_problem(503, "parked");

    orderlog(&["parked", "discard", "orders", &at], &data).await.ended_with(2);
    orderlog(&["parked", "discard", "orders", &at, "--reason", " "], &data).await.ended_with(2);
    let why = ["--reason", "gift wrapping was never sold"];
    let look = orderlog(&[&["parked", "discard", "orders", &at, "--dry-run"][..], &why].concat(), &data).await;
    assert!(look.ended_with(0).stdout.contains("OrderGiftWrapped"));
    assert_eq!(parked(&http).await, [poison, behind]);
    let discard = [&["parked", "discard", "orders", &at, "--json"][..], &why].concat();
    let discarded = orderlog(&discard, &data).await.ended_with(0).json();
    assert_eq!((&discarded["folded"], &discarded["still_parked"]), (&json!([behind]), &json!([])), "{discarded}");
    let again = orderlog(&discard, &data).await.ended_with(0).json();
    assert_eq!((&again["already"], &again["by"]), (&json!(true), &discarded["by"]));
    let other = orderlog(&["parked", "discard", "orders", "0", "--reason", "x"], &data).await.ended_with(5);
    assert!(other.stderr.contains("orders@0 is not parked"), "{other:?}");

    // As if the record had never been: rows, commands, other services.
    let cancelled = shop.order_becomes(&order, "cancelled", "unpaid").await;
    assert_eq!(cancelled["version"], 3);
    http.post(&format!("/orders/{order}/cancel"), json!({})).await.expect(200);
    shop.stock_becomes("tea", 10, 0).await;
    eventually("it is well", async || (http.get("/readyz").await.expect(200)["degraded"] == json!([])).then_some(()))
        .await;
    let record = http.get(&format!("/admin/log/orders/0?from={poison}&limit=1")).await.expect(200);
    assert_eq!(record["records"][0]["verdict"], "discarded");
    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    let rebuilt = orderlog(&["projection", "rebuild", "orders", "--json"], &data).await.ended_with(0).json();
    assert_eq!(rebuilt["report"]["differences"], json!([]), "{rebuilt}");
    let lint = orderlog(&["log", "lint", "orders", "--json"], &data).await.ended_with(0).json();
    assert_eq!((&lint["unreadable"], &lint["discarded"][0]["offset"]), (&json!([]), &json!(poison)));
}

/// Whoever asks for this object and has seen that far.
async fn seen(http: &Http, path: &str, offset: u64) -> Answer {
    seen_at(http, Method::GET, path, &format!("orders@{offset}")).await
}

async fn seen_at(http: &Http, method: Method, path: &str, position: &str) -> Answer {
    http.send(method, path, &[("Orderlog-Min-Position", position)], None).await.unwrap()
}

#[tokio::test]
async fn who_has_seen_a_record_that_is_parked_here_is_not_shown_the_state_from_before() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let ada = shop.customer("Ada").await;
    let order = confirmed(&shop, &ada, "tea").await;
    let other = confirmed(&shop, &ada, "milk").await;
    assert!(deployment.stop().await);
    let newer = with_journal(&data, async |journal| put_gift(journal, &order).await).await;
    deployment.restart().await;
    let (http, path) = (deployment.http(), format!("/orders/{order}"));

    seen(&http, &path, newer).await.expect_problem(503, "parked");
    seen(&http, &format!("{path}/history"), newer).await.expect_problem(503, "parked");
    seen(&http, &format!("/orders/{other}"), newer).await.expect(200);
    assert_eq!(seen(&http, &path, newer - 1).await.expect(200)["version"], 2);
    http.get(&format!("{path}?as_of=orders@{newer}")).await.expect_problem(503, "parked");
    assert_eq!(http.get(&format!("{path}?as_of=orders@{}", newer - 1)).await.expect(200)["version"], 2);
    assert_eq!(http.get(&path).await.expect(200)["version"], 2, "who has not seen more is shown what there is");
}

/// Records about an order, its invoice and a notification that this program can't read: each journal with where its one stands.
async fn put_unreadable(data: &Path, order: &str, notification: &str) -> [String; 3] {
    let mut positions = Vec::new();
    for (name, id) in [("orders", order), ("billing", order), ("notifications", notification)] {
        let put = async |journal: &Journal| journal.put(key_of(id), "from_the_future", &json!({"New": {}})).await;
        positions.push(format!("{name}@{}", with_journal_of(name, data, put).await));
    }
    positions.try_into().unwrap()
}

#[tokio::test]
async fn what_is_parked_and_somebody_elses_is_not_there() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let (ada, bob) = (shop.customer("Ada").await, shop.customer("Bob").await);
    let order = confirmed(&shop, &ada, "tea").await;
    shop.invoice_becomes(&order, "open").await;
    let news = json!({"recipient": ada, "subject": "s", "body": "b"});
    let notification = text(&shop.notifications.post("/notify", news).await.expect(201), "notification_id");
    assert!(deployment.stop().await);
    let [orders, billing, notifications] = &put_unreadable(&data, &order, &notification).await;
    let scopes = ["orders:read", "orders:write", "billing:read", "notifications:write"];
    let own = key(&data, "app", &scopes, &["--customer", &ada]).await;
    let other = key(&data, "app", &scopes, &["--customer", &bob]).await;
    deployment.restart().await;
    let (own, other) = (deployment.http().with_key(&own), deployment.http().with_key(&other));

    let nobodys = Uuid::now_v7().to_string();
    let is_hidden = async |method: Method, path: &str, position: &str| {
        let path_of = |id: &str| path.replace("{order}", id).replace("{notification}", id);
        let parked = path.replace("{order}", &order).replace("{notification}", &notification);
        seen_at(&own, method.clone(), &parked, position).await.expect_problem(503, "parked");
        let hidden = seen_at(&other, method.clone(), &parked, position).await.expect(404);
        let absent = seen_at(&other, method, &path_of(&nobodys), position).await.expect(404);
        assert_eq!((&hidden["code"], &hidden["errors"]), (&absent["code"], &absent["errors"]), "{path}");
        let told = |problem: &Value| text(problem, "detail").replace(&order, "").replace(&notification, "");
        assert_eq!(told(&hidden), told(&absent).replace(&nobodys, ""), "{path}");
    };
    is_hidden(Method::GET, "/orders/{order}", orders).await;
    is_hidden(Method::GET, &format!("/orders/{{order}}?as_of={orders}"), orders).await;
    is_hidden(Method::GET, "/orders/{order}/history", orders).await;
    is_hidden(Method::POST, "/orders/{order}/cancel", orders).await;
    is_hidden(Method::GET, "/billing/{order}", billing).await;
    is_hidden(Method::GET, &format!("/billing/{{order}}?as_of={billing}"), billing).await;
    is_hidden(Method::POST, "/notifications/{notification}/read", notifications).await;
}

#[tokio::test]
async fn a_record_is_discarded_on_a_stopped_server() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let ada = shop.customer("Ada").await;
    let order = confirmed(&shop, &ada, "tea").await;
    orderlog(&["projection", "snapshot", "orders"], &data).await.ended_with(0);
    assert!(deployment.stop().await);
    let [poison, behind] = with_journal(&data, async |journal| put_both(journal, &ada, &order).await).await;

    let shown = orderlog(&["parked", "show", "orders", &poison.to_string()], &data).await.ended_with(0);
    assert!(shown.stdout.contains(&format!("parked behind it, in this order: orders@{behind}")), "{shown:?}");
    orderlog(&["parked", "show", "orders", "0"], &data).await.ended_with(5);
    let retried = orderlog(&["parked", "retry", "orders"], &data).await.ended_with(5);
    assert!(retried.stderr.contains("orderlog parked discard"), "it says how to go on: {retried:?}");
    let discard = ["parked", "discard", "orders", &poison.to_string(), "--reason", "it was not meant"];
    let discarded = orderlog(&discard, &data).await.ended_with(0);
    assert!(!data.join("log.sqlite-wal").exists(), "the log is one file again");
    assert!(discarded.stdout.contains(&format!("orders@{poison} is discarded, by orders@")), "{discarded:?}");
    let listed = orderlog(&["parked", "list"], &data).await.ended_with(0);
    assert_eq!((&*listed.stdout, &*listed.stderr), ("", "nothing is parked\n"));
    orderlog(&["parked", "retry", "orders"], &data).await.ended_with(0);
    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);

    // A snapshot from before the record comes to the same.
    std::fs::remove_file(data.join("orders.1.sqlite")).unwrap();
    deployment.restart().await;
    let shop = Shop::from(&deployment);
    shop.order_becomes(&order, "cancelled", "unpaid").await;
    shop.stock_becomes("tea", 10, 0).await;
    assert!(deployment.stop().await);
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
}

#[tokio::test]
async fn a_discard_survives_kill_9_wholly_or_not_at_all() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let ada = shop.customer("Ada").await;
    for round in 0..6_u64 {
        let order = confirmed(&Shop::from(&deployment), &ada, &format!("tea-{round}")).await;
        assert!(deployment.stop().await);
        let [poison, _] = with_journal(&data, async |journal| put_both(journal, &ada, &order).await).await;
        deployment.restart().await;
        let http = deployment.http();
        let discarding = tokio::spawn(async move {
            let body = json!({"reason": "it was not meant"});
            let path = format!("/admin/parked/orders/{poison}");
            http.send(Method::POST, &path, &[], Some(&body)).await.is_ok_and(|answer| answer.status == 200)
        });
        tokio::time::sleep(Duration::from_millis(round * 2)).await;
        deployment.server().kill();
        let was_answered = discarding.await.unwrap();
        deployment.restart().await;
        let still_parked = parked(&deployment.http()).await;
        eprintln!("round {round}: answered {was_answered}, parked after the restart {still_parked:?}");
        assert!(still_parked.is_empty() || !was_answered, "what was answered is there");
        assert!([0, 2].contains(&still_parked.len()), "both or none");
        let discard = ["parked", "discard", "orders", &poison.to_string(), "--reason", "it was not meant"];
        orderlog(&discard, &data).await.ended_with(0);
        Shop::from(&deployment).order_becomes(&order, "cancelled", "unpaid").await;
    }
    deployment.server().ready().await;
    assert!(deployment.stop().await);
    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
}

#[tokio::test]
async fn rows_are_built_anew_without_a_record_that_another_program_could_not_read() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let ada = shop.customer("Ada").await;
    let order = confirmed(&shop, &ada, "tea").await;
    let other = confirmed(&shop, &ada, "milk").await;
    assert!(deployment.stop().await);
    let good = with_journal(&data, async |journal| put_cancellation(journal, &ada, &order).await).await;
    deployment.restart().await;
    Shop::from(&deployment).order_becomes(&order, "cancelled", "unpaid").await;
    assert!(deployment.stop().await);
    with_journal(&data, async |journal| journal.discard(good).await).await;
    deployment.restart().await;
    let shop = Shop::from(&deployment);
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.order_becomes(&other, "confirmed", "unpaid").await;
    shop.orders.post(&format!("/orders/{order}/cancel"), json!({})).await.expect(200);
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    orderlog(&["projection", "rebuild", "orders"], &data).await.ended_with(0);
    assert!(deployment.told().contains("built anew without it"));
}

/// A second instance of orders, on a data folder of its own.
fn another(deployment: &Distributed, data: &std::path::Path) -> Server {
    let options = [
        ("--log", format!("kafka://{}", kafka())),
        ("--redis", redis()),
        ("--topic-prefix", deployment.topic_prefix.clone()),
        ("--data", data.display().to_string()),
    ];
    let mut args = ["orders", "--development-hash-key"].map(str::to_owned).to_vec();
    args.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    Server::begin(&args, free_port(), &deployment.data.path().join("another.log"))
}

#[tokio::test]
async fn instances_on_kafka_agree_on_what_is_discarded() {
    let mut deployment = Distributed::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows("orders"));
    let ada = shop.customer("Ada").await;
    let order = confirmed(&shop, &ada, "tea").await;
    let readable = confirmed(&shop, &ada, "milk").await;
    let second = tempfile::tempdir().unwrap();
    let another = another(&deployment, second.path());
    another.ready().await;
    let topic_prefix = deployment.topic_prefix.clone();
    let log = KafkaLog::connect(KafkaConfig { topic_prefix, ..KafkaConfig::new(kafka()) }).unwrap();
    let journal = Journal::of("orders", log);
    let [poison, _] = put_both(&journal, &ada, &order).await;
    for http in [&shop.orders, &another.http] {
        eventually("it is parked", async || (parked(http).await.len() == 2).then_some(())).await;
        let readiness = http.get("/readyz").await.expect(200);
        assert_eq!(readiness["degraded"][0]["record"], format!("orders@{poison}"), "{readiness}");
        http.post(&format!("/orders/{order}/cancel"), json!({})).await.expect_problem(503, "parked");
    }

    let told = [text_of_metrics(&shop.orders).await, text_of_metrics(&another.http).await];
    let held = told.iter().filter(|told| told.contains("orderlog_lease_held{service=\"orders\"} 1")).count();
    assert_eq!(held, 1, "one instance has the lease");

    let discard = ["parked", "discard", "orders", &poison.to_string(), "--reason", "it was not meant"];
    orderlog(&discard, &data).await.ended_with(0);
    for http in [&shop.orders, &another.http] {
        eventually("nothing is parked", async || parked(http).await.is_empty().then_some(())).await;
        http.post(&format!("/orders/{order}/cancel"), json!({})).await.expect(200);
    }
    shop.stock_becomes("tea", 10, 0).await;

    // Both have folded this one, and have to do without.
    let good = put_cancellation(&journal, &ada, &readable).await;
    shop.order_becomes(&readable, "cancelled", "unpaid").await;
    journal.discard(good).await;
    for http in [&shop.orders, &another.http] {
        eventually("it is as if it had never been", async || {
            let answer = http.get(&format!("/orders/{readable}")).await;
            (answer.status == 200 && answer.body["state"] == "confirmed").then_some(())
        })
        .await;
    }
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    eventually("requests to Kafka are counted", async || {
        let told = text_of_metrics(&shop.orders).await;
        let n = told.lines().find_map(|line| line.strip_prefix("orderlog_kafka_requests_total ")).unwrap();
        (n.parse::<f64>().unwrap() > 0.0).then_some(())
    })
    .await;
    assert!(another.stop().await);
    deployment.stop("orders").await;
    let one = Store::open(&data, &TABLES).await.unwrap();
    let two = Store::open(second.path(), &TABLES).await.unwrap();
    assert_eq!(one.compare(&two).await.unwrap(), []);
}

#[tokio::test]
async fn no_value_of_a_record_that_cannot_be_read_is_reported_unless_it_is_shown_on_purpose() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    assert!(deployment.stop().await);
    let email = "eve@example.com";
    let customer = json!({ "customer_id": Uuid::now_v7(), "name": email, "email": email, "email_key": email,
        "active": true, "version": email });
    let payloads = [json!({ "CustomerDeactivated": { "customer": customer } }), json!({ email: {} }), json!(email)];
    let offsets = with_journal_of("customers", &data, async |journal| {
        let mut offsets = Vec::new();
        for payload in &payloads {
            offsets.push(journal.put(key_of(&Uuid::now_v7().to_string()), "customer_deactivated", payload).await);
        }
        // What is in a header is data as well.
        offsets.push(journal.put(key_of(&Uuid::now_v7().to_string()), email, &json!({})).await);
        offsets
    })
    .await;
    deployment.restart().await;
    let http = deployment.http();

    let lint = orderlog(&["log", "lint", "customers"], &data).await.ended_with(3).stdout;
    let field = "customer_deactivated can't be decoded: CustomerDeactivated.customer.email_key: ";
    assert!(lint.contains(field), "the field is named: {lint}");
    let listed = orderlog(&["parked", "list", "customers"], &data).await.ended_with(0).stdout;
    assert!(listed.contains("CustomerDeactivated.customer.email_key: "), "{listed}");
    let mut told = vec![lint, listed];
    for args in [&["log", "lint", "--json"][..], &["parked", "list", "--json"], &["projection", "status"]] {
        let said = orderlog(args, &data).await;
        told.extend([said.stdout, said.stderr]);
    }
    for path in ["/admin/parked/customers", "/admin/projections", "/readyz"] {
        told.push(http.send(Method::GET, path, &[], None).await.unwrap().body.to_string());
    }
    told.push(text_of_metrics(&http).await);
    told.push(deployment.told());
    for text in told {
        assert!(!text.contains("eve@"), "{text}");
    }
    let shown = orderlog(&["parked", "show", "customers", &offsets[0].to_string()], &data).await.ended_with(0);
    assert!(shown.stdout.contains(email), "{shown:?}");
}
