//! What a history consists of.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use orderlog_core::key::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::ask::Attempt;

/// Where nothing goes wrong nothing takes longer than this, in milliseconds: the timer of reservations looks every 250.
const AT_ONCE_MS: i64 = 500;

/// What a client saw of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub client: u64,
    /// Asked of which service.
    pub service: String,
    /// The instance that was asked, and how many lines there were then, if that is known.
    #[serde(default)]
    pub instance: Option<(Uuid, usize)>,
    pub object: Key,
    /// Its version; 0 if it was not there.
    pub version: u64,
    /// Its document, if that is known.
    #[serde(default)]
    pub doc: Option<Value>,
    /// What the client had seen of other services, and said so: journals with the offset of a record each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen_elsewhere: Vec<(String, u64)>,
}

/// A line of what clients did, in the order in which it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// An attempt, where it was answered.
    Attempt(Box<Attempt>),
    /// A read, where it was answered.
    Read(Read),
    /// An older log was restored: from here on clients can't rely on what they saw before.
    Restored,
}

/// A record of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: u64,
    /// How many records stood in all logs together before it, if that is known.
    pub landed: Option<u64>,
    /// When the log took it, in milliseconds since the epoch, if the log's clock is known to be right.
    pub taken_ms: Option<i64>,
    pub key: Option<Bytes>,
    /// Its header `orderlog`.
    pub header: Bytes,
    pub value: Bytes,
}

/// A record of a public topic, with everything that its readers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRecord {
    pub partition: u32,
    /// Where it is in the partition.
    pub offset: u64,
    /// How many records stood in all logs together before it, if that is known.
    pub landed: Option<u64>,
    /// When the log took it, in milliseconds since the epoch, if the log's clock is known to be right.
    pub taken_ms: Option<i64>,
    /// What the topic is ordered by.
    pub key: Option<Bytes>,
    /// The CloudEvents attributes and the type of the value.
    pub headers: Vec<(String, Bytes)>,
    pub value: Bytes,
}

impl PublicRecord {
    /// The text of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// A row of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub kind: String,
    pub key: Key,
    pub doc: Value,
}

/// The last record of a key: its id and its offset.
pub type Head = (Uuid, u64);

/// The lines of a service's ledgers, each with its columns: by name, offset and number.
pub type Ledgers = BTreeMap<(String, u64, i64), Vec<Value>>;

/// Everything there is to check.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What clients did and saw.
    pub lines: Vec<Line>,
    /// The journals, by service.
    pub journals: BTreeMap<String, Vec<Record>>,
    /// The public topics, by name: all partitions, each in its order.
    pub topics: BTreeMap<String, Vec<PublicRecord>>,
    /// The rows that serve, by service.
    pub rows: BTreeMap<String, Vec<Row>>,
    /// Since when nothing has gone wrong any more, and nothing was left to do, in milliseconds since the epoch, if there was such a
    /// time. What follows from anything later follows at once.
    pub healthy_ms: Option<i64>,
    /// The last record of each key that the rows know, by service: its id and its offset.
    pub heads: BTreeMap<String, BTreeMap<Key, Head>>,
    /// The lines of the ledgers, by service.
    pub ledgers: BTreeMap<String, Ledgers>,
    /// When everything had come to rest, in milliseconds since the epoch; what was due by then has happened.
    pub rested_ms: Option<i64>,
}

impl History {
    /// The lines that this JSON holds, one on each line of the text.
    ///
    /// # Errors
    /// If one of them is none.
    pub fn lines_of(text: &str) -> Result<Vec<Line>, serde_json::Error> {
        text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
    }

    /// Whether the log took what follows from a cause much later than the cause, though nothing went wrong any more.
    pub(crate) fn is_late(&self, caused_ms: Option<i64>, taken_ms: Option<i64>) -> bool {
        let times = caused_ms.zip(taken_ms).zip(self.healthy_ms);
        times.is_some_and(|((caused, taken), healthy)| caused >= healthy && taken > caused + AT_ONCE_MS)
    }

    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.lines.iter().filter_map(|line| match line {
            Line::Attempt(attempt) => Some(&**attempt),
            Line::Read(_) | Line::Restored => None,
        })
    }
}

/// Something that can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which promise is broken, in a few words.
    pub promise: &'static str,
    pub found: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.found)
    }
}

/// Note that a promise is broken.
pub fn fault(faults: &mut Vec<Fault>, promise: &'static str, found: impl fmt::Display) {
    faults.push(Fault { promise, found: found.to_string() });
}
