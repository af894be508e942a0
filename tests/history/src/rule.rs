//! The rule of arbitration, once more: walking a journal from its start, a record is accepted if the last accepted record of each
//! key is the one it expects, and it was never void before.

use std::collections::{BTreeMap, HashMap, HashSet};

use orderlog_core::{
    header::Header,
    key::{Key, RecordId},
};
use serde_json::Value;
use uuid::Uuid;

use crate::history::{Fault, Head, History, Record, fault};

/// A record, and what became of it.
#[derive(Clone, Debug)]
pub struct Judged {
    pub offset: u64,
    /// How many records stood in all logs together before it, if that is known.
    pub landed: Option<u64>,
    /// When the log took it, if the log's clock is known to be right.
    pub taken_ms: Option<i64>,
    pub header: Header,
    pub event: Value,
    pub accepted: bool,
}

impl Judged {
    /// The attempt that wrote it; none for what nobody asked for: a genesis, reactions, timers.
    pub fn attempt(&self) -> Option<Uuid> {
        let origin = &self.header.origin;
        if origin.cause.is_some() {
            return None;
        }
        origin.trace.as_deref().and_then(|trace| Uuid::try_parse(trace.get(3..35)?).ok())
    }

    /// The event's name and its fields.
    pub fn named(&self) -> Option<(&str, &Value)> {
        self.event.as_object()?.iter().next().map(|(name, fields)| (name.as_str(), fields))
    }
}

pub type Journals = BTreeMap<String, Vec<Judged>>;

/// Judge every record of every journal.
pub fn judge(history: &History, faults: &mut Vec<Fault>) -> Journals {
    let mut journals = Journals::new();
    for (service, records) in &history.journals {
        let mut last: HashMap<Key, RecordId> = HashMap::new();
        let mut void: HashSet<RecordId> = HashSet::new();
        let judged = journals.entry(service.clone()).or_default();
        for record in records {
            let (header, event) = match (Header::decode(&record.header), serde_json::from_slice(&record.value)) {
                (Ok(header), Ok(event)) => (header, event),
                _ => {
                    fault(faults, "every record can be read", format!("{service}@{}", record.offset));
                    continue;
                }
            };
            if record.key.as_deref() != Some(String::from(header.about()).as_bytes()) {
                fault(
                    faults,
                    "a record's key is what it is about",
                    format!("{service}@{}: {:?}", record.offset, record.key),
                );
            }
            let as_seen = header.expects.iter().all(|expect| last.get(&expect.key).copied() == expect.last);
            let accepted = as_seen && !void.contains(&header.id);
            if accepted {
                last.extend(header.expects.iter().map(|expect| (expect.key, header.id)));
            } else {
                void.insert(header.id);
            }
            let Record { offset, landed, taken_ms, .. } = *record;
            judged.push(Judged { offset, landed, taken_ms, header, event, accepted });
        }
    }
    journals
}

/// The last record of each key, and of the id of each void record that record itself: by that a late copy of it stays void.
pub fn heads(journal: &[Judged]) -> BTreeMap<Key, Head> {
    let mut heads = BTreeMap::new();
    for Judged { offset, header, accepted, .. } in journal {
        let head = (header.id.0, *offset);
        if *accepted {
            heads.extend(header.expects.iter().map(|expect| (expect.key, head)));
        } else {
            heads.insert(header.id.as_key(), head);
        }
    }
    heads
}
