//! Records that could not be folded, kept in memory, and the pass that folds them later.
//!
//! All parked records are held, even those whose keys nobody asks for: normally there are none, and a discard or a newer
//! program must find them in order. Each takes some hundred bytes.
//!
//! A pass visits them in journal order. It folds a record unless an earlier one that stays parked names one of its keys.
//! This keeps the order per key, so the rows equal those of a replay that never parked the record.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::BuildHasherDefault,
};

use super::{
    Core, ParkedRow, SetAside, Stop, Verdict,
    fold::{Payload, Places, Queued, find_places},
    slots::{KeyHasher, KeyMap},
};
use crate::{
    decider::{At, Decider},
    header::Header,
    key::{Key, RecordId},
    planted::Bug,
};

/// The reason of a record that could be folded but for an earlier one.
pub(super) const BEHIND: &str = "it stands behind a record that is parked";

/// The most records fetched in one go.
const N_FETCHED_MAX: usize = 256;

pub(super) struct Parked {
    pub id: RecordId,
    /// The first is the one the record is about.
    pub keys: Vec<Key>,
    reason: String,
}

/// All records that are parked or discarded.
#[derive(Default)]
pub(super) struct Parking {
    records: BTreeMap<u64, Parked>,
    /// How many parked records name a key.
    keys: KeyMap<u32>,
    discarded: BTreeSet<u64>,
    /// Records whose current state is not in the rows yet.
    changed: BTreeSet<u64>,
    /// New verdicts of records from earlier change sets.
    pub verdicts: BTreeMap<u64, Verdict>,
    /// The pass under way. Nothing else is folded meanwhile.
    pub pass: Option<Pass>,
}

impl Parking {
    pub fn get(&self, offset: u64) -> Option<&Parked> {
        self.records.get(&offset)
    }

    /// Whether a parked record names the key.
    pub fn holds(&self, key: &Key) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(key)
    }

    /// Whether an operator discarded the record. The discard may also be later in the journal, in a part known beforehand.
    pub fn is_discarded(&self, offset: u64) -> bool {
        self.discarded.contains(&offset)
    }

    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    pub fn park(&mut self, offset: u64, id: RecordId, keys: Vec<Key>, reason: String) {
        self.insert(offset, Parked { id, keys, reason });
        self.changed.insert(offset);
    }

    pub fn discard(&mut self, offset: u64) {
        self.leave(offset);
        self.discarded.insert(offset);
    }

    fn insert(&mut self, offset: u64, parked: Parked) {
        for key in &parked.keys {
            *self.keys.entry(*key).or_default() += 1;
        }
        self.records.insert(offset, parked);
    }

    fn leave(&mut self, offset: u64) {
        let Some(parked) = self.records.remove(&offset) else { return };
        for key in parked.keys {
            if let Some(n) = self.keys.get_mut(&key) {
                *n -= 1;
                if *n == 0 {
                    self.keys.remove(&key);
                }
            }
        }
        self.changed.insert(offset);
    }

    fn stay(&mut self, offset: u64, reason: &str) {
        let Some(parked) = self.records.get_mut(&offset) else { return };
        if parked.reason != reason {
            reason.clone_into(&mut parked.reason);
            self.changed.insert(offset);
        }
        if let Some(pass) = &mut self.pass {
            pass.blocked.extend(&parked.keys);
            pass.next = offset + 1;
        }
    }

    fn recall(&mut self, SetAside { parked, discarded }: SetAside) {
        let mut records: BTreeMap<u64, Parked> = BTreeMap::new();
        for (ParkedRow { key, offset, reason }, id) in parked {
            records.entry(offset).or_insert(Parked { id, keys: Vec::new(), reason }).keys.push(key);
        }
        for (offset, parked) in records {
            self.insert(offset, parked);
        }
        self.discarded.extend(discarded);
    }

    /// Takes what the rows do not contain yet: the rows of parked records, and the records no longer parked.
    pub fn take_changed(&mut self) -> (Vec<ParkedRow>, Vec<u64>) {
        let (mut rows, mut unparked) = (Vec::new(), Vec::new());
        for offset in std::mem::take(&mut self.changed) {
            let Some(Parked { keys, reason, .. }) = self.records.get(&offset) else {
                unparked.push(offset);
                continue;
            };
            rows.extend(keys.iter().map(|&key| ParkedRow { key, offset, reason: reason.clone() }));
        }
        (rows, unparked)
    }
}

/// A pass over the parked records.
#[derive(Default)]
pub(super) struct Pass {
    /// Every record still parked below this offset stays parked.
    next: u64,
    /// The keys of the records that have stayed parked so far.
    blocked: HashSet<Key, BuildHasherDefault<KeyHasher>>,
}

impl Pass {
    fn blocks(&self, parked: &Parked) -> bool {
        parked.keys.iter().any(|key| self.blocked.contains(key)) && !Bug::FoldOutOfOrder.is_loose()
    }
}

impl<D: Decider> Core<D> {
    /// Restores the records that were not folded. Call it before anything is read.
    pub fn recall(&mut self, aside: SetAside) {
        self.parking.recall(aside);
    }

    /// The records that an operator discarded.
    pub fn discarded(&self) -> impl Iterator<Item = u64> {
        self.parking.discarded.iter().copied()
    }

    pub fn n_parked(&self) -> usize {
        self.parking.records.len()
    }

    /// Starts a pass that folds parked records as far as possible, for a program that can read more than the one that
    /// parked them. The next steps run it before they fold anything else.
    pub fn retry(&mut self) {
        if !self.parking.records.is_empty() {
            self.parking.pass = Some(Pass::default());
        }
    }

    /// Provides records that [`Step::records`](super::Step::records) requested, each as (header, value). `None` for an
    /// offset without a record.
    pub fn provide_records(&mut self, records: impl IntoIterator<Item = (u64, Option<(bytes::Bytes, bytes::Bytes)>)>) {
        for (offset, record) in records {
            let parsed = record.and_then(|(header, value)| {
                let parsed = Header::decode(&header).ok()?;
                Some(Queued::new(offset, header, value, parsed, None, self.author.unknown))
            });
            self.fetched.insert(offset, parsed);
        }
    }

    /// Continues the pass as far as the records and rows it needs are provided.
    pub(super) fn go_on_passing(&mut self) -> Result<(), Stop> {
        while let Some(pass) = &self.parking.pass {
            let Some((&offset, parked)) = self.parking.records.range(pass.next..).next() else {
                self.parking.pass = None;
                self.commands.stirred = true;
                break;
            };
            if pass.blocks(parked) {
                self.parking.stay(offset, BEHIND);
            } else if self.fetched.contains_key(&offset) {
                if !self.are_fetched_ready() || !self.knows_what_it_discards(offset) {
                    break;
                }
                match self.fetched.remove(&offset).flatten() {
                    Some(queued) => self.fold_parked(queued)?,
                    None => self.parking.stay(offset, "the journal does not have it any more"),
                }
            } else {
                self.fetch_parked();
                break;
            }
        }
        Ok(())
    }

    /// Requests many at a time, since each round trip to the log takes time.
    fn fetch_parked(&mut self) {
        let Some(pass) = &self.parking.pass else { return };
        let is_wanted =
            |(offset, parked): &(&u64, &Parked)| !pass.blocks(parked) && !self.fetched.contains_key(*offset);
        let wanted = self.parking.records.range(pass.next..).filter(is_wanted).map(|(offset, _)| *offset);
        self.step.records.extend(wanted.take(N_FETCHED_MAX));
    }

    /// Whether the keys of all fetched records are in memory. Requests those that are not.
    fn are_fetched_ready(&mut self) -> bool {
        let (mut places, mut missing) = (Vec::new(), Vec::new());
        for queued in self.fetched.values().flatten() {
            find_places(&mut self.slots, queued, &mut places, &mut missing);
        }
        let are_ready = missing.is_empty();
        self.missing.extend(missing);
        are_ready
    }

    fn knows_what_it_discards(&mut self, offset: u64) -> bool {
        match self.fetched.get(&offset) {
            Some(Some(Queued { payload: Payload::Discard(discard), .. })) => {
                let discarded = discard.offset;
                self.knows_discarded(offset, discarded)
            }
            Some(Some(_) | None) | None => true,
        }
    }

    fn fold_parked(&mut self, queued: Queued<D>) -> Result<(), Stop> {
        let (mut places, mut missing) = (Vec::new(), Vec::new());
        find_places(&mut self.slots, &queued, &mut places, &mut missing);
        let places = Places::of(&queued, &places);
        let Queued { offset, parsed, payload, touched, .. } = queued;
        let at = At { offset, time_ms: parsed.time_ms };
        let outcome = match &payload {
            Payload::Event(event) => self.fold_event(event, (touched, places), at),
            Payload::Unreadable(reason) => Err(reason.clone()),
            // Neither a genesis nor a foreign record is ever parked.
            Payload::Discard(_) | Payload::Foreign | Payload::Genesis => Ok(()),
        };
        if let Err(reason) = outcome {
            self.parking.stay(offset, &reason);
            return Ok(());
        }
        self.parking.leave(offset);
        self.set_verdict(offset, Verdict::Accepted);
        match payload {
            // It may unblock records that the pass has already visited.
            Payload::Discard(discard) => self.discard(&parsed, &discard, at),
            Payload::Event(_) | Payload::Foreign | Payload::Genesis | Payload::Unreadable(_) => Ok(()),
        }
    }

    /// Changes the verdict of a record folded earlier.
    pub(super) fn set_verdict(&mut self, offset: u64, verdict: Verdict) {
        match self.unwritten.records.binary_search_by_key(&offset, |record| record.offset) {
            Ok(at) => self.unwritten.records[at].verdict = verdict,
            Err(_) => drop(self.parking.verdicts.insert(offset, verdict)),
        }
    }
}
