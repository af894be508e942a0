//! Public events as CloudEvents 1.0 in Kafka's binary mode: attributes as headers, the event's JSON as the value.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use orderlog_domain::{
    planted::{self, Bug},
    public::{Envelope, Public, PublicError},
};
use orderlog_eventlog::{NewRecord, Record, RecordHeader};
use uuid::Uuid;

/// Why a record of a public topic is no event.
#[derive(Debug, thiserror::Error)]
pub enum CloudEventError {
    /// An attribute is missing or can't be read.
    #[error("the attribute {0} is missing or can't be read")]
    Attribute(&'static str),
    /// The value.
    #[error(transparent)]
    Event(#[from] PublicError),
}

/// The record that publishes `event`, keyed by what it is about.
pub fn encode(envelope: &Envelope, event: &Public, service: &str) -> NewRecord {
    let text = |name: &'static str, value: String| -> RecordHeader { (Cow::Borrowed(name), Bytes::from(value)) };
    let topic = event.topic();
    let time = DateTime::<Utc>::from_timestamp_millis(envelope.time_ms).unwrap_or_default();
    let mut headers = vec![
        text("ce_specversion", "1.0".to_owned()),
        text("ce_id", envelope.id.to_string()),
        text("ce_type", topic.to_owned()),
        text("ce_source", format!("/orderlog/{service}")),
        text("ce_subject", event.subject()),
        text("ce_time", time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        text("ce_dataschema", format!("urn:orderlog:{topic}:1")),
        text("ce_sequence", event.version().to_string()),
        text("ce_correlationid", envelope.correlation.to_string()),
    ];
    headers.extend(envelope.cause.map(|cause| text("ce_causationid", cause.to_string())));
    headers.extend(envelope.trace.clone().map(|trace| text("ce_traceparent", trace)));
    headers.push(text("content-type", "application/json".to_owned()));
    NewRecord {
        topic: topic.into(),
        partition: None,
        key: (!planted::has(Bug::PublishWithoutKey)).then(|| event.subject().into()),
        headers,
        value: event.to_json().into(),
    }
}

/// The event that a record of `topic` publishes.
///
/// # Errors
/// [`CloudEventError`] if it is none.
pub fn decode(topic: &str, record: &Record) -> Result<(Envelope, Public), CloudEventError> {
    let text = |name: &'static str| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    let id = |name: &'static str| text(name).and_then(|value| Uuid::try_parse(value).ok());
    let time = text("ce_time").and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    let envelope = Envelope {
        id: id("ce_id").ok_or(CloudEventError::Attribute("ce_id"))?,
        time_ms: time.ok_or(CloudEventError::Attribute("ce_time"))?.timestamp_millis(),
        correlation: id("ce_correlationid").ok_or(CloudEventError::Attribute("ce_correlationid"))?,
        cause: id("ce_causationid"),
        trace: text("ce_traceparent").map(str::to_owned),
    };
    Ok((envelope, Public::from_json(topic, &record.value)?))
}

#[cfg(test)]
mod tests {
    use orderlog_domain::{public::LowStock, values::Sku};

    use super::*;

    #[test]
    fn an_event_comes_back_from_its_record_with_the_attributes_of_cloudevents() {
        let sku = Sku::new("widget").unwrap();
        let event = Public::LowStock(LowStock { sku, available: 3, low_stock_threshold: 5, version: 9 });
        let envelope = Envelope {
            id: Uuid::from_u128(1),
            time_ms: 1_790_000_000_123,
            correlation: Uuid::from_u128(2),
            cause: Some(Uuid::from_u128(3)),
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        };
        let NewRecord { topic, key, headers, value, .. } = encode(&envelope, &event, "inventory");
        assert_eq!((topic.as_ref(), key.as_deref()), ("low.stock", Some(&b"widget"[..])));
        let record = Record { offset: 0, time_ms: 0, key, headers, value };
        let trace = envelope.trace.clone().unwrap();
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", &*envelope.id.to_string()),
            ("ce_type", "low.stock"),
            ("ce_source", "/orderlog/inventory"),
            ("ce_subject", "widget"),
            ("ce_time", "2026-09-21T14:13:20.123Z"),
            ("ce_dataschema", "urn:orderlog:low.stock:1"),
            ("ce_sequence", "9"),
            ("ce_correlationid", &*envelope.correlation.to_string()),
            ("ce_causationid", &*Uuid::from_u128(3).to_string()),
            ("ce_traceparent", &*trace),
            ("content-type", "application/json"),
        ] {
            assert_eq!(record.header(name).map(|it| &it[..]), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(decode("low.stock", &record).unwrap(), (envelope, event));
        assert!(decode("low.stock", &Record { headers: Vec::new(), ..record }).is_err());
    }
}
