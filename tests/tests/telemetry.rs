//! What operators see: ids of requests, the access log.

use orderlog_tests::{deployment::Embedded, eventually, story::Shop};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let embedded = Embedded::start().await;
    let http = embedded.http();
    for (method, path) in
        [(Method::GET, "/orders"), (Method::GET, "/livez"), (Method::PUT, "/orders"), (Method::GET, "/x")]
    {
        let answer = http.send(method.clone(), path, &[("X-Request-Id", "mine-1")], None).await.unwrap();
        assert_eq!(answer.header("x-request-id"), Some("mine-1"), "{method} {path}");
        if answer.status.is_client_error() {
            assert_eq!(answer.body["request_id"], "mine-1", "{}", answer.body);
        }
    }
    let long = "x".repeat(129);
    for given in ["two words", "", &long] {
        let answer = http.send(Method::GET, "/nowhere", &[("X-Request-Id", given)], None).await.unwrap();
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(id.len(), 36, "it is minted: {id}");
        assert_eq!(answer.body["request_id"], id);
    }
}

#[tokio::test]
async fn each_request_is_one_line_of_the_access_log_that_tells_nothing_personal() {
    let embedded = Embedded::start_with(&["--log-format", "json"]).await;
    let shop = Shop::from(&embedded);
    let customer = shop.customer("Ada Secret").await;
    let path = format!("/customers/{customer}?as_of=2020-01-01T00:00:00Z");
    shop.customers.send(Method::GET, &path, &[("X-Request-Id", "mine-2")], None).await.unwrap();
    shop.customers.get("/nowhere/at/all").await;
    let lines = eventually("both are told", async || {
        let told = embedded.told();
        let lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["target"] == "access").collect();
        lines.iter().any(|line| line["route"] == "unmatched").then_some(lines)
    })
    .await;
    let line = lines.iter().find(|line| line["request_id"] == "mine-2").expect("a line of that request");
    assert_eq!((&line["method"], &line["route"]), (&json!("GET"), &json!("/customers/{customer_id}")), "{line}");
    assert!(line["status"].is_u64() && line["duration_ms"].is_f64(), "{line}");
    assert!(lines.iter().any(|line| line["route"] == "/customers" && line["status"] == 201), "{lines:?}");
    let told = embedded.told();
    for secret in [&customer, "Ada Secret", "example.com", "2020-01-01"] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}
