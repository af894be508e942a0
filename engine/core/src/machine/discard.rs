//! Discards: records by which an operator cancels the effect of a parked record.
//!
//! A discard is a record of the same journal, so every replay sees it. Like any other it names what it saw: all keys of the
//! discarded record, with the last record of each. If an instance that can read the record goes on writing to those keys,
//! one of the two comes first in the log and the other is void.
//!
//! ## Storage format: change nothing here without a new kind of record
//! The payload is JSON: `{"offset": 17, "record": "<id>", "reason": "..."}`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Core, DiscardedRow, Outgoing, Stop, Verdict, Wanted, fold::Payload};
use crate::{
    decider::{At, Decider, Millis},
    header::{Expect, Header},
    key::Key,
    reason::Reason,
};

pub const DISCARD: &str = "discard";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discard {
    /// The offset of the discarded record. It precedes the discard.
    pub offset: u64,
    /// The discarded record's id. An offset alone would name another record in another journal.
    pub record: Uuid,
    pub reason: Reason,
}

/// Why a record can't be discarded. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotDiscard {
    /// It was folded, is void, or does not exist: there is nothing to repair.
    #[error("{journal}@{offset} is not parked")]
    NotParked { journal: &'static str, offset: u64 },
    #[error("{journal}@{offset} is discarded already")]
    Already { journal: &'static str, offset: u64 },
}

impl<D: Decider> Core<D> {
    /// The keys that a discard of this record names. Load and [provide](Core::provide) their heads before
    /// [`Core::discard_record`].
    pub fn named_by_discard(&self, offset: u64) -> Result<Vec<Wanted>, CannotDiscard> {
        match self.parking.get(offset) {
            Some(parked) => Ok(parked.keys.iter().map(|&key| Wanted { key, kind: None }).collect()),
            None if self.parking.is_discarded(offset) => Err(CannotDiscard::Already { journal: D::JOURNAL, offset }),
            None => Err(CannotDiscard::NotParked { journal: D::JOURNAL, offset }),
        }
    }

    /// Creates a record that discards the parked record at `offset`. It takes effect if it is accepted.
    pub fn discard_record(&mut self, offset: u64, reason: Reason, now: Millis) -> Result<Outgoing, CannotDiscard> {
        let named = self.named_by_discard(offset)?.into_iter();
        let last = |key: &Key| self.slots.peek(key).and_then(|slot| slot.head).map(|head| head.last);
        let expects: Vec<_> = named.map(|Wanted { key, .. }| Expect { key, last: last(&key) }).collect();
        let record = self.parking.get(offset).map(|parked| parked.id.0).unwrap_or_default();
        let header = self.author.header(DISCARD, expects, now);
        let value = serde_json::to_vec(&Discard { offset, record, reason }).expect("a discard is plain text").into();
        Ok(Outgoing { id: header.id, ticket: None, about: header.about(), header: header.encode().into(), value })
    }

    /// Whether everything that folding a discard needs is known. If the discarded record is neither parked nor discarded
    /// here, its header is needed: it was folded, or is void.
    pub(super) fn knows_discarded(&mut self, by: u64, offset: u64) -> bool {
        if offset >= by || self.parking.get(offset).is_some() || self.parking.is_discarded(offset) {
            return true;
        }
        let Some(fetched) = self.fetched.get(&offset) else {
            self.step.records.push(offset);
            return false;
        };
        let Some(id) = fetched.as_ref().map(|record| record.parsed.id.as_key()) else { return true };
        let is_known = self.slots.is_known(&id);
        if !is_known {
            self.missing.insert((id, None));
        }
        is_known
    }

    /// Applies an accepted discard: its record has no effect from here on, and records queued behind that are folded. A
    /// discard with a wrong id, or without all keys of the record, has no effect.
    ///
    /// # Errors
    /// [`Stop::Discarded`] if the record was folded here.
    pub(super) fn discard(&mut self, by: &Header, discard: &Discard, at: At) -> Result<(), Stop> {
        let Discard { offset, record, reason } = discard;
        let names = |key: &Key| by.expects.iter().any(|expect| expect.key == *key);
        let discarded =
            DiscardedRow { offset: *offset, by: at.offset, time_ms: at.time_ms, reason: reason.as_str().to_owned() };
        if let Some(parked) = self.parking.get(*offset) {
            if parked.id.0 == *record && parked.keys.iter().all(names) {
                self.parking.discard(*offset);
                self.unwritten.discarded.push(discarded);
                self.set_verdict(*offset, Verdict::Discarded);
                self.retry();
            }
        } else if self.parking.is_discarded(*offset) {
            // Known beforehand, or discarded twice: the rows keep the first.
            self.unwritten.discarded.push(discarded);
        } else if let Some(Some(folded)) = self.fetched.get(offset).filter(|_| *offset < at.offset) {
            let is_void = self.slots.peek(&folded.parsed.id.as_key()).is_some_and(|slot| slot.head.is_some());
            let has_effect = !matches!(folded.payload, Payload::Genesis);
            if folded.parsed.id.0 == *record && !is_void && has_effect && parkable(&folded.parsed).iter().all(names) {
                return Err(Stop::Discarded { journal: D::JOURNAL, offset: *offset, by: at.offset });
            }
        }
        Ok(())
    }
}

/// The keys that take no commands while a record is parked: all but its own idempotency key, unless it names no other. A
/// discard needs a key to name.
pub(super) fn parkable(header: &Header) -> Vec<Key> {
    let command = header.command.map(|command| command.key);
    let all = header.expects.iter().map(|expect| expect.key);
    let others: Vec<_> = all.clone().filter(|key| Some(*key) != command).collect();
    if others.is_empty() { all.collect() } else { others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_format_is_stable() {
        let discard =
            Discard { offset: 17, record: Uuid::from_u128(1), reason: Reason::new("it is \"wrong\"").unwrap() };
        let golden = r#"{"offset":17,"record":"00000000-0000-0000-0000-000000000001","reason":"it is \"wrong\""}"#;
        assert_eq!(serde_json::to_string(&discard).unwrap(), golden);
        assert_eq!(serde_json::from_str::<Discard>(golden).unwrap(), discard);
        let without_reason = golden.replace(r#"it is \"wrong\""#, " ");
        assert!(serde_json::from_str::<Discard>(&without_reason).is_err(), "the reason is not optional");
    }
}
