//! How a service asks another process, and what it answers its caller if that one is silent.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::time::{Duration, Instant};

use orderlog_tests::{
    deployment::{Embedded, free_port},
    http::{Answer, Http},
    story::{Shop, text},
};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

/// The headers of each request.
const ASKED_WITH: [(&str, &str); 3] = [
    ("x-request-id", "mine-1"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "vendor=secret"),
];

/// A server that takes requests and answers none: its URL, and the heads of the requests.
async fn silent() -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, (heard, asked)) = (format!("http://{}", listener.local_addr().unwrap()), unbounded_channel());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && connection.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
            drop(heard.send(String::from_utf8_lossy(&head).to_lowercase()));
            open.push(connection);
        }
    });
    (url, asked)
}

/// A URL at which nobody listens.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

async fn get(http: &Http, path: &str) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = http.send(Method::GET, path, &ASKED_WITH, None).await.unwrap();
    (answer, begun.elapsed())
}

/// The head asks for `what`, with the id and the trace of the request that led to it, and without its `tracestate`.
fn is_asked_with(head: &str, what: &str) {
    assert!(head.starts_with(&format!("get {what}")), "{head}");
    assert!(head.contains("x-request-id: mine-1\r\n"), "{head}");
    assert!(head.contains("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{head}");
    assert!(!head.contains("tracestate"), "{head}");
}

#[tokio::test]
async fn an_order_is_shown_without_what_other_services_do_not_answer() {
    let mut deployment = Embedded::start().await;
    let shop = Shop::from(&deployment);
    let order = shop.order(&shop.customer("Ada").await, &[("beans", 1)]).await;
    let ((billing, mut asked), inventory) = (silent().await, nowhere());
    deployment.options(&["orders", "--billing-url", &billing, "--inventory-url", &inventory]);
    deployment.restart().await;
    let path = format!("/orders/{order}?expand=stock,invoice");
    let (answer, took) = get(&deployment.http(), &path).await;
    assert!((1..5).contains(&took.as_secs()), "it waits for a second: {took:?}");
    let shown = answer.expect(200);
    assert_eq!(
        (text(&shown, "order_id"), &shown["invoice"], &shown["stock"]),
        (order.clone(), &json!(null), &json!(null))
    );
    let missing = shown["unavailable"].as_array().unwrap();
    assert_eq!(missing.len(), 2, "{shown}");
    for service in ["billing", "inventory"] {
        assert!(missing.iter().any(|why| why.as_str().is_some_and(|why| why.contains(service))), "{service}: {shown}");
    }
    is_asked_with(&asked.recv().await.unwrap(), &format!("/billing/{order}"));
}

#[tokio::test]
async fn orders_of_a_customer_are_503_or_504_if_the_orders_service_does_not_answer() {
    let mut deployment = Embedded::start().await;
    let customer = Shop::from(&deployment).customer("Ada").await;
    let path = format!("/customers/{customer}/orders");
    let (orders, mut asked) = silent().await;
    for (url, status, code) in [(orders, 504, "service_timed_out"), (nowhere(), 503, "service_unavailable")] {
        deployment.options(&["customers", "--orders-url", &url]);
        deployment.restart().await;
        let (answer, took) = get(&deployment.http(), &path).await;
        let problem = answer.expect_problem(status, code);
        assert!(took < Duration::from_secs(10) && text(&problem, "detail").contains("orders"), "{took:?}: {problem}");
    }
    is_asked_with(&asked.recv().await.unwrap(), &format!("/orders?customer_id={customer}"));
}

#[tokio::test]
async fn a_service_without_the_others_runs_and_names_what_it_cannot_do() {
    let mut deployment = Embedded::start().await;
    let shop = Shop::from(&deployment);
    let customer = shop.customer("Ada").await;
    let order = shop.order(&customer, &[("beans", 1)]).await;
    let (orders, shown) = (format!("/customers/{customer}/orders"), format!("/orders/{order}?expand=stock,invoice"));
    for (service, missing) in [
        ("customers", &["orders"][..]),
        ("orders", &["inventory", "billing"]),
        ("inventory", &["notifications"]),
        ("billing", &["notifications"]),
        ("notifications", &[]),
    ] {
        deployment.options(&[service]);
        let before = deployment.told().len();
        deployment.restart().await;
        let (http, log) = (deployment.http(), deployment.told().split_off(before));
        let warned = log.lines().filter(|line| line.contains("WARN") && line.contains("-url is not set"));
        assert_eq!(warned.count(), missing.len(), "{service}: {log}");
        assert!(missing.iter().all(|other| log.contains(&format!("--{other}-url is not set: "))), "{service}: {log}");
        match service {
            "customers" => {
                let problem = http.get(&orders).await.expect_problem(503, "service_not_configured");
                assert!(
                    problem["retryable"] == false && text(&problem, "detail").contains("--orders-url"),
                    "{problem}"
                );
            }
            "orders" => {
                let missing = http.get(&shown).await.expect(200)["unavailable"].to_string();
                assert!(missing.contains("--inventory-url") && missing.contains("--billing-url"), "{missing}");
            }
            _ => {}
        }
    }
    let elsewhere = Embedded::start_with(&["billing"]).await;
    deployment.options(&["customers", "--orders-url", &elsewhere.http().base]);
    deployment.restart().await;
    let problem = deployment.http().get(&orders).await.expect_problem(503, "service_not_configured");
    assert!(text(&problem, "detail").contains("does not run the orders service"), "{problem}");
}
