//! The published contract on a real broker, as an outsider sees it with `kcat`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use orderlog_core::{heard, public::PublicEvent};
use orderlog_domain::{billing, customers, inventory, orders};
use orderlog_tests::{
    deployment::{Distributed, Server, free_port, kafka},
    eventually,
    kcat::{self, Published},
    story::{self, Shop},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
};
use serde_json::{Map, Value, json};

/// The fields are those in the published schema of the topic.
fn as_published(topic: &str, value: &str) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../openapi/schemas/{topic}.json"));
    let payload: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    let fields: Map<String, Value> = serde_json::from_str(value).unwrap();
    for required in payload["required"].as_array().unwrap() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{topic} lacks {required}: {value}");
    }
    for field in fields.keys() {
        assert!(
            payload["properties"].get(field).is_some(),
            "the contract of {topic} does not tell of {field}: {value}"
        );
    }
}

/// Its attributes are what its value says, and what a CloudEvent has.
fn has_its_attributes(published: &Published, topic: &str, service: &str) {
    let value: Value = serde_json::from_str(&published.value).unwrap();
    for (name, expected) in [
        ("ce_specversion", "1.0"),
        ("ce_type", topic),
        ("ce_source", &format!("/orderlog/{service}")),
        ("ce_subject", &published.key),
        ("ce_sequence", &value["version"].to_string()),
        ("ce_dataschema", &format!("urn:orderlog:{topic}:1")),
        ("content-type", "application/json"),
    ] {
        assert_eq!(published.header(name), expected, "{name} in {topic}");
    }
    assert!(
        value.as_object().unwrap().values().any(|it| *it == published.key.as_str()),
        "it is about {}: {value}",
        published.key
    );
    assert!(published.header("ce_time").ends_with('Z'), "{:?}", published.headers);
}

/// Each event names the one that caused it, and the one with which the story began; those that nothing caused begin one.
fn leads_back(published: &Published, known: &BTreeSet<String>) {
    let (id, correlation) = (published.header("ce_id"), published.header("ce_correlationid"));
    match published.headers.get("ce_causationid") {
        Some(cause) => {
            assert!(cause != id && known.contains(cause) && known.contains(correlation), "{:?}", published.headers)
        }
        None => assert_eq!(correlation, id),
    }
}

/// The confirmation in an order's history names the reservation that it answers, and the order with which all began.
async fn a_history_names_its_causes(shop: &Shop) {
    let sku = format!("caused-{}", uuid::Uuid::new_v4().simple());
    shop.receive(&sku, 1).await;
    let order = shop.order(&shop.customer("Ada").await, &[(&sku, 1)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    let history = shop.orders.get(&format!("/orders/{order}/history")).await.expect(200);
    let [placed, confirmed] = &history["items"].as_array().unwrap()[..] else { panic!("{history}") };
    assert_eq!((&placed["cause"], &placed["correlation"]), (&Value::Null, &Value::Null), "{history}");
    for (field, topic) in [("cause", "stock.reserved"), ("correlation", "order.created")] {
        let events = kcat::read(topic);
        let event = events.iter().find(|event| event.key == order).unwrap();
        assert_eq!(confirmed[field], event.header("ce_id"), "{field}: {history}");
    }
}

heard! {
    /// What a reader of all topics hears.
    enum AnyEvent {
        Customers(customers::Published),
        Orders(orders::Published),
        Billing(billing::Published),
        Inventory(inventory::Published),
    }
}

#[tokio::test]
async fn every_public_topic_holds_cloudevents_under_its_exact_name() {
    // The only test without a prefix: the names themselves are what is promised. The story's SKUs are its own, in case the
    // broker has seen this test before.
    let deployment = Distributed::start_with_prefix(String::new()).await;
    let shop = Shop::from(&deployment);
    story::play(&shop, &uuid::Uuid::new_v4().simple().to_string()).await;
    let published: Vec<_> =
        AnyEvent::TOPICS.iter().map(|(topic, service)| (*topic, *service, kcat::read(topic))).collect();
    // Read once more: an event may have been caused by one that was published when its topic had been read.
    let known =
        AnyEvent::TOPICS.iter().flat_map(|(topic, _)| kcat::read(topic)).map(|event| event.header("ce_id").to_owned());
    let known: BTreeSet<String> = known.collect();
    for (topic, service, events) in published {
        assert!(!events.is_empty(), "{topic} flows in the story");
        for event in events {
            has_its_attributes(&event, topic, service);
            leads_back(&event, &known);
            let value = &event.value;
            AnyEvent::from_json(topic, value.as_bytes()).unwrap_or_else(|error| panic!("{topic}: {error}: {value}"));
            as_published(topic, value);
            assert!(!value.contains('@'), "no personal data in {topic}: {value}");
        }
    }
    a_history_names_its_causes(&shop).await;
}

/// The consumer of the docs, on topics with a prefix.
struct Consumer<'a> {
    topic: &'a str,
    file: PathBuf,
}

impl Consumer<'_> {
    fn start(&self) -> Child {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".cache/consumer/bin/python");
        let mut command = Command::new(python);
        command.arg(root.join("../docs/consumer.py")).args([&kafka(), self.topic]).arg(&self.file);
        command.stderr(Stdio::piped()).spawn().expect("`tests/run` installs what it needs")
    }

    /// Waits until these amounts have been counted, and ends it as a crash would.
    async fn counts(&self, process: &mut Child, total: i64) {
        let counted = || {
            let db = rusqlite::Connection::open(&self.file).ok()?;
            db.query_row("select sum(total) from ordered", [], |row| row.get::<_, Option<i64>>(0)).ok()?
        };
        eventually("every order is counted", async || counted().filter(|counted| *counted >= total)).await;
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(counted(), Some(total));
    }
}

#[tokio::test]
async fn the_consumer_in_the_docs_counts_each_event_once_and_notices_that_some_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (port, prefix) = (free_port(), format!("t{}.", uuid::Uuid::new_v4().simple()));
    let (brokers, url) = (format!("kafka://{}", kafka()), format!("http://127.0.0.1:{port}"));
    let data = folder.path().join("data").display().to_string();
    let args = ["--log", &brokers, "--topic-prefix", &prefix, "--development-hash-key", "--schemas-url", &url];
    let args: Vec<_> = args.into_iter().chain(["--data", &data]).map(str::to_owned).collect();
    let server = Server::start(&args, port, &folder.path().join("server.log")).await;
    let shop = Shop::from(&server.http);
    let ada = shop.customer("Ada").await;
    let topic = format!("{prefix}order.created");
    let consumer = Consumer { topic: &topic, file: folder.path().join("ordered.sqlite") };

    shop.order(&ada, &[("tea", 3)]).await;
    consumer.counts(&mut consumer.start(), 750).await;
    let event = kcat::read(&topic).remove(0);
    let schema = event.header("ce_dataschema");
    assert_eq!(schema, format!("{url}/schemas/order.created/1"));
    let schema = server.http.get(schema.trim_start_matches(&url)).await.expect(200);
    assert_eq!((&schema["title"], &schema["$id"]), (&json!("OrderCreated"), &json!("/schemas/order.created/1")));
    server.http.get("/asyncapi.json").await.expect(200);

    let copy = format!("{}\t{}", event.key, event.value);
    let headers = event.headers.iter().flat_map(|(name, value)| ["-H".to_owned(), format!("{name}={value}")]);
    let mut again = Command::new("kcat");
    again.args(["-P", "-b", &kafka(), "-t", &topic, "-K", "\t"]).args(headers);
    let mut again = again.stdin(Stdio::piped()).spawn().unwrap();
    again.stdin.take().unwrap().write_all(copy.as_bytes()).unwrap();
    assert!(again.wait().unwrap().success());
    shop.order(&ada, &[("tea", 1), ("milk", 1)]).await;
    consumer.counts(&mut consumer.start(), 1_250).await;
    assert!(server.stop().await);

    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", kafka()).create().unwrap();
    let mut trimmed = TopicPartitionList::new();
    for partition in 0..3 {
        trimmed.add_partition_offset(&topic, partition, Offset::End).unwrap();
    }
    admin.delete_records(&trimmed, &AdminOptions::new()).await.unwrap();
    let late = Consumer { file: folder.path().join("late.sqlite"), ..consumer }.start();
    let ended = tokio::task::spawn_blocking(|| late.wait_with_output()).await.unwrap().unwrap();
    assert!(!ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("events are missing before"), "{ended:?}");
}
