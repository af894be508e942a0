//! The published contract of the public topics: an AsyncAPI 3.1 document.
//!
//! Topics, publishers and consumers come from the deciders themselves; the fields stand in [`payload`], and a test compares
//! them with real events.

mod payload;

use std::collections::BTreeSet;

use orderlog_core::decider::Decider;
use orderlog_domain::{
    SERVICES, billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications,
    orders::Orders,
};
use serde_json::{Map, Value, json};

/// The AsyncAPI document.
pub fn document() -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for &(topic, publisher) in SERVICES.iter().flat_map(|(_, published)| *published) {
        let name = pascal(topic);
        let (summary, fields) = payload::of(topic);
        channels.insert(
            name.clone(),
            json!({
                "address": topic,
                "title": topic,
                "description": format!("{summary} Kept for ever; ordered by key."),
                "messages": { &name: { "$ref": format!("#/components/messages/{name}") } },
            }),
        );
        let operation = |action: &str, what: String| {
            json!({
                "action": action,
                "title": what,
                "description": format!("{what}. {summary}"),
                "channel": { "$ref": format!("#/channels/{name}") },
                "messages": [{ "$ref": format!("#/channels/{name}/messages/{name}") }],
            })
        };
        operations
            .insert(format!("{publisher}Sends{name}"), operation("send", format!("{publisher} publishes {topic}")));
        for consumer in consumers(topic) {
            let what = format!("{consumer} consumes {topic}");
            operations.insert(format!("{consumer}Receives{name}"), operation("receive", what));
        }
        messages.insert(
            name,
            json!({
                "name": topic,
                "title": topic,
                "summary": summary,
                "contentType": "application/json",
                "headers": headers(topic, publisher),
                "payload": fields,
                "bindings": { "kafka": { "key": { "type": "string", "description": payload::key(topic) } } },
            }),
        );
    }
    json!({
        "asyncapi": "3.1.0",
        "info": info(),
        "servers": servers(),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

fn info() -> Value {
    let publishing = SERVICES.iter().filter(|(_, published)| !published.is_empty());
    let publishers: BTreeSet<_> = publishing.map(|(journal, _)| *journal).collect();
    let tags: Vec<_> = publishers.iter().map(|name| json!({ "name": name, "description": "A publisher." })).collect();
    json!({
        "title": "orderlog: public topics",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "What the services tell each other and the world: CloudEvents 1.0 in Kafka's binary mode. \
            Delivered at least once: copies of an event have the same `ce_id`. `ce_sequence` is the version of what \
            the event is about, so that a reader can tell old news from new. Topics have no mutual order. No personal \
            data is published. Fields may be added, never renamed, removed or given another meaning.",
        "contact": { "name": "The maintainers of orderlog" },
        "license": { "name": "MIT OR Apache-2.0", "url": "https://spdx.org/licenses/" },
        "tags": tags,
    })
}

fn servers() -> Value {
    json!({
        "kafka": {
            "host": "{broker}",
            "protocol": "kafka",
            "description": "The Kafka that `--log` names. With `--topic-prefix`, topics begin with that.",
            "variables": { "broker": { "default": "localhost:9092", "description": "One broker of the cluster." } },
        },
    })
}

/// The services that react to a topic or copy facts from it.
fn consumers(topic: &str) -> Vec<&'static str> {
    fn of<D: Decider>(topic: &str) -> Option<&'static str> {
        D::REACTS_TO.iter().chain(D::COPIES).any(|consumed| *consumed == topic).then_some(D::JOURNAL)
    }
    let all = [of::<Customers>, of::<Orders>, of::<Inventory>, of::<Billing>, of::<Notifications>].map(|of| of(topic));
    all.into_iter().flatten().collect()
}

/// `order.created` as `OrderCreated`.
fn pascal(topic: &str) -> String {
    let capitalised = topic.split('.').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    capitalised.collect()
}

fn headers(topic: &str, publisher: &str) -> Value {
    json!({
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_dataschema", "ce_sequence",
            "ce_correlationid", "content-type"],
        "properties": {
            "ce_specversion": { "type": "string", "const": "1.0" },
            "ce_id": { "type": "string", "format": "uuid", "description": "The same for every copy of the event." },
            "ce_type": { "type": "string", "const": topic },
            "ce_source": { "type": "string", "const": format!("/orderlog/{publisher}") },
            "ce_subject": { "type": "string", "description": payload::key(topic) },
            "ce_time": { "type": "string", "format": "date-time" },
            "ce_dataschema": { "type": "string", "const": format!("urn:orderlog:{topic}:1") },
            "ce_sequence": { "type": "string", "description": "The version, as a number." },
            "ce_correlationid": { "type": "string", "format": "uuid", "description": "The event that began the story." },
            "ce_causationid": { "type": "string", "format": "uuid", "description": "The event that caused this one, if one did." },
            "ce_traceparent": { "type": "string", "description": "W3C Trace Context, if the request had one." },
            "content-type": { "type": "string", "const": "application/json" },
        },
    })
}
