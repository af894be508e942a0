//! The published contract of the public topics: an AsyncAPI 3.1 document.
//!
//! Topics, publishers and consumers come from the deciders, the fields from the types of the events ([`TopicContract`]).

use std::collections::BTreeSet;

use orderlog_core::schema::TopicContract;
use orderlog_http::names::ServiceName;
use serde_json::{Map, Value, json};

use crate::registry::Registry;

pub fn document(registry: &Registry) -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    let published = registry.services.iter().flat_map(|it| it.contracts().into_iter().map(move |of| (of, it.name())));
    for (TopicContract { topic, summary, key, payload }, publisher) in published {
        let name = pascal(topic);
        channels.insert(
            name.clone(),
            json!({
                "address": topic,
                "title": topic,
                "description": format!("{summary} Kept forever; ordered by key."),
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
        for consumer in registry.services.iter().filter(|service| service.consumes(topic)).map(|it| it.name()) {
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
                "headers": headers(topic, &key, publisher),
                "payload": payload,
                "bindings": { "kafka": { "key": { "type": "string", "description": key } } },
            }),
        );
    }
    json!({
        "asyncapi": "3.1.0",
        "info": info(registry),
        "servers": servers(),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

fn info(registry: &Registry) -> Value {
    let publishers = registry.services.iter().filter(|service| !service.topics().is_empty());
    let publishers: BTreeSet<_> = publishers.map(|service| service.name().as_str()).collect();
    let tags: Vec<_> = publishers.iter().map(|name| json!({ "name": name, "description": "A publisher." })).collect();
    json!({
        "title": format!("{}: public topics", registry.about.name),
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Public events of the services: CloudEvents 1.0 in Kafka's binary mode. Delivered at least once: \
            copies of an event have the same `ce_id`. `ce_sequence` is the version of the event's subject, so that a \
            reader can tell old events from new ones. There is no order across topics. No personal data is published. \
            Fields may be added, but never renamed, removed or given another meaning.",
        "contact": { "name": registry.about.maintainers() },
        "license": { "name": "MIT OR Apache-2.0", "url": "https://spdx.org/licenses/" },
        "tags": tags,
    })
}

fn servers() -> Value {
    json!({
        "kafka": {
            "host": "{broker}",
            "protocol": "kafka",
            "description": "The Kafka cluster that `--log` names. With `--topic-prefix`, topic names begin with the prefix.",
            "variables": { "broker": { "default": "localhost:9092", "description": "One broker of the cluster." } },
        },
    })
}

/// Turns `order.created` into `OrderCreated`.
fn pascal(topic: &str) -> String {
    let capitalised = topic.split('.').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    capitalised.collect()
}

fn headers(topic: &str, key: &str, publisher: ServiceName) -> Value {
    json!({
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_dataschema", "ce_sequence",
            "ce_correlationid", "content-type"],
        "properties": {
            "ce_specversion": { "type": "string", "const": "1.0" },
            "ce_id": { "type": "string", "format": "uuid", "description": "The same for every copy of the event." },
            "ce_type": { "type": "string", "const": topic },
            "ce_source": { "type": "string", "const": format!("/orderlog/{publisher}") },
            "ce_subject": { "type": "string", "description": key },
            "ce_time": { "type": "string", "format": "date-time" },
            "ce_dataschema": { "type": "string", "const": format!("urn:orderlog:{topic}:1") },
            "ce_sequence": { "type": "string", "description": "The version, as a number." },
            "ce_correlationid": {
                "type": "string",
                "format": "uuid",
                "description": "The event that started the chain of events.",
            },
            "ce_causationid": { "type": "string", "format": "uuid", "description": "The event that caused this one, if one did." },
            "ce_traceparent": { "type": "string", "description": "W3C Trace Context, if the request had one." },
            "content-type": { "type": "string", "const": "application/json" },
        },
    })
}
