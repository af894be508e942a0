//! The envelope of a journal record, which the digest chain does not cover: its key, and headers other than the packed one.
//!
//! No decision depends on it, so a fault does not stop a service. But orderlog never writes a key that differs from the packed
//! header's, or a second packed header: someone else changed or wrote the record. Other headers may come from a proxy in front of
//! Kafka, and only cause a warning.

use orderlog_core::header::{HEADER, Header, Stored};
use orderlog_eventlog::{EventLog, Record};
use serde::{Deserialize, Serialize};

/// The number of findings of each kind that are kept with their offsets. Others are only counted.
const N_KEPT: usize = 100;

/// Returns the header of a journal's record.
pub fn stored<'a>(log: &dyn EventLog, record: &'a Record) -> Stored<'a> {
    Stored::of(|name| record.header(name), log.has_foreign_writers())
}

/// Whether a record only keeps the offsets behind a gap; see [`Stored::Gap`].
pub fn is_gap(record: &Record) -> bool {
    Stored::of(|name| record.header(name), true) == Stored::Gap
}

/// Returns why orderlog did not write this record. `None` also if its header cannot be decoded, which the decoder reports.
pub fn difference(record: &Record) -> Option<String> {
    if record.headers.iter().filter(|(name, _)| name == HEADER).count() > 1 {
        return Some(format!("it has more than one header called {HEADER}"));
    }
    let wanted = String::from(Header::decode(record.header(HEADER)?).ok()?.about());
    match &record.key {
        Some(key) if *key == wanted => None,
        // The actual key is not quoted, since it may be personal.
        Some(_) => Some(format!("its key is not {wanted}, which its header has")),
        None => Some(format!("it has no key, but its header's is {wanted}")),
    }
}

/// Returns a warning about a foreign record, or about headers that orderlog does not write; `None` if there are none.
pub fn warning(record: &Record) -> Option<String> {
    match Stored::of(|name| record.header(name), true) {
        Stored::Header(_) => {}
        Stored::Foreign | Stored::Missing => {
            return Some(format!("another program wrote it: it has no header {HEADER} and is void"));
        }
        Stored::Gap => return None,
    }
    let foreign: Vec<String> =
        record.headers.iter().filter(|(name, _)| name != HEADER).map(|(name, _)| format!("{name:?}")).collect();
    (!foreign.is_empty()).then(|| format!("it has headers that orderlog does not write: {}", foreign.join(", ")))
}

/// A finding about a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub offset: u64,
    pub what: String,
}

/// Findings about a journal, in bounded memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The total number of findings.
    pub n: u64,
    /// The first 100.
    pub first: Vec<Finding>,
}

impl Findings {
    /// Adds a finding. Offsets must ascend.
    pub fn push(&mut self, offset: u64, what: String) {
        self.n += 1;
        if self.first.len() < N_KEPT {
            self.first.push(Finding { offset, what });
        }
    }
}

/// The findings about the envelopes of a journal's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelopes {
    /// Records that orderlog did not write in this form.
    pub differences: Findings,
    /// Records with foreign headers.
    pub warnings: Findings,
}

impl Envelopes {
    /// Checks one more record.
    pub fn look_at(&mut self, record: &Record) {
        if let Some(what) = difference(record) {
            self.differences.push(record.offset, what);
        }
        if let Some(what) = warning(record) {
            self.warnings.push(record.offset, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use orderlog_core::{
        header::{Expect, Origin},
        key::{Key, RecordId},
    };
    use uuid::Uuid;

    use super::*;

    fn record() -> Record {
        let key = Key::of(Uuid::from_bytes([7; 16]));
        let other = Key::of(Uuid::from_bytes([8; 16]));
        let header = Header {
            id: RecordId(Uuid::nil()),
            time_ms: 0,
            writer: Uuid::nil(),
            kind: "order_placed".to_owned(),
            expects: [key, other].map(|key| Expect { key, last: None }).to_vec(),
            command: None,
            origin: Origin::default(),
        };
        let headers = vec![(HEADER.into(), header.encode().into())];
        Record { offset: 3, time_ms: 0, key: Some(String::from(key).into()), headers, value: Bytes::from_static(b"{}") }
    }

    #[test]
    fn the_key_must_be_the_first_that_the_header_names() {
        assert_eq!(difference(&record()), None);
        let with_key = |key: Option<Bytes>| difference(&Record { key, ..record() }).unwrap_or_default();
        assert!(with_key(None).starts_with("it has no key"));
        let other_spelling = Uuid::from_bytes([7; 16]).to_string();
        let second_key = String::from(Key::of(Uuid::from_bytes([8; 16])));
        for wrong in ["", "mallory@example.com", &other_spelling, &second_key] {
            let what = with_key(Some(Bytes::copy_from_slice(wrong.as_bytes())));
            assert_eq!(what, format!("its key is not {}, which its header has", "07".repeat(16)));
        }
    }

    #[test]
    fn a_second_packed_header_is_a_difference_and_a_foreign_one_a_warning() {
        let mut doubled = record();
        doubled.headers.push(doubled.headers[0].clone());
        assert!(difference(&doubled).is_some_and(|what| what.contains("more than one header")));

        let mut foreign = record();
        assert_eq!(warning(&foreign), None);
        foreign.headers.insert(0, ("x-proxy".into(), Bytes::new()));
        foreign.headers.push(("Orderlog".into(), Bytes::new()));
        assert_eq!(difference(&foreign), None);
        assert!(warning(&foreign).is_some_and(|what| what.ends_with("\"x-proxy\", \"Orderlog\"")));
    }

    #[test]
    fn differences_are_counted_also_behind_many_warnings() {
        let mut envelopes = Envelopes::default();
        let mut foreign = record();
        foreign.headers.push(("x-proxy".into(), Bytes::new()));
        for _ in 0..2 * N_KEPT {
            envelopes.look_at(&foreign);
        }
        envelopes.look_at(&Record { key: None, ..foreign });
        assert_eq!((envelopes.warnings.n, envelopes.warnings.first.len()), (201, N_KEPT));
        assert_eq!(envelopes.differences.n, 1);
    }
}
