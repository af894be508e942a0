//! What callers are told when something is wrong: always a problem document, whose kind is explained where it says, with all that is
//! wrong with the values, and nothing of the inside.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::collections::BTreeSet;

use orderlog_tests::{PATIENCE, deployment::Embedded, http::Http, raw::Raw, story::text};
use reqwest::{Method, Response};
use serde_json::{Value, json};

async fn raw(http: &Http, method: Method, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Response {
    let client = reqwest::Client::new();
    let request = client.request(method, format!("{}{path}", http.base)).header("Content-Type", kind);
    request.body(body).send().await.unwrap()
}

/// The problem that an answer is, once everything that all problems have in common was seen.
async fn problem(http: &Http, response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let problem: Value = response.json().await.unwrap();
    assert_eq!((&problem["status"], &problem["request_id"]), (&json!(status), &json!(id)), "{problem}");
    for inside in ["src/", ".rs", "sqlx", "rusqlite", "panicked", "poem", "serde"] {
        assert!(!problem.to_string().contains(inside), "{inside}: {problem}");
    }
    let explained = http.get(&text(&problem, "type")).await.expect(200);
    assert_eq!((&explained["code"], &explained["title"]), (&problem["code"], &problem["title"]), "{explained}");
    assert!(explained["remedy"].is_string() && explained["example"].is_object(), "{explained}");
    (status, text(&problem, "code"))
}

#[tokio::test]
async fn whatever_the_framework_refuses_is_a_problem_that_is_explained() {
    let deployment = Embedded::start_with(&["--max-body-bytes", "10000"]).await;
    let http = deployment.http();
    let json = "application/json";
    for (method, path, kind, body, status, code) in [
        (Method::POST, "/orders", json, "{".to_owned(), 400, "malformed_json"),
        (Method::POST, "/orders", json, "{}".to_owned(), 400, "invalid_request"),
        (Method::GET, "/orders/no-uuid", json, String::new(), 400, "invalid_request"),
        (Method::GET, "/admin/log/orders/0?form=1", json, String::new(), 400, "bad_request"),
        (Method::GET, "/nowhere", json, String::new(), 404, "no_such_resource"),
        (Method::DELETE, "/orders", json, String::new(), 405, "method_not_allowed"),
        (Method::POST, "/orders", json, "1".repeat(10_001), 413, "body_too_large"),
        (Method::POST, "/orders", "text/plain", "{}".to_owned(), 415, "unsupported_media_type"),
    ] {
        let response = raw(&http, method.clone(), path, kind, body).await;
        assert_eq!(problem(&http, response).await, (status, code.to_owned()), "{method} {path}");
    }
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_body_is_told_at_once() {
    let deployment = Embedded::start().await;
    let customer = uuid::Uuid::now_v7();
    let line = json!({ "sku": "a b", "quantity": 0, "unit_price": -1 });
    let body = json!({ "customer_id": customer, "currency": "EURO", "lines": [line, line] });
    let problem = deployment.http().post("/orders", body).await.expect_problem(400, "invalid_request");
    let faults = problem["errors"].as_array().unwrap();
    let told: BTreeSet<&str> = faults.iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    let expected = ["#/currency", "#/lines/0/quantity", "#/lines/0/sku", "#/lines/1/quantity", "#/lines/1/unit_price"];
    assert!(expected.iter().all(|it| told.contains(it)), "{problem:#}");

    let body = json!({ "customer_id": "ada", "lines": [{ "sku": 7, "quantity": 1 }], "colour": "red" });
    let problem = deployment.http().post("/orders", body).await.expect_problem(400, "invalid_request");
    let faults = problem["errors"].as_array().unwrap().iter().map(|it| (text(it, "pointer"), text(it, "code")));
    let expected = [
        ("#/colour", "unknown_field"),
        ("#/currency", "missing_field"),
        ("#/customer_id", "wrong_type"),
        ("#/lines/0/sku", "wrong_type"),
        ("#/lines/0/unit_price", "missing_field"),
    ];
    let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned()));
    assert_eq!(faults.collect::<BTreeSet<_>>(), expected.into(), "{problem:#}");
}

#[tokio::test]
async fn what_is_wrong_with_a_parameter_is_told_in_words_of_the_contract() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    for (path, says) in [
        ("/orders?limit=many", "it must be a whole number"),
        ("/orders?limit=101", "it must be at most 100"),
        ("/orders?state=PLACED", "it must be one of: placed, confirmed, rejected, fulfilled, cancelled"),
        ("/orders?sort=best", "it must be one of: newest, oldest"),
        ("/orders?customer_id=ada", "it must be a UUID"),
        ("/orders?created_from=yesterday", "it must be an RFC 3339 time"),
        ("/stock?low=1", "it must be `true` or `false`"),
        ("/notifications", "it must be given"),
        ("/orders?state=placed&state=confirmed", "it must be given once"),
    ] {
        let problem = http.get(path).await.expect_problem(400, "invalid_request");
        let told = text(&problem["errors"][0], "detail");
        assert!(told.starts_with(says), "{path}: {told}");
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_a_problem_too() {
    let deployment = Embedded::start().await;
    let mut cut = Raw::to(&deployment.http().base).await.unwrap();
    let head = "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    cut.send(format!("{head}Transfer-Encoding: chunked\r\n\r\nno size\r\n")).await.unwrap();
    let answer = cut.answer(PATIENCE).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{answer:?}");
    assert!(answer.body.contains("the body ends too early"), "{answer:?}");
}
