//! The topics hold what accepted records tell others: all of it, with its whole envelope, in order, and nothing else.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use chrono::DateTime;
use orderlog_core::{header::Origin, public::event_id};
use uuid::Uuid;

use crate::{
    SERVICES,
    contract::{Event, events_of, present_fields},
    history::{Fault, History, PublicRecord, fault},
    rule::{Journals, Judged},
};

const COMPLETE: &str = "everything accepted is published";
const NOTHING_ELSE: &str = "only what was accepted is published";
const ENVELOPE: &str = "a public event has the attributes that the contract promises";
const PROMPT: &str = "an event is published at once where nothing goes wrong";
const ORDER: &str = "the events of one key are published in the order of the journal";

/// An event that an accepted record tells others.
pub struct Told {
    pub event: Event,
    pub journal: &'static str,
    pub offset: u64,
    /// Which of the record's events it is.
    index: usize,
    time_ms: i64,
    /// When the log took the record.
    pub taken_ms: Option<i64>,
    /// The event that began the story: this one, if it has no cause.
    pub correlation: Uuid,
    /// The public event that the record answers.
    pub cause: Option<Uuid>,
    /// The `traceparent` of the request.
    pub trace: Option<String>,
}

/// Events by their ids.
pub type Expected = BTreeMap<Uuid, Told>;

/// What accepted records tell others.
pub fn expected(journals: &Journals) -> Expected {
    let mut expected = Expected::new();
    for service in SERVICES {
        let Some(records) = journals.get(service) else { continue };
        let log_id = records.first().and_then(|genesis| genesis.event.get("log_id")?.as_str()?.parse().ok());
        let log_id: Uuid = log_id.unwrap_or_default();
        for judged in records.iter().filter(|judged| judged.accepted) {
            let Some((name, fields)) = judged.named() else { continue };
            for (index, event) in events_of(service, name, fields).into_iter().enumerate() {
                let id = event_id(log_id, judged.offset, index);
                expected.insert(id, told(service, judged, (index, id), event));
            }
        }
    }
    expected
}

fn told(journal: &'static str, judged: &Judged, (index, id): (usize, Uuid), event: Event) -> Told {
    let Origin { cause, correlation, trace } = judged.header.origin.clone();
    let (offset, taken_ms, time_ms) = (judged.offset, judged.taken_ms, judged.header.time_ms);
    let correlation = correlation.unwrap_or(id);
    Told { event, journal, offset, index, time_ms, taken_ms, correlation, cause, trace }
}

/// The first copy of each event, by its id.
pub type FirstCopies<'a> = HashMap<Uuid, &'a PublicRecord>;

/// Check it. Which copy of each event comes first.
pub fn check<'a>(history: &'a History, expected: &Expected, faults: &mut Vec<Fault>) -> FirstCopies<'a> {
    let mut first_copies = FirstCopies::new();
    for (topic, records) in &history.topics {
        let mut places = Places::new();
        for (at, record) in records.iter().enumerate() {
            let id = record.header("ce_id").and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default();
            let place = || format!("{topic}/{}@{} {id}", record.partition, record.offset);
            let Some(told) = expected.get(&id).filter(|told| told.event.topic == topic) else {
                fault(faults, NOTHING_ELSE, place());
                continue;
            };
            let first = first_copies.entry(id).or_insert(record);
            if history.is_late(told.taken_ms, first.taken_ms) {
                fault(faults, PROMPT, place());
            }
            if let Some(difference) = wrong_copy(first, record).or_else(|| wrong(id, told, record)) {
                fault(faults, ENVELOPE, format!("{}: {difference}", place()));
            }
            note(&mut places, told, (at, record.partition));
        }
        in_order(topic, &places, faults);
    }
    for (id, Told { event, journal, offset, .. }) in expected {
        if !first_copies.contains_key(id) {
            let Event { topic, value, .. } = event;
            fault(faults, COMPLETE, format!("{journal}@{offset} lacks {topic} {id}: {value}"));
        }
    }
    first_copies
}

/// How a copy of an event differs from the first one, byte by byte.
fn wrong_copy(first: &PublicRecord, copy: &PublicRecord) -> Option<String> {
    let PublicRecord { partition, key, headers, value, .. } = copy;
    let is_same = (partition, key, headers, value) == (&first.partition, &first.key, &first.headers, &first.value);
    (!is_same).then(|| format!("another copy than {}@{}", first.partition, first.offset))
}

/// How a record differs from the event that it publishes.
fn wrong(id: Uuid, told: &Told, record: &PublicRecord) -> Option<String> {
    let Event { topic, subject, version, value } = &told.event;
    if record.key.as_deref() != Some(subject.as_bytes()) {
        return Some(format!("the key is {:?}, not {subject}", record.key));
    }
    let mut wanted = vec![
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", id.to_string()),
        ("ce_type", (*topic).to_owned()),
        ("ce_source", format!("/orderlog/{}", told.journal)),
        ("ce_subject", subject.clone()),
        ("ce_dataschema", format!("urn:orderlog:{topic}:1")),
        ("ce_sequence", version.to_string()),
        ("ce_correlationid", told.correlation.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    wanted.extend(told.cause.map(|cause| ("ce_causationid", cause.to_string())));
    wanted.extend(told.trace.clone().map(|trace| ("ce_traceparent", trace)));
    if let Some((name, wanted)) = wanted.iter().find(|(name, wanted)| record.header(name) != Some(wanted)) {
        return Some(format!("{name} is {:?}, not {wanted}", record.header(name)));
    }
    let time = record.header("ce_time").and_then(|time| DateTime::parse_from_rfc3339(time).ok());
    if time.is_none_or(|time| time.timestamp_millis() != told.time_ms) {
        return Some(format!("ce_time is {:?}, not {} ms", record.header("ce_time"), told.time_ms));
    }
    // The time, and nothing else that is not promised.
    if record.headers.len() != wanted.len() + 1 {
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name).collect();
        return Some(format!("its headers are {names:?}"));
    }
    let found = serde_json::from_slice(&record.value).map(|found| present_fields(&found)).ok();
    (found.as_ref() != Some(value)).then(|| format!("it says {found:?}, not {value}"))
}

/// Where the copies of a key's events are in their topic.
#[derive(Default)]
struct OfKey {
    partitions: Vec<u32>,
    /// The first and the last copy of each event, in the order of the journal.
    copies: BTreeMap<(u64, usize), (usize, usize)>,
}

type Places<'a> = BTreeMap<&'a str, OfKey>;

fn note<'a>(places: &mut Places<'a>, told: &'a Told, (at, partition): (usize, u32)) {
    let of_key = places.entry(&told.event.subject).or_default();
    if !of_key.partitions.contains(&partition) {
        of_key.partitions.push(partition);
    }
    match of_key.copies.entry((told.offset, told.index)) {
        Entry::Vacant(entry) => drop(entry.insert((at, at))),
        Entry::Occupied(mut entry) => entry.get_mut().1 = at,
    }
}

/// An append that fails does not hold back the ones after it, so later events can come first; then all are published again, in
/// order. So behind the first copy of an event there is a copy of each later one.
fn in_order(topic: &str, places: &Places<'_>, faults: &mut Vec<Fault>) {
    for (key, OfKey { partitions, copies }) in places {
        if partitions.len() > 1 {
            fault(faults, ORDER, format!("{topic} has {key} in the partitions {partitions:?}"));
        }
        let mut latest = 0;
        for ((offset, _), (first, last)) in copies {
            if *last < latest {
                fault(faults, ORDER, format!("{topic}: {key} of {offset} only stands before what happened earlier"));
            }
            latest = latest.max(*first);
        }
    }
}

#[cfg(test)]
mod tests;
