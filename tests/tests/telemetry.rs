//! What operators see: ids of requests, the access log, metrics, readiness, traces.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::{Duration, Instant},
};

use orderlog_tests::{
    collector::{Collector, Span},
    deployment::{Distributed, Embedded, free_port},
    eventually,
    http::Http,
    keys::key,
    story::Shop,
};
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
    // The probes of this test's start are not among them.
    assert!(lines.iter().all(|line| line["route"] != "/readyz"), "probes are logged at `debug`: {lines:?}");
    let told = embedded.told();
    for secret in [&customer, "Ada Secret", "example.com", "2020-01-01"] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

/// Samples of the text format, by name and labels as they stand there; fails on what is not in the format.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is declared twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let name = series.split('{').next().unwrap_or_default();
            let is_declared = types.contains_key(name)
                || ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix).is_some_and(|name| types[name] == "histogram"));
            assert!(is_declared, "{name} has no type");
            assert!(samples.insert(series.to_owned(), value.parse().expect("a number")).is_none(), "{series} twice");
        }
    }
    samples
}

async fn metrics(http: &Http) -> BTreeMap<String, f64> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let answer = client.get(format!("{}/metrics", http.base)).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4");
    samples(&answer.text().await.expect("a text"))
}

/// Served only while a generation is built, once there was no room for something, with Redis, and on Kafka.
const NOT_ALWAYS: [&str; 7] = [
    "projection_rebuild_progress_ratio",
    "http_limited_total",
    "dependency_up",
    "redis_request_duration_seconds",
    "kafka_requests_total",
    "kafka_request_errors_total",
    "kafka_throttle_seconds",
];

/// Each metric has a row in the guide, each row is a metric, and the alerts there name no other.
fn are_in_the_guide<'a>(series: impl Iterator<Item = &'a String>) {
    let guide = include_str!("../../docs/operations.md");
    let rows: BTreeSet<&str> =
        guide.lines().filter_map(|line| line.strip_prefix("| `orderlog_")?.split('`').next()).collect();
    let name = |series: &'a String| {
        let name = series.split('{').next().unwrap_or_default().strip_prefix("orderlog_")?;
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        Some(of_histogram.filter(|name| rows.contains(name)).unwrap_or(name))
    };
    let served: BTreeSet<&str> = series.filter_map(name).collect();
    assert_eq!(served.difference(&rows).collect::<Vec<_>>(), [&""; 0], "without a row");
    let missing: Vec<_> = rows.difference(&served).filter(|name| !NOT_ALWAYS.contains(name)).collect();
    assert_eq!(missing, [&""; 0], "not served");
    let alerts = include_str!("../../deploy/prometheus/rules.yml");
    let named = alerts.split("orderlog_").skip(1).map(|rest| rest.split(|it: char| !it.is_alphanumeric() && it != '_'));
    for name in named.filter_map(|mut rest| rest.next()) {
        assert!(rows.contains(name), "an alert is about orderlog_{name}");
    }
}

#[tokio::test]
async fn metrics_tell_of_requests_commands_and_positions() {
    let embedded = Embedded::start().await;
    let shop = Shop::from(&embedded);
    let customer = shop.customer("Ada").await;
    shop.receive("metered", 10).await;
    let order = shop.order(&customer, &[("metered", 2)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.orders.post(&format!("/orders/{order}/fulfil"), json!({})).await.expect(409);
    shop.orders.get("/no/such/path").await;
    shop.orders.send(Method::from_bytes(b"BREW").unwrap(), "/orders", &[], None).await.unwrap();
    let told = eventually("the relay and the reactor have come to rest", async || {
        let told = metrics(&shop.orders).await;
        let lags: Vec<_> = told.iter().filter(|(name, _)| name.starts_with("orderlog_duty_lag_events")).collect();
        (lags.len() > 5 && lags.iter().all(|(_, lag)| **lag == 0.0)).then_some(told)
    })
    .await;
    let value = |series: &str| *told.get(series).unwrap_or_else(|| panic!("there is no {series} in {told:#?}"));
    assert_eq!(value(r#"orderlog_http_requests_total{method="POST",route="/orders",status="201"}"#), 1.0);
    let route = "/orders/{order_id}/fulfil";
    assert_eq!(value(&format!(r#"orderlog_http_requests_total{{method="POST",route="{route}",status="409"}}"#)), 1.0);
    assert_eq!(value(r#"orderlog_http_request_duration_seconds_count{method="POST",route="/orders"}"#), 1.0);
    assert_eq!(value(r#"orderlog_http_requests_total{method="GET",route="unmatched",status="404"}"#), 1.0);
    assert!(told.keys().any(|name| name.contains(r#"method="OTHER""#)), "whoever invents methods makes one series");
    assert_eq!(value(r#"orderlog_commands_total{outcome="accepted",service="customers"}"#), 1.0);
    assert!(value(r#"orderlog_commands_total{outcome="rejected",service="orders"}"#) >= 1.0);
    assert!(value(r#"orderlog_records_folded_total{service="orders",verdict="accepted"}"#) >= 3.0);
    assert!(value(r#"orderlog_appended_bytes_total{service="orders"}"#) > 100.0);
    let (position, end) = ("orderlog_projection_position", "orderlog_log_end_offset");
    assert_eq!(value(&format!(r#"{position}{{service="orders"}}"#)), value(&format!(r#"{end}{{service="orders"}}"#)));
    for (name, wanted) in [
        ("orderlog_projection_lag_events", 0.0),
        ("orderlog_projection_lag_seconds", 0.0),
        ("orderlog_projection_generation", 1.0),
        ("orderlog_projection_rebuild_running", 0.0),
        ("orderlog_parked_records", 0.0),
        ("orderlog_dead_letters", 0.0),
        ("orderlog_command_retries_total", 0.0),
        ("orderlog_lease_held", 1.0),
    ] {
        assert_eq!(value(&format!(r#"{name}{{service="billing"}}"#)), wanted, "{name}");
    }
    assert_eq!(value(r#"orderlog_pending_objects{kind="orders",min_age_seconds="0",service="orders"}"#), 0.0);
    let (free, size) = (value("orderlog_data_disk_free_bytes"), value("orderlog_data_disk_size_bytes"));
    assert!(0.0 < free && free <= size, "{free} of {size}");
    assert_eq!(value(r#"orderlog_projection_status{service="orders",status="ready"}"#), 1.0);
    assert!(value(r#"orderlog_projection_heartbeat_timestamp_seconds{service="orders"}"#) > 1.7e9);
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") > 3.0);
    assert!(value("process_cpu_seconds_total") > 0.0);
    assert!(told.keys().any(|name| name.starts_with("orderlog_build_info{version=")));
    assert!(!told.keys().any(|name| name.contains(&order) || name.contains("Ada") || name.contains('@')));
    assert!(told.len() < 2_000, "{} series", told.len());
    are_in_the_guide(told.keys());
}

#[tokio::test]
async fn where_there_are_keys_metrics_need_one() {
    let embedded = Embedded::start().await;
    let http = embedded.http();
    let prometheus = key(&embedded.rows(), "prometheus", &["admin:read"], &[]).await;
    let other = key(&embedded.rows(), "shop", &["orders:read"], &[]).await;
    eventually("the server has seen that there are keys", async || {
        (http.get("/metrics").await.status == 401).then_some(())
    })
    .await;
    for (key, status) in [(prometheus, 200), (other, 403)] {
        let bearer = format!("Bearer {key}");
        eventually("the server knows the key", async || {
            let answer = http.send(Method::GET, "/metrics", &[("Authorization", &bearer)], None).await.unwrap();
            (answer.status == status).then_some(())
        })
        .await;
    }
    http.get("/readyz").await.expect(200);
}

async fn readiness(http: &Http) -> (u16, Value) {
    let answer = http.get("/readyz").await;
    (answer.status.as_u16(), answer.body)
}

#[tokio::test]
async fn a_service_whose_rows_lag_is_not_ready_until_they_have_caught_up() {
    let embedded =
        Embedded::start_with(&["--unready-lag-ms", "1500", "--ready-lag-ms", "500", "--command-timeout-ms", "2000"])
            .await;
    let http = embedded.http();
    let (status, body) = readiness(&http).await;
    assert_eq!((status, &body["services"]["inventory"]["lag_seconds"]), (200, &json!(0.0)), "{body}");
    // Whoever writes to the file holds up the rows, not the log.
    let rows = rusqlite::Connection::open(embedded.rows().join("inventory.1.sqlite")).unwrap();
    rows.execute_batch("begin immediate").unwrap();
    let shop = Shop::from(&embedded);
    shop.receive("stuck", 3).await;
    let body = eventually("readiness is withdrawn", async || {
        let (status, body) = readiness(&http).await;
        (status == 503).then_some(body)
    })
    .await;
    let inventory = &body["services"]["inventory"];
    assert!(inventory["lag_seconds"].as_f64().unwrap() > 1.5 && inventory["lag"] == 1, "{body}");
    assert_eq!(inventory["why"], "its rows are too far behind", "{body}");
    assert_eq!(body["services"]["orders"].get("why"), None, "{body}");
    http.get("/livez").await.expect(200);
    assert!(metrics(&http).await[r#"orderlog_projection_lag_seconds{service="inventory"}"#] > 1.5);
    rows.execute_batch("rollback").unwrap();
    eventually("it is ready again", async || (readiness(&http).await.0 == 200).then_some(())).await;
    assert_eq!(shop.inventory.get("/stock/stuck").await.expect(200)["on_hand"], 3);
}

#[tokio::test]
async fn who_stops_says_so_before_it_takes_no_more_requests_and_keeps_what_it_has_answered() {
    let filter = "info,orderlog_runtime::background=debug";
    let mut embedded = Embedded::start_with(&["--stop-delay-ms", "2000", "--log-filter", filter]).await;
    let (http, shop) = (embedded.http(), Shop::from(&embedded));
    let stopping = tokio::spawn(async move {
        let is_well = embedded.stop().await;
        (embedded, is_well)
    });
    let body = eventually("readiness is withdrawn", async || {
        let (status, body) = readiness(&http).await;
        (status == 503).then_some(body)
    })
    .await;
    assert_eq!(body["stopping"], true, "{body}");
    let alive = http.get("/livez").await;
    assert_eq!(alive.header("connection"), Some("close"), "the connection is not used again");
    alive.expect(200);
    let customer = shop.customer("Late").await;
    shop.receive("late", 1).await;
    let order = shop.order(&customer, &[("late", 1)]).await;
    let (mut embedded, is_well) = stopping.await.unwrap();
    assert!(is_well);
    let told = embedded.told();
    for task in ["orders relay", "orders reactor", "inventory timer", "inventory deliveries"] {
        assert!(told.contains(&format!("{task} ends: the process stops")), "{task} ends: {told}");
    }
    assert!(!told.contains("WARN") && !told.contains("ERROR"), "{told}");
    embedded.restart().await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().expect("kill is there");
    assert!(sent.success(), "kill {name}");
}

async fn ended(embedded: &mut Embedded) {
    eventually("the process ends", || std::future::ready(embedded.server().has_ended().then_some(()))).await;
}

#[tokio::test]
async fn ctrl_c_stops_in_order_and_a_second_signal_at_once() {
    for (first, second) in [("-INT", "-TERM"), ("-TERM", "-INT")] {
        let mut embedded = Embedded::start_with(&["--stop-delay-ms", "60000"]).await;
        let shop = Shop::from(&embedded);
        shop.receive("kept", 3).await;
        let process = embedded.server().id();
        signal(first, process);
        eventually("readiness is withdrawn", async || {
            let (status, body) = readiness(&shop.inventory).await;
            (status == 503 && body["stopping"] == true).then_some(())
        })
        .await;
        let begun = Instant::now();
        signal(second, process);
        ended(&mut embedded).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{first} {second}: {:?}", begun.elapsed());
        embedded.options(&[]);
        embedded.restart().await;
        assert_eq!(shop.inventory.get("/stock/kept").await.expect(200)["on_hand"], 3, "what was answered is kept");
        signal(first, embedded.server().id());
        ended(&mut embedded).await;
        assert!(embedded.told().trim_end().ends_with("stopped"), "{}", embedded.told());
    }
}

#[tokio::test]
async fn redis_is_told_of_but_decides_nothing() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let embedded = Embedded::start_with(&["--redis", &nobody]).await;
    let (status, body) = readiness(&embedded.http()).await;
    assert_eq!((status, &body["dependencies"]["redis"]["answers"]), (200, &json!(false)), "{body}");
    assert!(body["dependencies"]["redis"]["why"].is_string(), "{body}");
    let degraded = body["degraded"].as_array().unwrap();
    assert!(degraded.iter().any(|it| it["dependency"] == "redis" && it["remedy"].is_string()), "{body}");
    let told = metrics(&embedded.http()).await;
    assert_eq!(told[r#"orderlog_dependency_up{dependency="redis"}"#], 0.0);
    let count = |outcome| told[&format!(r#"orderlog_redis_request_duration_seconds_count{{outcome="{outcome}"}}"#)];
    assert!(count("failed") > 0.0 && count("answered") == 0.0, "{told:#?}");
}

/// A trace as a caller begins it, and the span of the caller.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// The one tree that these spans are: fails where one has a parent that is neither among them nor the caller.
fn tree(spans: &[Span]) -> BTreeMap<&str, &Span> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "ids are unique");
    for span in spans {
        let mut above = *by_id.get(span.id.as_str()).expect("itself");
        for _ in 0..spans.len() {
            if above.parent == CALLER {
                break;
            }
            above = by_id.get(above.parent.as_str()).unwrap_or_else(|| panic!("{span:#?} has no way up: {above:#?}"));
        }
        assert_eq!(above.parent, CALLER, "{span:#?} goes in a circle");
        assert_eq!(span.n_links, 0, "what is live is a child");
    }
    by_id
}

/// Everything that happens to one order, which its caller traces.
async fn trace_an_order(shop: &Shop, collector: &Collector) {
    let customer = shop.customer("Ada Secret").await;
    let trace = format!("00-{TRACE}-{CALLER}-01");
    let send = async |http: &Http, method: Method, path: &str, body: Option<Value>| {
        http.send(method, path, &[("traceparent", &trace)], body.as_ref()).await.expect("an answer")
    };
    let lines = json!([{"sku": "traced", "quantity": 2, "unit_price": 250}]);
    let order = json!({"customer_id": customer, "currency": "EUR", "lines": lines});
    let order = send(&shop.orders, Method::POST, "/orders", Some(order)).await.expect(201);
    let order = order["order_id"].as_str().expect("an id").to_owned();
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    shop.invoice_becomes(&order, "open").await;
    let payment = json!({"order_id": order, "amount": 500, "currency": "EUR", "reference": "bank 1"});
    send(&shop.billing, Method::POST, "/billing", Some(payment)).await.expect(201);
    shop.order_becomes(&order, "confirmed", "paid").await;
    send(&shop.orders, Method::POST, &format!("/orders/{order}/fulfil"), None).await.expect(200);
    shop.stock_becomes("traced", 3, 0).await;
    send(&shop.customers, Method::GET, &format!("/customers/{customer}/orders"), None).await.expect(200);
    let spans = eventually("all spans are there, and no more come", async || {
        let spans = collector.of(TRACE);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let is_last = |span: &Span| span.name == "process order.fulfilled";
        (spans.iter().any(is_last) && collector.of(TRACE).len() == spans.len()).then_some(spans)
    })
    .await;
    is_one_tree(&spans);
    let told = format!("{:?}", collector.all());
    for secret in [order.as_str(), &customer, "Ada Secret", "example.com", "bank 1"] {
        assert!(!told.contains(secret), "{secret} is in a span");
    }
}

fn is_one_tree(spans: &[Span]) {
    let by_id = tree(spans);
    let services: BTreeSet<&str> =
        spans.iter().filter_map(|span| span.texts.get("orderlog.service")).map(String::as_str).collect();
    assert_eq!(services, BTreeSet::from(["billing", "inventory", "notifications", "orders"]), "{spans:#?}");
    let parent = |name: &str, parent: &str| {
        let is_it =
            |span: &&Span| span.name == name && by_id.get(span.parent.as_str()).is_some_and(|it| it.name == parent);
        assert!(spans.iter().any(|span| is_it(&span)), "{name} is caused by {parent}: {spans:#?}");
    };
    for (child, cause) in [
        ("orders command", "POST /orders"),
        ("decide", "orders command"),
        ("append", "orders command"),
        ("read back", "orders command"),
        ("publish order.created", "orders command"),
        ("process order.created", "publish order.created"),
        ("inventory command", "process order.created"),
        ("publish stock.reserved", "inventory command"),
        ("orders command", "process stock.reserved"),
        ("billing command", "POST /billing"),
        ("orders command", "process order.paid"),
        ("GET /orders", "GET orders"),
    ] {
        parent(child, cause);
    }
}

#[tokio::test]
async fn the_trace_of_one_order_is_one_tree_over_all_services() {
    let collector = Collector::start().await;
    let embedded = Embedded::start_with(&["--otlp-endpoint", &collector.url, "--log-format", "json"]).await;
    let shop = Shop::from(&embedded);
    shop.receive("traced", 5).await;
    trace_an_order(&shop, &collector).await;
    assert!(embedded.told().lines().all(|line| !line.contains("WARN")), "{}", embedded.told());
}

#[tokio::test]
async fn the_trace_of_one_order_is_one_tree_over_five_processes_on_kafka() {
    let collector = Collector::start().await;
    let deployment = Distributed::start_with(&["--otlp-endpoint", &collector.url]).await;
    let shop = Shop::from(&deployment);
    shop.receive("traced", 5).await;
    // The relays need their leases first.
    let customer = shop.customer("Grace").await;
    eventually("news of customers flow", async || {
        let line = json!({"sku": "nothing-of-it", "quantity": 1, "unit_price": 250});
        let order = json!({"customer_id": customer, "currency": "EUR", "lines": [line]});
        (shop.orders.post("/orders", order).await.status == 201).then_some(())
    })
    .await;
    trace_an_order(&shop, &collector).await;
}

#[tokio::test]
async fn the_demo_is_not_drowned_in_the_access_log_of_its_own_requests() {
    let embedded = Embedded::start_with(&["--demo", "--require-idempotency-keys"]).await;
    eventually("the demo is told", async || embedded.told().contains("That was the demo").then_some(())).await;
    let told = embedded.told();
    assert!(told.contains("Ada is a customer now") && !told.contains("/orders/{order_id} 200"), "{told}");
    // Those of others are told all the same.
    embedded.http().get("/customers").await.expect(200);
    eventually("it is told", async || embedded.told().contains("GET /customers 200").then_some(())).await;
}
