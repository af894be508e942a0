//! The published contract of the public topics: an AsyncAPI 3.0 document.
//!
//! Topics, publishers and consumers come from the deciders, the fields from the types of the events ([`TopicContract`]).

use std::collections::BTreeSet;

use orderlog_core::schema::{self, TopicContract};
use orderlog_http::names::ServiceName;
use serde_json::{Map, Value, json};

use crate::registry::Registry;

pub fn document(registry: &Registry) -> Value {
    let (mut channels, mut operations, mut messages, mut schemas) = (Map::new(), Map::new(), Map::new(), Map::new());
    for (contract, publisher) in contracts(registry) {
        let name = contract.name();
        let headers_name = format!("{name}Headers");
        let TopicContract { topic, summary, key, payload } = contract;
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
        schemas.insert(headers_name.clone(), headers(&headers_name, topic, &key, publisher));
        schemas.insert(name.clone(), payload);
        messages.insert(
            name.clone(),
            json!({
                "name": topic,
                "title": topic,
                "summary": summary,
                "contentType": "application/json",
                "headers": { "$ref": format!("#/components/schemas/{headers_name}") },
                "payload": { "$ref": format!("#/components/schemas/{name}") },
                "bindings": { "kafka": { "key": { "type": "string", "description": key } } },
            }),
        );
    }
    json!({
        // Generators of code do not read 3.1, and nothing here needs it.
        "asyncapi": "3.0.0",
        "info": info(registry),
        "servers": servers(),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// The contract of every public topic, and its publisher.
pub fn contracts(registry: &Registry) -> impl Iterator<Item = (TopicContract, ServiceName)> {
    registry.services.iter().flat_map(|it| it.contracts().into_iter().map(move |of| (of, it.name())))
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

fn headers(title: &str, topic: &str, key: &str, publisher: ServiceName) -> Value {
    json!({
        "title": title,
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
            "ce_dataschema": {
                "type": "string",
                "format": "uri",
                "description": format!("The address of the value's JSON Schema: `{}` under the deployment's URL for schemas. \
                    `urn:orderlog:{topic}:{}` if it has none.", schema::path_of(topic), schema::VERSION),
            },
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
