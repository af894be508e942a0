//! One key, one effect: what a caller gets who repeats a command, whatever happened in between.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::time::{Duration, Instant};

use orderlog_tests::{
    deployment::{Distributed, Embedded},
    http::{Answer, Http},
    story::{Shop, text},
};
use reqwest::Method;
use serde_json::{Value, json};

async fn send(http: &Http, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    http.send(method, path, &[("Idempotency-Key", key)], Some(body)).await.unwrap()
}

/// Ask again: it must be the same answer, and say that it is.
async fn again(http: &Http, method: Method, path: &str, key: &str, body: &Value, first: &Answer) {
    let second = send(http, method.clone(), path, key, body).await;
    assert_eq!(second.header("Idempotent-Replayed"), Some("true"), "{method} {path}: {second:?}");
    assert_eq!((second.status, &second.body), (first.status, &first.body), "{method} {path}");
    let told = |answer: &Answer, name: &str| answer.header(name).map(str::to_owned);
    for name in ["Orderlog-Position", "ETag", "Location"] {
        assert_eq!(told(&second, name), told(first, name), "{method} {path}: {name}");
    }
}

/// What was done with keys before something happened, to be asked for again after it.
struct Done(Vec<(&'static str, Method, String, Value, Answer)>);

impl Done {
    async fn by(shop: &Shop) -> Self {
        let customer = shop.customer("Ada").await;
        shop.receive("once", 10).await;
        let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
        let mut done = Vec::new();
        for (service, method, path, body) in [
            ("customers", Method::POST, "/customers".to_owned(), json!({ "name": "Bob", "email": email })),
            ("customers", Method::PATCH, format!("/customers/{customer}"), json!({ "name": "Countess" })),
            ("inventory", Method::POST, "/stock/once/receive".to_owned(), json!({ "quantity": 3 })),
            ("inventory", Method::PUT, "/stock/once/threshold".to_owned(), json!({ "low_stock_threshold": 2 })),
        ] {
            let first = send(of(shop, service), method.clone(), &path, "the key", &body).await;
            assert_eq!(first.status.as_u16(), 400, "a key has no spaces");
            let first = send(of(shop, service), method.clone(), &path, "the-key", &body).await;
            assert!(first.status.is_success() && first.header("Idempotent-Replayed").is_none(), "{path}: {first:?}");
            done.push((service, method, path, body, first));
        }
        Self(done)
    }

    async fn is_kept(&self, shop: &Shop) {
        for (service, method, path, body, first) in &self.0 {
            // Bare and quoted are the same key.
            for key in ["the-key", "\"the-key\""] {
                again(of(shop, service), method.clone(), path, key, body, first).await;
            }
        }
        let stock = shop.inventory.get("/stock/once").await.expect(200);
        assert_eq!((&stock["on_hand"], &stock["low_stock_threshold"]), (&json!(13), &json!(2)), "{stock}");
    }
}

fn of<'a>(shop: &'a Shop, service: &str) -> &'a Http {
    if service == "customers" { &shop.customers } else { &shop.inventory }
}

async fn a_key_is_for_one_command_on_one_route(shop: &Shop) {
    let receive = async |sku: &str, quantity: u32| {
        let (path, body) = (format!("/stock/{sku}/receive"), json!({ "quantity": quantity }));
        send(&shop.inventory, Method::POST, &path, "mine", &body).await
    };
    receive("here", 1).await.expect(200);
    receive("here", 2).await.expect_problem(422, "idempotency_key_reused");
    let elsewhere = receive("there", 2).await;
    assert_eq!(elsewhere.header("Idempotent-Replayed"), None, "{elsewhere:?}");
    elsewhere.expect(200);
    assert_eq!(shop.inventory.get("/stock/here").await.expect(200)["on_hand"], 1);

    // One of two would be left out.
    let both = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")];
    let refused =
        shop.inventory.send(Method::POST, "/stock/here/receive", &both, Some(&json!({ "quantity": 1 }))).await;
    refused.unwrap().expect_problem(400, "invalid_request");

    let adjust = async || {
        let body = json!({ "delta": -3, "reason": "counted" });
        send(&shop.inventory, Method::POST, "/stock/here/adjust", "refused-first", &body).await
    };
    adjust().await.expect_problem(409, "below_reserved");
    shop.receive("here", 5).await;
    let now = adjust().await;
    assert_eq!(now.header("Idempotent-Replayed"), None, "a refusal is not remembered: {now:?}");
    assert_eq!(now.expect(200)["on_hand"], 3);
}

async fn many_at_once_are_one(shop: &Shop) {
    let body = json!({ "quantity": 1 });
    let asked = (0..16).map(|_| send(&shop.inventory, Method::POST, "/stock/raced/receive", "raced", &body));
    let answers = futures_util::future::join_all(asked).await;
    let firsts = answers.iter().filter(|answer| answer.header("Idempotent-Replayed").is_none()).count();
    assert_eq!(firsts, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{answers:?}");
}

#[tokio::test]
async fn an_integer_is_the_same_command_however_it_is_written() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let received = async |quantity: &str| {
        let request = reqwest::Client::new().post(format!("{}/stock/beans/receive", http.base));
        let request = request.header("Content-Type", "application/json").header("Idempotency-Key", "once");
        request.body(format!(r#"{{"quantity": {quantity}}}"#)).send().await.unwrap()
    };
    let first = received("2").await;
    assert_eq!((first.status().as_u16(), first.headers().get("Idempotent-Replayed")), (200, None));
    for same in ["2.0", "2e0", "0.2E+1"] {
        let again = received(same).await;
        assert_eq!(again.status(), 200, "{same}");
        assert_eq!(again.headers().get("Idempotent-Replayed").unwrap(), "true", "{same}");
    }
    assert_eq!(received("3.0").await.status(), 422);
    for wrong in ["2.5", "1e400", "9223372036854775808"] {
        assert_eq!(received(wrong).await.status(), 400, "{wrong}");
    }
    assert_eq!(http.get("/stock/beans").await.expect(200)["on_hand"], 2);
}

#[tokio::test]
async fn a_key_is_kept_by_the_embedded_log_through_restarts_kills_and_rebuilds() {
    let mut deployment = Embedded::start().await;
    let shop = Shop::from(&deployment);
    let done = Done::by(&shop).await;
    done.is_kept(&shop).await;
    a_key_is_for_one_command_on_one_route(&shop).await;
    many_at_once_are_one(&shop).await;
    // A restart of this kind is a `kill -9`.
    deployment.restart().await;
    done.is_kept(&shop).await;
    assert!(deployment.stop().await);
    for service in ["customers", "inventory"] {
        std::fs::remove_file(deployment.rows().join(format!("{service}.1.sqlite"))).unwrap();
    }
    deployment.restart().await;
    done.is_kept(&shop).await;
}

#[tokio::test]
async fn a_key_is_kept_by_kafka_through_restarts_and_rebuilds() {
    let mut deployment = Distributed::start().await;
    let shop = Shop::from(&deployment);
    let done = Done::by(&shop).await;
    done.is_kept(&shop).await;
    a_key_is_for_one_command_on_one_route(&shop).await;
    many_at_once_are_one(&shop).await;
    for service in ["customers", "inventory"] {
        deployment.stop(service).await;
        std::fs::remove_dir_all(deployment.rows(service)).unwrap();
        deployment.restart(service).await;
    }
    done.is_kept(&shop).await;
}

/// Whoever repeats what is under way waits for that outcome; and when its own time is up, it is told when to come again.
#[tokio::test]
async fn who_repeats_a_command_that_is_under_way_is_told_when_to_come_again() {
    let deployment = Embedded::start_with(&["--command-timeout-ms", "1000"]).await;
    let http = deployment.http();
    http.post("/stock/slow/receive", json!({ "quantity": 1 })).await.expect(200);
    let receive = async || {
        let body = json!({ "quantity": 5 });
        send(&http, Method::POST, "/stock/slow/receive", "slow", &body).await
    };
    // Whoever writes to the log's file holds up its writer.
    let log = rusqlite::Connection::open(deployment.rows().join("log.sqlite")).unwrap();
    log.busy_timeout(Duration::from_secs(5)).unwrap();
    log.execute_batch("begin immediate").unwrap();
    let began = Instant::now();
    receive().await.expect_problem(504, "outcome_unknown");
    let waiting = receive().await;
    assert!(began.elapsed() >= Duration::from_secs(2), "both were waited for");
    assert_eq!(waiting.header("Retry-After"), Some("1"));
    let problem = waiting.expect_problem(409, "idempotency_key_in_use");
    assert!(text(&problem, "detail").contains("in progress"), "{problem}");
    assert_eq!(problem["retryable"], true, "its outcome is not known yet: {problem}");
    log.execute_batch("rollback").unwrap();
    let settled = orderlog_tests::eventually("it is settled", async || {
        let answer = receive().await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(settled.header("Idempotent-Replayed"), Some("true"));
    assert_eq!(http.get("/stock/slow").await.expect(200)["on_hand"], 6, "it was done once");
}
