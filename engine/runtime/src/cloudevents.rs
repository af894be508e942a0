//! Public events as CloudEvents 1.0 in Kafka's binary mode: attributes as headers, the event's JSON as the value.

use std::{borrow::Cow, sync::OnceLock};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use orderlog_core::{
    planted::Bug,
    public::{Envelope, PublicError, PublicEvent},
    schema,
};
use orderlog_eventlog::{NewRecord, Record, RecordHeader};
use uuid::Uuid;

static SCHEMAS_URL: OnceLock<String> = OnceLock::new();

/// Sets the URL under which every server of the deployment has the schemas of events. Only the first call counts; without one the
/// names of schemas are no addresses.
pub fn install_schemas_url(url: &str) {
    SCHEMAS_URL.get_or_init(|| url.trim_end_matches('/').to_owned());
}

/// The schema of a topic's events: the value of `ce_dataschema`.
fn schema_of(url: Option<&str>, topic: &str) -> String {
    match url {
        Some(url) => format!("{url}{}", schema::path_of(topic)),
        None => format!("urn:orderlog:{topic}:{}", schema::VERSION),
    }
}

/// The topic and the version that a `ce_dataschema` names, as an address or not.
pub(crate) fn schema_named(id: &[u8]) -> Option<(&str, u32)> {
    let (rest, version) = std::str::from_utf8(id).ok()?.rsplit_once([':', '/'])?;
    let (_, topic) = rest.rsplit_once([':', '/'])?;
    Some((topic, version.parse().ok()?))
}

/// Why a record of a public topic is not an event.
#[derive(Debug, thiserror::Error)]
pub enum CloudEventError {
    #[error("the attribute {0} is missing or can't be read")]
    Attribute(&'static str),
    #[error(transparent)]
    Event(#[from] PublicError),
}

/// Encodes `event` as a record, keyed by its subject.
pub fn encode(envelope: &Envelope, event: &impl PublicEvent, service: &str) -> NewRecord {
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
        text("ce_dataschema", schema_of(SCHEMAS_URL.get().map(String::as_str), topic)),
        text("ce_sequence", event.version().to_string()),
        text("ce_correlationid", envelope.correlation.to_string()),
    ];
    headers.extend(envelope.cause.map(|cause| text("ce_causationid", cause.to_string())));
    headers.extend(envelope.trace.clone().map(|trace| text("ce_traceparent", trace)));
    headers.push(text("content-type", "application/json".to_owned()));
    NewRecord {
        topic: topic.into(),
        partition: None,
        key: (!Bug::PublishWithoutKey.is_loose()).then(|| event.subject().into()),
        headers,
        value: event.to_json().into(),
    }
}

/// Decodes the event of a record of `topic`.
pub fn decode<E: PublicEvent>(topic: &str, record: &Record) -> Result<(Envelope, E), CloudEventError> {
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
    Ok((envelope, E::from_json(topic, &record.value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{JOURNAL, Published, Weighed};

    #[test]
    fn a_schema_is_named_in_the_same_way_with_and_without_an_address() {
        let ids = [None, Some("https://shop.example"), Some("http://127.0.0.1:8080/shop")];
        let ids = ids.map(|url| schema_of(url, "shelf.weighed"));
        assert_eq!(ids[1], "https://shop.example/schemas/shelf.weighed/1");
        assert!(ids.iter().all(|id| schema_named(id.as_bytes()) == Some(("shelf.weighed", 1))), "{ids:?}");
        assert!(
            ["", "1", "urn:1", "urn:a:b", "https://shop.example"]
                .iter()
                .all(|id| schema_named(id.as_bytes()).is_none())
        );
    }

    #[test]
    fn an_event_comes_back_from_its_record_with_the_attributes_of_cloudevents() {
        let weighed = Weighed { shelf: "a 1".to_owned(), grams: 3, scale: None, version: 9 };
        let event = Published::Weighed(weighed);
        let envelope = Envelope {
            id: Uuid::from_u128(1),
            time_ms: 1_790_000_000_123,
            correlation: Uuid::from_u128(2),
            cause: Some(Uuid::from_u128(3)),
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        };
        let NewRecord { topic, key, headers, value, .. } = encode(&envelope, &event, JOURNAL);
        assert_eq!((topic.as_ref(), key.as_deref()), ("shelf.weighed", Some(&b"a 1"[..])));
        let record = Record { offset: 0, time_ms: 0, key, headers, value };
        let trace = envelope.trace.clone().unwrap();
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", &*envelope.id.to_string()),
            ("ce_type", "shelf.weighed"),
            ("ce_source", "/orderlog/shelves"),
            ("ce_subject", "a 1"),
            ("ce_time", "2026-09-21T14:13:20.123Z"),
            ("ce_dataschema", "urn:orderlog:shelf.weighed:1"),
            ("ce_sequence", "9"),
            ("ce_correlationid", &*envelope.correlation.to_string()),
            ("ce_causationid", &*Uuid::from_u128(3).to_string()),
            ("ce_traceparent", &*trace),
            ("content-type", "application/json"),
        ] {
            assert_eq!(record.header(name).map(|it| &it[..]), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(decode::<Published>("shelf.weighed", &record).unwrap(), (envelope, event));
        assert!(decode::<Published>("shelf.weighed", &Record { headers: Vec::new(), ..record }).is_err());
    }
}
