//! The published contract on a real broker, as an outsider sees it with `kcat`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::collections::BTreeSet;

use orderlog_core::{heard, public::PublicEvent};
use orderlog_domain::{billing, customers, inventory, orders};
use orderlog_tests::{
    deployment::Distributed,
    kcat::{self, Published},
    story::{self, Shop},
};
use serde_json::{Map, Value};

/// The fields are those that the published contract tells of.
fn as_published(contract: &Value, topic: &str, value: &str) {
    let message = contract["components"]["messages"].as_object().unwrap().values().find(|it| it["name"] == topic);
    let payload = &message.unwrap_or_else(|| panic!("{topic} is in the contract"))["payload"];
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
    let contract: Value = serde_json::from_str(include_str!("../../openapi/asyncapi.json")).unwrap();
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
            as_published(&contract, topic, value);
            assert!(!value.contains('@'), "no personal data in {topic}: {value}");
        }
    }
    a_history_names_its_causes(&shop).await;
}
