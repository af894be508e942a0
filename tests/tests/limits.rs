//! Limits, one by one: what is beyond them is refused with a problem or a closed connection, and nothing else is.

use std::{process::Command, time::Duration};

use orderlog_tests::{
    deployment::{Embedded, binary, free_port},
    eventually,
    http::Http,
    keys::key,
    raw::Raw,
};
use reqwest::Method;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);
/// Beyond a limit of 300 ms, and far below one of 60 s.
const AFTERWARDS: Duration = Duration::from_millis(900);

async fn raw(http: &Http) -> Raw {
    Raw::to(&http.base).await.expect("a connection")
}

/// The head of a `POST /notify` with these further lines.
fn post(further: &str) -> String {
    format!("POST /notify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{further}\r\n\r\n")
}

#[tokio::test]
async fn a_caller_who_asks_too_often_is_told_when_to_come_again_and_others_are_not() {
    let mut deployment = Embedded::stopped();
    let (data, scopes) = (deployment.rows(), ["stock:read"]);
    let (one, other) = (key(&data, "one", &scopes, &[]).await, key(&data, "other", &scopes, &[]).await);
    deployment.options(&["--rate-limit", "1", "--rate-burst", "3"]);
    let deployment = deployment.started().await;
    let (http, others) = (deployment.http().with_key(&one), deployment.http().with_key(&other));
    for left in [2, 1, 0] {
        let answer = http.get("/stock").await;
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=3"));
        let told = answer.header("ratelimit").unwrap_or_default().to_owned();
        assert!(told.starts_with(&format!("\"requests\";r={left};t=")), "{told}");
        answer.expect(200);
    }
    let refused = http.get("/stock").await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.header("ratelimit").is_some_and(|told| told.starts_with("\"requests\";r=0;")), "{refused:?}");
    refused.expect_problem(429, "rate_limited");
    others.get("/stock").await.expect(200);

    // Nobody in particular: by address.
    let nobody = deployment.http();
    let told = async || nobody.with_key("olk_00_00").get("/stock").await.status.as_u16();
    assert_eq!([told().await, told().await, told().await, told().await], [401, 401, 401, 429]);
    others.get("/stock").await.expect(200);
    for probe in ["/livez", "/readyz", "/livez", "/readyz"] {
        let answer = nobody.get(probe).await;
        assert_eq!(answer.header("ratelimit"), None);
        answer.expect(200);
    }
    eventually("it may ask again", async || (http.get("/stock").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn whoever_is_on_the_machine_of_an_open_server_has_a_limit_only_if_one_is_given() {
    let open = Embedded::start().await;
    assert_eq!(open.http().get("/stock").await.header("ratelimit"), None);
    // Whoever needs a key has the rate that the guide names.
    let keyed = open.http().with_key(&key(&open.rows(), "shop", &["stock:read"], &[]).await);
    let policy = eventually("the key is known", async || {
        keyed.get("/stock").await.header("ratelimit-policy").map(str::to_owned)
    });
    assert_eq!(policy.await, "\"requests\";q=2000;w=2");
    let limited = Embedded::start_with(&["--rate-limit", "1", "--rate-burst", "1"]).await;
    limited.http().get("/stock").await.expect(200);
    limited.http().get("/stock").await.expect_problem(429, "rate_limited");
}

#[tokio::test]
async fn a_body_may_be_neither_too_large_nor_too_slow() {
    let deployment = Embedded::start_with(&["--max-body-bytes", "200", "--body-timeout-ms", "300"]).await;
    let http = deployment.http();
    let news = |body: String| json!({ "recipient": "operations", "subject": "s", "body": body });
    http.post("/notify", news("b".to_owned())).await.expect(201);
    let problem = http.post("/notify", news("b".repeat(200))).await.expect_problem(413, "body_too_large");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("200")), "{problem}");
    for (head, part) in [("Content-Length: 20", "{"), ("Transfer-Encoding: chunked", "1\r\n{\r\n")] {
        let mut slow = raw(&http).await;
        slow.send(post(head) + part).await.expect("sent");
        let last = slow.last(PATIENCE).await.expect("the connection is closed");
        assert_eq!((last.status, last.code().as_str()), (408, "body_too_slow"), "{last:?}");
    }
    let mut large = raw(&http).await;
    large.send(post("Transfer-Encoding: chunked") + &format!("12c\r\n{}\r\n", "x".repeat(300))).await.expect("sent");
    assert_eq!(large.answer(PATIENCE).await.code(), "body_too_large");
}

#[tokio::test]
async fn bodies_for_operators_have_the_limits_of_all_bodies() {
    let deployment = Embedded::start_with(&["--max-body-bytes", "200", "--body-timeout-ms", "300"]).await;
    let http = deployment.http();
    let large = json!({ "reason": "r".repeat(300) });
    for path in
        ["/admin/projections/orders", "/admin/snapshots/orders", "/admin/parked/orders", "/admin/parked/orders/0"]
    {
        http.post(path, large.clone()).await.expect_problem(413, "body_too_large");
        http.post(path, json!(7)).await.expect_problem(400, "invalid_request");
        http.post_nothing(path).await.expect_problem(415, "unsupported_media_type");
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        let mut endless = raw(&http).await;
        let piece = format!("Transfer-Encoding: chunked\r\n\r\n12c\r\n{}\r\n", "x".repeat(300));
        endless.send(format!("{head}{piece}")).await.expect("sent");
        assert_eq!(endless.answer(PATIENCE).await.code(), "body_too_large", "{path}");
        let mut slow = raw(&http).await;
        slow.send(format!("{head}Content-Length: 20\r\n\r\n{{")).await.expect("sent");
        assert_eq!(slow.answer(PATIENCE).await.code(), "body_too_slow", "{path}");
    }
    let refused = http.post("/admin/parked/orders/0", json!({ "reason": "" })).await;
    let problem = refused.expect_problem(400, "invalid_request");
    assert_eq!(problem["errors"][0]["pointer"], "#/reason", "{problem}");
}

#[tokio::test]
async fn a_head_may_not_dribble_and_a_connection_not_idle() {
    let quick = ["--header-timeout-ms", "300", "--idle-timeout-ms", "60000"];
    let deployment = Embedded::start_with(&quick).await;
    let http = deployment.http();
    let (mut slow, mut idle) = (raw(&http).await, raw(&http).await);
    slow.send("GET /livez HTTP/1.1\r\nHost: loc").await.expect("sent");
    assert!(slow.last(PATIENCE).await.is_some(), "a head that does not end is not waited for");
    assert!(idle.last(AFTERWARDS).await.is_none(), "whoever has not begun may take more time");
    // Nor is a request that takes longer than a head may.
    let body = r#"{"recipient":"operations","subject":"subject","body":"it is long"}"#;
    idle.send(post(&format!("Content-Length: {}", body.len()))).await.expect("sent");
    tokio::time::sleep(AFTERWARDS).await;
    idle.send(body).await.expect("sent");
    assert_eq!(idle.answer(PATIENCE).await.status, 201);
    assert!(idle.last(AFTERWARDS).await.is_none(), "what it has sent is no head");

    let deployment = Embedded::start_with(&["--idle-timeout-ms", "300"]).await;
    let http = deployment.http();
    let mut events = http.events("/notifications/stream?recipient=operations", None).await;
    let (mut used, mut new) = (raw(&http).await, raw(&http).await);
    used.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    assert_eq!(used.answer(PATIENCE).await.status, 200);
    for connection in [&mut used, &mut new] {
        assert!(connection.last(PATIENCE).await.is_some(), "a connection without requests is closed");
    }
    tokio::time::sleep(AFTERWARDS).await;
    http.post("/notify", json!({ "recipient": "operations", "subject": "s", "body": "b" })).await.expect(201);
    assert!(events.next().await.is_some(), "a stream is not idle, though nothing came for a while");
}

#[tokio::test]
async fn a_full_process_says_so_and_answers_those_who_look_after_it() {
    let deployment = Embedded::start_with(&["--max-connections", "3", "--max-requests", "1"]).await;
    let http = deployment.http();
    let mut events = http.events("/notifications/stream?recipient=operations", None).await;
    let slow = eventually("a slow one is worked on", async || {
        let mut slow = raw(&http).await;
        slow.send(post("Content-Length: 20")).await.expect("sent");
        for _ in 0..20 {
            if http.get("/stock").await.status == 503 {
                return Some(slow);
            }
        }
        // A query had the only place when it came, and it was refused: another one.
        None
    })
    .await;
    let refused = http.get("/stock").await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.expect_problem(503, "overloaded");
    // The stream, the slow one, and the client's own: there is no fourth.
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (path, status, code) in [("/stock", 503, "too_many_connections"), ("/livez", 200, ""), ("/readyz", 200, "")] {
        let mut fourth = raw(&http).await;
        fourth.send(request(path)).await.expect("sent");
        let last = fourth.last(PATIENCE).await.expect("it is closed after one answer");
        assert_eq!((last.status, last.code().as_str()), (status, code), "{path}: {last:?}");
    }
    let mut silent = raw(&http).await;
    assert!(silent.last(PATIENCE).await.is_some(), "it gets no time to waste");
    drop(slow);
    let news = json!({ "recipient": "operations", "subject": "s", "body": "b" });
    eventually("there is a place again", async || {
        (http.post("/notify", news.clone()).await.status == 201).then_some(())
    })
    .await;
    assert!(events.next().await.is_some(), "the stream goes on");
}

#[tokio::test]
async fn a_process_has_the_system_allow_as_many_files_as_it_needs_or_says_that_it_does_not() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let listen = format!("127.0.0.1:{}", free_port());
    let http = Http::new(format!("http://{listen}"));
    for (ulimit, is_told) in [("ulimit -Sn 128; ulimit -Hn 4096", false), ("ulimit -n 300", true)] {
        let serve = format!("{ulimit}; exec \"$@\"");
        let mut process = tokio::process::Command::from(Command::new("bash"));
        process.args(["-c", &serve, "bash"]).arg(binary()).arg("serve").args([
            "--listen",
            &listen,
            "--max-connections",
        ]);
        process.arg("1000").arg("--data").arg(data.path()).kill_on_drop(true);
        process.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let mut process = process.spawn().expect("the binary starts");
        eventually("it answers", async || {
            let answer = http.send(Method::GET, "/readyz", &[], None).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await;
        process.start_kill().expect("it runs");
        let output = process.wait_with_output().await.expect("it ended");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(told.contains("--max-connections 1000"), is_told, "{ulimit}: {told}");
    }
}

#[tokio::test]
async fn a_deployment_may_take_what_moves_stock_or_money_only_with_an_idempotency_key() {
    let strict = Embedded::start_with(&["--require-idempotency-keys"]).await;
    let http = strict.http();
    let nobody = "019a0000-0000-7000-8000-000000000001";
    let line = json!({ "sku": "beans", "quantity": 1, "unit_price": 100 });
    let order = json!({ "customer_id": nobody, "currency": "EUR", "lines": [line] });
    let held = json!({ "reservation_id": "cart", "lines": [{ "sku": "beans", "quantity": 1 }], "ttl_seconds": 60 });
    let paid = json!({ "order_id": nobody, "amount": 1, "currency": "EUR", "reference": "a" });
    for (method, path, body, with_key) in [
        (Method::POST, "/orders", order, 404),
        (Method::POST, "/billing", paid, 404),
        (Method::POST, &format!("/billing/{nobody}/refund"), json!({}), 404),
        (Method::POST, "/stock/beans/receive", json!({ "quantity": 5 }), 200),
        (Method::POST, "/stock/beans/adjust", json!({ "delta": 1, "reason": "count" }), 200),
        (Method::PUT, "/stock/beans/threshold", json!({ "low_stock_threshold": 1 }), 200),
        (Method::POST, "/stock/reserve", held, 201),
        (Method::POST, "/stock/reservations/cart/release", json!({}), 200),
    ] {
        let body = if body == json!({}) { None } else { Some(&body) };
        let refused = http.send(method.clone(), path, &[], body).await.expect("an answer");
        let problem = refused.expect_problem(400, "idempotency_key_required");
        http.get(problem["type"].as_str().expect("a path")).await.expect(200);
        let key = [("Idempotency-Key", path)];
        assert_eq!(http.send(method, path, &key, body).await.expect("an answer").status, with_key, "{path}");
    }
    // The others are as ever.
    let ada = json!({ "name": "Ada", "email": "ada@example.com" });
    http.post("/customers", ada).await.expect(201);
    http.post("/notify", json!({ "recipient": "operations", "subject": "s", "body": "b" })).await.expect(201);
}
