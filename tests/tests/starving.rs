//! One caller cannot starve the others: whatever it holds, others, operators and the process itself find room.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use orderlog_tests::{
    deployment::Embedded,
    eventually,
    http::{Answer, Events, Http},
    keys::key,
    raw::Raw,
};
use reqwest::{Error, Method};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: &str = "/notifications/stream?recipient=operations";

async fn limited(http: &Http, limit: &str) -> f64 {
    let metrics = http.metrics().await;
    metrics.get(&format!("orderlog_http_limited_total{{limit=\"{limit}\"}}")).copied().unwrap_or_default()
}

/// Orders alone, so that nobody settles one, with keys of a greedy caller, another one, and an operator.
struct Unsettled {
    deployment: Embedded,
    greedy: Http,
    other: Http,
    operator: Http,
    order: Value,
}

impl Unsettled {
    async fn start(options: &[&str]) -> Self {
        let deployment = Embedded::stopped();
        let (data, shop) = (deployment.rows(), ["customers:*", "orders:*"]);
        let [greedy, other] = [key(&data, "greedy", &shop, &[]).await, key(&data, "other", &shop, &[]).await];
        let operator = key(&data, "operator", &["admin:read", "orders:read"], &[]).await;
        let mut deployment = deployment.started().await;
        let http = deployment.http().with_key(&other);
        let ada = http.post("/customers", json!({ "name": "Ada", "email": "ada@example.com" })).await.expect(201);
        let line = json!({ "sku": "beans", "quantity": 1, "unit_price": 100 });
        let order = json!({ "customer_id": ada["customer_id"], "currency": "EUR", "lines": [line] });
        eventually("the customer is known to orders", async || {
            (http.post("/orders", order.clone()).await.status == 201).then_some(())
        })
        .await;
        deployment.options(&[options, &["orders"]].concat());
        deployment.restart().await;
        let [greedy, other, operator] = [greedy, other, operator].map(|key| deployment.http().with_key(&key));
        Self { deployment, greedy, other, operator, order }
    }

    /// An order that waits to be settled, on a connection of its own.
    fn waiting(&self, http: &Http, seconds: u8) -> JoinHandle<Result<Answer, Error>> {
        let (http, order) = (http.anew(), self.order.clone());
        tokio::spawn(async move {
            http.send(Method::POST, "/orders", &[("Prefer", &format!("wait={seconds}"))], Some(&order)).await
        })
    }

    /// The same, once it waits or was answered.
    async fn begun(&self, seconds: u8) -> JoinHandle<Result<Answer, Error>> {
        let n = self.n_orders().await;
        let waiting = self.waiting(&self.greedy, seconds);
        eventually("the order is placed", async || (self.n_orders().await > n).then_some(())).await;
        waiting
    }

    async fn n_orders(&self) -> usize {
        self.other.get("/orders?limit=100").await.expect(200)["items"].as_array().map_or(0, Vec::len)
    }
}

/// Those that have no answer yet, and those that were answered without having waited.
async fn apart(all: Vec<JoinHandle<Result<Answer, Error>>>) -> (Vec<JoinHandle<Result<Answer, Error>>>, Vec<Answer>) {
    let (mut waiting, mut answered) = (Vec::new(), Vec::new());
    for one in all {
        if one.is_finished() {
            answered.push(one.await.expect("no panic").expect("an answer"));
        } else {
            waiting.push(one);
        }
    }
    (waiting, answered)
}

#[tokio::test]
async fn whoever_waits_holds_no_place_and_beyond_its_share_does_not_wait() {
    let mut unsettled = Unsettled::start(&["--max-requests", "4"]).await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(unsettled.begun(30).await);
    }
    eventually("six are answered", async || (all.iter().filter(|it| it.is_finished()).count() == 6).then_some(()))
        .await;
    // Half of the waits are its share. The preference of the others was ignored, and that shows.
    let (waiting, answered) = apart(all).await;
    assert_eq!(waiting.len(), 2);
    for answer in answered {
        assert_eq!(answer.header("preference-applied"), None);
        assert_eq!(answer.expect(201)["state"], "placed");
    }
    assert!(limited(&unsettled.operator, "waits").await >= 6.0);
    // All four places are free for those who do not wait, and others may wait too.
    let begun = Instant::now();
    let patient = unsettled.waiting(&unsettled.other, 1).await.expect("no panic").expect("an answer");
    assert_eq!(patient.header("preference-applied"), Some("wait=1"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    for http in [&unsettled.other, &unsettled.greedy, &unsettled.operator] {
        let answers = futures_util::future::join_all((0..2).map(|_| http.get("/orders"))).await;
        answers.into_iter().for_each(|answer| drop(answer.expect(200)));
    }
    // Whoever goes away gives back what it held.
    waiting.iter().for_each(JoinHandle::abort);
    eventually("it may wait again", async || {
        let answer = unsettled.waiting(&unsettled.greedy, 1).await.expect("no panic").expect("an answer");
        (answer.header("preference-applied") == Some("wait=1")).then_some(())
    })
    .await;
    // A process that stops does not wait for those who wait.
    let waiting = unsettled.begun(30).await;
    let begun = Instant::now();
    assert!(unsettled.deployment.stop().await);
    assert!(begun.elapsed() < Duration::from_secs(9), "it stopped after {:?}", begun.elapsed());
    let answer = waiting.await.expect("no panic").expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (201, None));
}

#[tokio::test]
async fn a_request_that_asks_another_service_of_its_process_needs_no_second_place() {
    for options in [&["--max-requests", "1"][..], &["--max-requests", "1", "--rate-limit", "1000"]] {
        let deployment = Embedded::start_with(options).await;
        let http = deployment.http();
        let ada = http.post("/customers", json!({ "name": "Ada", "email": "ada@example.com" })).await.expect(201);
        let customer = ada["customer_id"].as_str().expect("an id");
        let line = json!({ "sku": "beans", "quantity": 1, "unit_price": 100 });
        let order = json!({ "customer_id": customer, "currency": "EUR", "lines": [line] });
        let placed = eventually("the customer is known to orders", async || {
            let answer = http.post("/orders", order.clone()).await;
            (answer.status == 201).then_some(answer.body)
        })
        .await;
        let orders = http.get(&format!("/customers/{customer}/orders")).await.expect(200);
        assert_eq!(orders["items"][0]["order_id"], placed["order_id"], "{orders}");
        let path = format!("/orders/{}?expand=stock,invoice", placed["order_id"].as_str().expect("an id"));
        assert_eq!(http.get(&path).await.expect(200)["unavailable"], Value::Null);
    }
}

/// A connection that has asked for this with this key and stays open.
async fn held(http: &Http, key: &str) -> (Raw, u16) {
    let mut raw = Raw::to(&http.base).await.expect("a connection");
    let head = format!("GET /stock HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n");
    raw.send(head).await.expect("sent");
    let status = raw.answer(PATIENCE).await.status;
    (raw, status)
}

#[tokio::test]
async fn one_caller_has_half_of_the_connections_and_whoever_says_nothing_gives_way() {
    let mut deployment = Embedded::stopped();
    let (data, shop) = (deployment.rows(), ["stock:*", "notifications:read"]);
    let greedy = key(&data, "greedy", &shop, &[]).await;
    // Keys of one name are one caller.
    let twin = key(&data, "greedy", &shop, &[]).await;
    let others = [key(&data, "one", &shop, &[]).await, key(&data, "two", &shop, &[]).await];
    let operator = key(&data, "operator", &["stock:*", "notifications:read", "admin:read"], &[]).await;
    deployment.options(&["--max-connections", "8"]);
    let deployment = deployment.started().await;
    let http = deployment.http();

    let mut streams: Vec<Events> = Vec::new();
    for key in [&greedy, &twin] {
        for _ in 0..2 {
            streams.push(http.anew().with_key(key).events(STREAM, None).await);
        }
    }
    for (path, key) in [(STREAM, &greedy), ("/stock", &twin)] {
        let refused = http.anew().with_key(key).get(path).await;
        assert_eq!(refused.header("retry-after"), Some("1"));
        refused.expect_problem(503, "too_many_connections");
    }
    // Connections that say nothing, or nothing that opens something, take the rest, but keep nobody out.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Raw::to(&http.base).await.expect("a connection"));
    }
    let mut kept = Vec::new();
    for key in [&others[0], &others[0], &others[1]] {
        let (connection, status) = held(&http, key).await;
        assert_eq!(status, 200);
        kept.push(connection);
    }
    let (strangers, status) = held(&http, "olk_000000000000_0").await;
    assert_eq!(status, 401);
    kept.push(strangers);
    assert!(silent[0].last(PATIENCE).await.is_some(), "the first that said nothing was closed");
    assert!(limited(&http.with_key(&operator), "stray_connections").await > 0.0);

    // Full of callers. An operator is served all the same, and the process reaches itself.
    let (last, status) = held(&http, &operator).await;
    assert_eq!(status, 200);
    kept.push(last);
    let operator = http.anew().with_key(&operator);
    operator.post("/stock/beans/receive", json!({ "quantity": 2 })).await.expect(200);
    operator.post("/stock/beans/adjust", json!({ "delta": -1, "reason": "count" })).await.expect(200);
    eventually("the notice is delivered", async || {
        let found = operator.get("/notifications?recipient=operations").await.expect(200);
        (!found["items"].as_array().expect("a list").is_empty()).then_some(())
    })
    .await;
    http.anew().get("/livez").await.expect(200);
    assert!(streams[0].next().await.is_some(), "a stream that has begun goes on");
    drop(streams);
    eventually("the caller has room again", async || (held(&http, &greedy).await.1 == 200).then_some(())).await;
}

#[tokio::test]
async fn a_connection_counts_for_the_caller_of_its_latest_request() {
    let mut deployment = Embedded::stopped();
    let data = deployment.rows();
    let mut keys = Vec::new();
    for name in ["one", "two", "three"] {
        keys.push(key(&data, name, &["stock:read"], &[]).await);
    }
    deployment.options(&["--max-connections", "4"]);
    let deployment = deployment.started().await;
    let http = deployment.http();
    // As a proxy does: three callers on each of two connections.
    let mut proxied = Vec::new();
    for _ in 0..2 {
        let (connection, status) = held(&http, &keys[0]).await;
        assert_eq!(status, 200);
        proxied.push(connection);
    }
    let ask = async |connection: &mut Raw, key: &str, method: &str| {
        let head = format!("{method} /stock HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n");
        connection.send(head).await.expect("sent");
        connection.answer(PATIENCE).await.status
    };
    for key in &keys {
        for connection in &mut proxied {
            assert_eq!(ask(connection, key, "GET").await, 200);
        }
    }
    let (_third, status) = held(&http, &keys[0]).await;
    assert_eq!(status, 200, "what it asked before is no longer its own");
}

#[tokio::test]
async fn slow_bodies_of_one_caller_leave_places_for_others_and_operators() {
    let mut deployment = Embedded::stopped();
    let (data, scopes) = (deployment.rows(), ["stock:*"]);
    let [greedy, other] = [key(&data, "greedy", &scopes, &[]).await, key(&data, "other", &scopes, &[]).await];
    let operator = key(&data, "operator", &["stock:*", "admin:read"], &[]).await;
    deployment.options(&["--max-requests", "4"]);
    let deployment = deployment.started().await;
    let http = deployment.http();
    let slow = async |key: &str| {
        let mut raw = Raw::to(&http.base).await.expect("a connection");
        let head = format!(
            "POST /stock/beans/receive HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        );
        raw.send(head).await.expect("sent");
        raw
    };
    let (greedy_http, other_http) = (http.with_key(&greedy), http.with_key(&other));
    // More of them than it needs: one that comes while a query has the last place of its caller is refused.
    let held = RefCell::new(Vec::new());
    let fill = async |key: &str, http: &Http| {
        eventually("there are as many as the caller may have", async || {
            let one_more = slow(key).await;
            held.borrow_mut().push(one_more);
            (http.get("/stock").await.status == 503).then_some(())
        })
        .await;
    };
    fill(&greedy, &greedy_http).await;
    assert_eq!(slow(&greedy).await.answer(PATIENCE).await.code(), "overloaded");
    other_http.post("/stock/beans/receive", json!({ "quantity": 1 })).await.expect(200);
    // Another one as slow, and only one place is left.
    fill(&other, &other_http).await;
    http.with_key(&operator).get("/stock").await.expect(200);
    assert!(limited(&http.with_key(&operator), "requests").await >= 3.0);
}
