//! A topic may repeat events and, until they are repeated, be out of order. Nothing else.

use bytes::Bytes;
use orderlog_core::{
    header::{Expect, Header},
    key::{Key, RecordId},
};
use serde_json::{Value, json};

use super::*;
use crate::{history::Record, rule::judge};

const LOG: Uuid = Uuid::from_u128(7);
const TIME: &str = "2026-09-21T14:13:20.000Z";

/// A journal of these events, none of which knows of another.
fn journal(events: &[Value]) -> Vec<Record> {
    let record = |(offset, event): (u64, &Value)| {
        let header = Header {
            id: RecordId(Uuid::from_u128(u128::from(offset) + 1)),
            time_ms: 1_790_000_000_000,
            writer: Uuid::nil(),
            kind: "event".to_owned(),
            expects: vec![Expect { key: Key::named("test", &offset.to_string()), last: None }],
            command: None,
            origin: Origin { cause: Some(Uuid::from_u128(5)), correlation: Some(Uuid::from_u128(6)), trace: None },
        };
        let key = Some(String::from(header.about()).into());
        let (header, value) = (header.encode().into(), event.to_string().into());
        Record { offset, landed: None, taken_ms: None, key, header, value }
    };
    (0..).zip(events).map(record).collect()
}

fn received(on_hand: i64) -> Value {
    let level = |on_hand: i64| json!({"on_hand": on_hand, "reserved": 0, "low_stock_threshold": 0});
    let (before, after) = (level(on_hand - 1), level(on_hand));
    json!({"StockReceived": {"sku": "a", "quantity": 1, "before": before, "after": after, "version": on_hand}})
}

/// The record that publishes that so many units of `a` are on hand.
fn updated(on_hand: i64) -> PublicRecord {
    let level = |on_hand: i64| json!({"on_hand": on_hand, "reserved": 0, "low_stock_threshold": 0});
    let value = json!({
        "sku": "a", "delta": 1, "cause": "received", "reservation_id": null, "before": level(on_hand - 1), "after": level(on_hand),
        "version": on_hand,
    });
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", event_id(LOG, on_hand.unsigned_abs(), 0).to_string()),
        ("ce_type", "stock.updated".to_owned()),
        ("ce_source", "/orderlog/inventory".to_owned()),
        ("ce_subject", "a".to_owned()),
        ("ce_time", TIME.to_owned()),
        ("ce_dataschema", "urn:orderlog:stock.updated:1".to_owned()),
        ("ce_sequence", on_hand.to_string()),
        ("ce_correlationid", Uuid::from_u128(6).to_string()),
        ("ce_causationid", Uuid::from_u128(5).to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    PublicRecord {
        partition: 0,
        offset: 0,
        landed: None,
        taken_ms: None,
        key: Some(Bytes::from_static(b"a")),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        value: value.to_string().into(),
    }
}

/// The promises that a topic with these records breaks, where one to three units of `a` were received.
fn broken(records: Vec<PublicRecord>) -> Vec<&'static str> {
    let mut history = History::default();
    let events = [json!({"log_id": LOG}), received(1), received(2), received(3)];
    history.journals.insert("inventory".to_owned(), journal(&events));
    history.topics.insert("stock.updated".to_owned(), records);
    let mut faults = Vec::new();
    let expected = expected(&judge(&history, &mut faults));
    check(&history, &expected, &mut faults);
    faults.into_iter().map(|fault| fault.promise).collect()
}

fn numbered(numbers: &[i64]) -> Vec<PublicRecord> {
    numbers.iter().map(|number| updated(*number)).collect()
}

#[test]
fn events_may_be_repeated_and_overtake_others_until_they_are_repeated() {
    for right in [&[1, 2, 3][..], &[1, 1, 2, 3, 2], &[2, 3, 1, 2, 3], &[1, 3, 2, 3], &[1, 2, 1, 2, 3, 1]] {
        assert_eq!(broken(numbered(right)), [""; 0], "{right:?}");
    }
    for wrong in [&[2, 1, 3][..], &[3, 2, 1], &[2, 3, 1, 2], &[1, 3, 2]] {
        assert!(broken(numbered(wrong)).iter().all(|promise| *promise == ORDER), "{wrong:?}");
        assert!(!broken(numbered(wrong)).is_empty(), "{wrong:?}");
    }
    assert_eq!(broken(numbered(&[1, 3])), [COMPLETE]);
    assert_eq!(broken(numbered(&[1, 2, 3, 4])), [NOTHING_ELSE]);
}

#[test]
fn each_attribute_is_as_promised_on_each_copy() {
    for at in 0..updated(1).headers.len() {
        for copy in 0..2 {
            let mut records = numbered(&[1, 1, 2, 3]);
            records[copy].headers[at].1 = "other".into();
            assert!(!broken(records).is_empty(), "{} of copy {copy}", updated(1).headers[at].0);
            let mut records = numbered(&[1, 1, 2, 3]);
            records[copy].headers.remove(at);
            assert!(!broken(records).is_empty(), "no {} of copy {copy}", updated(1).headers[at].0);
        }
    }
    let with = |change: fn(&mut PublicRecord)| {
        let mut records = numbered(&[1, 2, 2, 3]);
        change(&mut records[2]);
        broken(records)
    };
    assert_eq!(with(|_| {}), [""; 0]);
    assert_eq!(with(|record| record.headers.push(("ce_traceparent".to_owned(), "00-ab".into()))), [ENVELOPE]);
    assert_eq!(with(|record| record.key = None), [ENVELOPE]);
    assert_eq!(with(|record| record.key = Some("b".into())), [ENVELOPE]);
    assert_eq!(with(|record| record.value = updated(3).value), [ENVELOPE]);
    assert_eq!(with(|record| record.partition = 1), [ENVELOPE, ORDER]);
}
