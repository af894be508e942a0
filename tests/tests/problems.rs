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
async fn an_array_is_not_an_object_in_any_body() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let id = uuid::Uuid::now_v7();
    for (method, path, body) in [
        (Method::POST, "/customers".to_owned(), json!(["Eve", "eve@example.com"])),
        (Method::PATCH, format!("/customers/{id}"), json!(["Eve", null])),
        (Method::POST, "/orders".to_owned(), json!([id, "EUR", [["beans", 1, 1]]])),
        (Method::POST, "/stock/beans/receive".to_owned(), json!([1])),
        (Method::PUT, "/stock/beans/threshold".to_owned(), json!([1])),
        (Method::POST, "/stock/reserve".to_owned(), json!(["cart", [["beans", 1]], 60, null])),
        (Method::POST, "/billing".to_owned(), json!([id, 1, "EUR", "a"])),
        (Method::POST, format!("/billing/{id}/refund"), json!([1, null])),
        (Method::POST, "/notify".to_owned(), json!(["operations", "s", "b"])),
        (Method::POST, "/admin/snapshots/orders".to_owned(), json!([])),
        (Method::POST, "/admin/projections/orders".to_owned(), json!(["verify"])),
    ] {
        let answer = http.send(method, &path, &[], Some(&body)).await.unwrap();
        let problem = answer.expect_problem(400, "invalid_request");
        assert_eq!(problem["detail"], "#: expected an object", "{path}: {problem}");
    }
    let line = json!([["beans", 1, 1]]);
    let nested = http.post("/orders", json!({ "customer_id": id, "currency": "EUR", "lines": line })).await;
    let nested = nested.expect_problem(400, "invalid_request");
    assert_eq!(nested["detail"], "#/lines/0: expected an object", "{nested}");
}

#[tokio::test]
async fn a_body_in_another_encoding_is_named() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let body = r#"{"quantity": 1}"#;
    let json = "application/json";
    for (kind, coding, bytes, status, says) in [
        (json, "gzip", vec![0x1f, 0x8b], 415, "Content-Encoding"),
        ("application/json; charset=utf-16", "identity", utf_16(body), 415, "charset"),
        (json, "identity", utf_16(body), 400, "UTF-16"),
        (json, "identity", format!("\u{feff}{body}").into_bytes(), 400, "byte order mark"),
        (json, "identity", b"{\"quantity\": 1, \"\xe4\": 1}".to_vec(), 400, "not UTF-8"),
    ] {
        let url = format!("{}/stock/beans/receive", http.base);
        let request = reqwest::Client::new().post(url).header("Content-Type", kind).header("Content-Encoding", coding);
        let response = request.body(bytes).send().await.unwrap();
        let accepted = response.headers().get("accept-encoding").cloned();
        assert_eq!((response.status().as_u16(), accepted.is_some()), (status, coding == "gzip"), "{kind}, {coding}");
        let problem: Value = response.json().await.unwrap();
        assert!(text(&problem, "detail").contains(says), "{problem}");
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
async fn however_much_is_wrong_with_a_body_the_answer_names_a_hundred_faults_and_counts_them_all() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let refused = async |body: &Value, n: usize, n_named: usize| {
        let problem = http.post("/orders", body.clone()).await.expect_problem(400, "invalid_request");
        assert_eq!(problem["error_count"], n, "{problem:#}");
        assert_eq!(problem["errors"].as_array().unwrap().len(), n_named);
        assert!(problem.to_string().len() < 50_000, "the answer has {} bytes", problem.to_string().len());
        problem
    };
    let order = |line: Value, n: usize| json!({ "customer_id": uuid::Uuid::now_v7(), "currency": "EUR", "lines": vec![line; n] });
    // Three faults in each line, as many lines as a body holds.
    let n_lines = 20_000;
    refused(&order(json!({ "sku": "", "quantity": 0, "unit_price": -1 }), n_lines), 3 * n_lines, 100).await;
    refused(&order(json!({ "sku": "", "quantity": 1, "unit_price": 1 }), 100), 100, 100).await;
    // Faults of shape beside faults of values: a place is counted once.
    let mut mixed = order(json!({ "sku": "", "quantity": 1, "unit_price": 1 }), 5);
    mixed["lines"][3]["quantity"] = json!("many");
    refused(&mixed, 6, 6).await;
    // What is quoted has an end, too.
    let mut named = order(json!({ "sku": "a", "quantity": 1, "unit_price": 1 }), 1);
    named["n".repeat(900_000)] = json!(1);
    let problem = refused(&named, 1, 1).await;
    let pointer = text(&problem["errors"][0], "pointer");
    assert!(pointer.starts_with("#/nnn") && pointer.ends_with("n…") && pointer.len() < 300, "{pointer}");
    assert!(text(&problem, "detail").len() < 1_000, "{problem}");
    let topic = "t".repeat(20_000);
    let problem = http.get(&format!("/admin/log/{topic}")).await.expect_problem(404, "unknown_topic");
    assert!(text(&problem, "detail").len() < 2_000, "{problem}");
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

#[tokio::test]
async fn a_change_of_nothing_is_refused_and_what_is_left_out_stays() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let ada = http.post("/customers", json!({ "name": "Ada", "email": "ada@example.com" })).await.expect(201);
    let path = format!("/customers/{}", text(&ada, "customer_id"));
    http.patch(&path, json!({})).await.expect_problem(400, "nothing_to_change");
    http.patch(&path, json!({ "name": null })).await.expect(400);
    assert_eq!(http.get(&path).await.expect(200)["version"], 1, "nothing was written");
    let changed = http.patch(&path, json!({ "name": "Countess" })).await.expect(200);
    assert_eq!((&changed["name"], &changed["email"]), (&json!("Countess"), &json!("ada@example.com")), "{changed}");
}
