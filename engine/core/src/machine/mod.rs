//! The state machine at the heart of every service, without I/O, locks or clock.
//!
//! Records, commands, loaded rows and the time go in ([`Core::read`], [`Core::ask`], [`Core::provide`], ...). [`Core::run`]
//! turns them into appends, answers and keys to load. [`Core::take_changes`] returns the rows to write. Live traffic,
//! catch-up, rebuild, verification and simulation run this same code.
//!
//! The path of one command: [`Core::ask`] queues it. [`decide`](self) looks at the folded state plus our own records in
//! flight ([`flights`]). An acceptance becomes a record that names what it read. It is answered once the log has
//! acknowledged the record *and* the record was folded and [accepted](arbitration::accepts). If the record is void, the
//! command is decided again. A rejection is decided on folded state alone, which must include at least everything in the
//! journal when the command was asked.
//!
//! Records that can't be folded are [parked](parking) until a newer program folds them or an operator [discards](discard)
//! them.

mod arbitration;
mod changes;
mod commands;
mod decide;
mod discard;
mod flights;
mod fold;
mod parking;
mod past;
mod seen;
mod slots;
#[cfg(test)]
mod tests;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use uuid::Uuid;

pub use arbitration::accepts;
pub use changes::{
    Changes, Checkpoint, CopiedRow, Digest, DiscardedRow, EntityRow, Genesis, Happened, Head, Loaded, ParkedRow,
    RecordRow, SetAside, Verdict, Wanted, chain,
};
pub use discard::{CannotDiscard, DISCARD, Discard};
pub use past::Past;

use self::{
    commands::{Commands, Pending},
    flights::{Append, Flights},
    fold::Queued,
    parking::Parking,
    slots::{SlotId, Slots},
};
use crate::{
    decider::{At, Decider, Kind, Millis, Ref},
    header::{CommandStamp, Expect, Header, HeaderError, Origin},
    key::{Key, RecordId},
    known::Unknown,
    planted::Bug,
};

/// Identifies a command at this instance. Ascending.
pub type Ticket = u64;

/// How long to wait before a record with an unknown outcome is appended again, and before a command whose record was
/// refused is decided again. Without the pause, a log that refuses at once would be retried in a busy loop until the
/// deadline.
const APPEND_AGAIN_MS: Millis = 200;

/// A command with its metadata.
#[derive(Clone, Debug)]
pub struct Request<D: Decider> {
    pub command: D::Command,
    /// The hashed idempotency key and the fingerprint, if the caller sent a key.
    pub stamp: Option<CommandStamp>,
    /// The [target](Decider::target) must have one of these versions. `None` accepts any, even a target that does not
    /// exist.
    pub versions: Option<Versions>,
    pub origin: Origin,
    /// When the caller stops waiting.
    pub deadline: Millis,
}

/// Versions of an aggregate that a caller has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Any version, but the aggregate must exist.
    Any,
    OneOf(Vec<u64>),
}

impl Versions {
    /// Whether an aggregate with this version (`None` if it does not exist) matches.
    pub fn have(&self, version: Option<u64>) -> bool {
        match self {
            Self::Any => version.is_some(),
            Self::OneOf(versions) => version.is_some_and(|version| versions.contains(&version)),
        }
    }
}

/// A command's record in the journal.
#[derive(Clone, Debug)]
pub struct Accepted<D: Decider> {
    pub at: At,
    pub id: RecordId,
    pub event: Arc<D::Event>,
}

#[derive(Clone, Debug)]
pub enum Outcome<D: Decider> {
    /// Its record is in the log and won.
    Accepted(Accepted<D>),
    /// Its idempotency key was used before. The record at this offset answers it, if the fingerprints are equal.
    Repeated {
        /// That record's offset.
        offset: u64,
    },
    /// Rejected on state at least as new as the command. Nothing was written.
    Rejected(D::Rejection),
    /// Its target has another version than the caller requires, or does not exist. Nothing was written.
    OtherVersion(Option<u64>),
    /// It names a key with a parked record. Nothing was written, unless its idempotency key was used before: then the
    /// record that used it is parked.
    Parked,
    /// Its idempotency key was used before, by a record that an operator has since discarded.
    Discarded,
    /// Its record is larger than the log accepts. Nothing was written.
    TooLarge,
    /// The deadline passed while another command with the same idempotency key was in flight. Retry.
    KeyInUse,
    /// The deadline passed. Nothing was written.
    Expired,
    /// The deadline passed with an attempt in flight, which may or may not succeed. Retry with the same idempotency key.
    Unknown,
}

/// A record to append to the journal.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Pass it to [`Core::appended`].
    pub id: RecordId,
    /// The command that it answers. `None` for a genesis or a discard.
    pub ticket: Option<Ticket>,
    /// The first key that the record names.
    pub about: Key,
    pub header: Bytes,
    pub value: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Durable, at this offset.
    At(u64),
    /// Not in the log, and this attempt will never put it there.
    Refused,
    /// Like `Refused`, but a retry can't succeed: the log takes no record of this size.
    TooLarge,
    Unknown,
}

/// What the caller has to do after a step.
#[derive(Debug)]
pub struct Step<D: Decider> {
    /// Append these to the log, in this order.
    pub appends: Vec<Outgoing>,
    pub answers: Vec<(Ticket, Outcome<D>)>,
    /// Load these and [provide](Core::provide) them, then take the next step.
    pub missing: Vec<Wanted>,
    /// Fetch the journal's records at these offsets and [provide](Core::provide_records) them, then take the next step.
    pub records: Vec<u64>,
    /// A command waits for [`Core::ends`].
    pub wants_ends: bool,
}

/// Why a journal can't be read any further. Nothing may be skipped, so the service stops here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The record's header can't be decoded.
    #[error("{journal}@{offset}: {source}")]
    Header { journal: &'static str, offset: u64, source: HeaderError },
    /// The first record that is not void is no genesis of this service.
    #[error("{journal}@{offset} is not the beginning of a journal of {journal}")]
    NoGenesis { journal: &'static str, offset: u64 },
    /// An accepted discard of a record that was folded here, by a program that can read it, while another program could
    /// not. A fold can't be undone. Begin again at offset 0 with a core that [knows](SetAside::discarded) of the discard.
    #[error("{journal}@{by} discards {journal}@{offset}, which was folded: the rows have to be built anew without it")]
    Discarded {
        journal: &'static str,
        /// The discarded record.
        offset: u64,
        by: u64,
    },
    /// The journal began with another hash key, so e-mail addresses and idempotency keys would not be found.
    #[error("the journal {journal} was begun with another hash key (fingerprint {found}, configured {configured})")]
    OtherHashKey {
        journal: &'static str,
        /// The fingerprint in the journal.
        found: String,
        configured: String,
    },
}

/// Where the logs ended at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// One past the journal's last record.
    pub journal: u64,
    /// One past the last record of each partition with copied facts: (topic, partition, offset).
    pub copied: Vec<(String, u32, u64)>,
}

/// Counts of folded records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: u64,
    /// Records that lost and changed nothing.
    pub void: u64,
    /// Records that won and could not be folded.
    pub parked: u64,
    /// Records that were already known to be discarded.
    pub discarded: u64,
    /// The void records that other programs wrote.
    pub foreign: u64,
    /// The void records that were our own. Their commands were decided again.
    pub lost_races: u64,
}

impl Tally {
    /// The counts since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            void: self.void - before.void,
            parked: self.parked - before.parked,
            discarded: self.discarded - before.discarded,
            foreign: self.foreign - before.foreign,
            lost_races: self.lost_races - before.lost_races,
        }
    }
}

/// The kind of a journal's first record that is not foreign.
pub const GENESIS: &str = "genesis";

/// How far facts are copied once an event of [`Decider::COPIES`] is applied, and the row that the event updates, if any.
type Copied<D> = (CopiedRow, Option<(Ref, u64, <D as Decider>::Entity)>);

/// Facts copied from other services.
struct Copying<D: Decider> {
    queue: VecDeque<Copied<D>>,
    read: BTreeMap<(String, u32), CopiedRow>,
    is_changed: bool,
}

impl<D: Decider> Copying<D> {
    fn next(&self, topic: &str, part: u32) -> u64 {
        self.read.get(&(topic.to_owned(), part)).map_or(0, |row| row.next)
    }
}

/// The identity this instance writes with, and the events its program does not know.
struct Author {
    writer: Uuid,
    hash_key: String,
    mint: Box<dyn FnMut() -> Uuid + Send>,
    unknown: Unknown,
}

impl Author {
    /// The header of a new record that answers no command.
    fn header(&mut self, kind: &str, expects: Vec<Expect>, time_ms: Millis) -> Header {
        let (id, kind) = (RecordId((self.mint)()), kind.to_owned());
        Header { id, time_ms, writer: self.writer, kind, expects, command: None, origin: Origin::default() }
    }
}

/// The folded part of the journal.
struct Folded {
    genesis: Option<Genesis>,
    /// The first offset not folded. `digest` is the chain up to it.
    next: u64,
    digest: Digest,
    /// The time of the last record that is not foreign.
    time_ms: Millis,
    tally: Tally,
}

/// Records read from the journal and not folded yet.
struct Queue<D: Decider> {
    records: VecDeque<Queued<D>>,
    /// A reusable buffer for the slots of the records' keys.
    places: Vec<SlotId>,
}

/// The state machine of one service at one instance.
pub struct Core<D: Decider> {
    author: Author,
    folded: Folded,
    slots: Slots<D::Entity>,
    queue: Queue<D>,
    copying: Copying<D>,
    flights: Flights<D>,
    commands: Commands<D>,
    parking: Parking,
    /// Fetched records of the journal, by offset. `None` where the journal has no record.
    fetched: BTreeMap<u64, Option<Queued<D>>>,
    /// What was folded since the last [`Core::take_changes`], which collects the rest.
    unwritten: Changes<D>,
    missing: BTreeSet<(Key, Option<Kind>)>,
    step: Step<D>,
}

impl<D: Decider> Step<D> {
    fn empty() -> Self {
        let (appends, answers) = (Vec::new(), Vec::new());
        Self { appends, answers, missing: Vec::new(), records: Vec::new(), wants_ends: false }
    }
}

impl<D: Decider> Core<D> {
    /// Resumes from `checkpoint`. `mint` returns a new UUIDv7 each time. `n_slots_max` bounds the memory for keys that are
    /// not in use.
    pub fn new(
        checkpoint: Checkpoint,
        writer: Uuid,
        hash_key: String,
        mint: Box<dyn FnMut() -> Uuid + Send>,
        n_slots_max: usize,
    ) -> Self {
        let Checkpoint { next, digest, genesis, last, copied } = checkpoint;
        let time_ms = last.map_or(0, |(record, _)| record.time_ms);
        let from_start = next == 0 && copied.is_empty();
        let copied = copied.into_iter().map(|row| ((row.topic.clone(), row.part), row)).collect();
        Self {
            author: Author { writer, hash_key, mint, unknown: &[] },
            folded: Folded { genesis, next, digest, time_ms, tally: Tally::default() },
            slots: Slots::new(from_start, n_slots_max),
            queue: Queue { records: VecDeque::new(), places: Vec::new() },
            copying: Copying { queue: VecDeque::new(), read: copied, is_changed: false },
            flights: Flights::new(),
            commands: Commands::none(),
            parking: Parking::default(),
            fetched: BTreeMap::new(),
            unwritten: Changes::nothing(0),
            missing: BTreeSet::new(),
            step: Step::empty(),
        }
    }

    /// Makes the core behave like an older program, which neither reads nor writes events of these kinds.
    #[must_use]
    pub fn without(mut self, unknown: Unknown) -> Self {
        self.author.unknown = unknown;
        self
    }

    /// Reserves memory for the keys of about `n_records` records to fold.
    pub fn expect(&mut self, n_records: u64) {
        self.slots.expect(usize::try_from(n_records).unwrap_or(usize::MAX));
    }

    /// The first offset that is not folded.
    pub fn next(&self) -> u64 {
        self.folded.next
    }

    /// The chain over everything below [`Core::next`].
    pub fn digest(&self) -> &Digest {
        &self.folded.digest
    }

    /// The journal's identity, once its first record is folded.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.folded.genesis.as_ref()
    }

    /// Counts of what was folded since [`Core::new`].
    pub fn tally(&self) -> Tally {
        self.folded.tally
    }

    /// The number of commands not answered yet.
    pub fn n_pending(&self) -> usize {
        self.commands.pending.len()
    }

    /// The number of records read but not folded yet.
    pub fn n_queued(&self) -> usize {
        self.queue.records.len()
    }

    /// The number of our records without a verdict.
    pub fn n_in_flight(&self) -> usize {
        self.flights.len()
    }

    pub fn ask(&mut self, request: impl Into<Arc<Request<D>>>, now: Millis) -> Ticket {
        self.tell_time(now);
        self.commands.ask(request.into(), now)
    }

    /// The last ticket that was issued.
    pub fn last_ticket(&self) -> Ticket {
        self.commands.ticket
    }

    /// Sets where the logs ended at some moment after the command with ticket `up_to` was asked.
    pub fn ends(&mut self, up_to: Ticket, ends: Ends) {
        self.commands.learn_ends(up_to, ends);
    }

    /// Reports the outcome of an append.
    pub fn appended(&mut self, id: RecordId, result: Appended, now: Millis) {
        self.tell_time(now);
        let is_unknown = result == Appended::Unknown;
        match if is_unknown && Bug::UnknownIsRefused.is_loose() { Appended::Refused } else { result } {
            Appended::At(offset) => self.acknowledged(id, offset),
            Appended::Refused | Appended::TooLarge
                if self.flights.get(id).is_some_and(|it| !it.in_doubt || Bug::ForgetDoubt.is_loose()) =>
            {
                match self.flights.bury(id) {
                    Some(flight) if result == Appended::TooLarge => {
                        self.commands.stirred = true;
                        self.answer(flight.ticket, Outcome::TooLarge);
                    }
                    Some(flight) => self.commands.wait_again(flight.ticket, now + APPEND_AGAIN_MS),
                    None => {}
                }
            }
            Appended::Refused | Appended::TooLarge | Appended::Unknown => {
                if let Some(flight) = self.flights.get_mut(id) {
                    flight.in_doubt = true;
                    flight.append = Append::Unknown { again_at: now + APPEND_AGAIN_MS };
                } else if let Some((ticket, accepted)) = self.flights.unacknowledged.remove(&id) {
                    // The record was folded already, so it is in the log whatever this append returned.
                    self.answer(ticket, Outcome::Accepted(accepted));
                }
            }
        }
    }

    fn acknowledged(&mut self, id: RecordId, offset: u64) {
        if let Some((ticket, accepted)) = self.flights.unacknowledged.remove(&id) {
            return self.answer(ticket, Outcome::Accepted(accepted));
        }
        let tail = self.tail();
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.append = Append::Acknowledged;
        if Bug::AnswerBeforeVerdict.is_loose() {
            let (ticket, event) = (flight.ticket, Arc::clone(&flight.event));
            let at = At { offset, time_ms: flight.header.time_ms };
            return self.answer(ticket, Outcome::Accepted(Accepted { at, id, event }));
        }
        if offset == tail {
            // It directly follows what was read, so there is no need to wait until the log returns it.
            let (header, value) = (flight.header_bytes.clone(), flight.value.clone());
            let (parsed, event) = (flight.header.clone(), Arc::clone(&flight.event));
            self.queue.records.push_back(Queued::new(offset, header, value, parsed, Some(event), self.author.unknown));
        }
    }

    /// Queues a public event of [`Decider::COPIES`], read at this offset. `print` distinguishes its record from another one
    /// at the same place.
    pub fn copy(&mut self, topic: &str, part: u32, (offset, print): (u64, u64), event: &D::Heard) {
        let read = CopiedRow { topic: topic.to_owned(), part, next: offset + 1, print };
        self.copying.queue.push_back((read, D::copy(event)));
    }

    /// The offset at which to resume reading a partition with copied facts.
    pub fn copied_next(&self, topic: &str, part: u32) -> u64 {
        self.copying.next(topic, part)
    }

    pub fn provide(&mut self, loaded: impl IntoIterator<Item = Loaded<D::Entity>>) {
        for loaded in loaded {
            self.slots.provide(loaded);
        }
        self.commands.stirred = true;
    }

    /// Folds, decides and answers everything that can be.
    ///
    /// # Errors
    /// [`Stop`] if the journal can't be read any further by this program.
    pub fn run(&mut self, now: Millis) -> Result<Step<D>, Stop> {
        self.tell_time(now);
        loop {
            self.go_on_passing()?;
            self.fold_queue()?;
            // Folding a discard may have started a pass.
            if self.parking.pass.is_none() || self.is_wanting() {
                break;
            }
        }
        self.fold_copies();
        self.append_again(now);
        // Before deciding, so that no command is started and expired in the same step.
        self.expire(now);
        self.decide_waiting(now);
        let missing = std::mem::take(&mut self.missing);
        self.step.missing = missing.into_iter().map(|(key, kind)| Wanted { key, kind }).collect();
        Ok(std::mem::replace(&mut self.step, Step::empty()))
    }

    /// Whether rows or records must be provided before more can be folded.
    fn is_wanting(&self) -> bool {
        !self.missing.is_empty() || !self.step.records.is_empty()
    }

    /// The rows that changed since the last take, with the change set's number for [`Core::written`]. `None` if nothing
    /// changed, or during a pass over parked records: rows never show half a pass.
    pub fn take_changes(&mut self) -> Option<(u64, Changes<D>)> {
        if self.parking.pass.is_some() || !self.is_changed() {
            return None;
        }
        let (change_set, heads, entities) = self.slots.take_changed();
        let (parked, unparked) = self.parking.take_changed();
        self.copying.is_changed = false;
        let changes = Changes {
            next: self.folded.next,
            genesis: self.folded.genesis.clone(),
            heads,
            entities,
            verdicts: std::mem::take(&mut self.parking.verdicts).into_iter().collect(),
            parked,
            unparked,
            copied: self.copying.read.values().cloned().collect(),
            ..std::mem::replace(&mut self.unwritten, Changes::nothing(0))
        };
        Some((change_set, changes))
    }

    /// The number of the change set being collected.
    pub fn change_set(&self) -> u64 {
        self.slots.change_set()
    }

    /// Whether there is anything to write.
    pub fn is_changed(&self) -> bool {
        // Heads and discards never change without one of these.
        !self.unwritten.records.is_empty() || self.copying.is_changed || self.parking.is_changed()
    }

    /// Marks a change set and all before it as written. Their keys can be loaded again, so they may be evicted.
    pub fn written(&mut self, change_set: u64) {
        self.slots.written(change_set);
    }

    /// The number of folded records not taken yet. The caller takes the changes early if it grows large.
    pub fn n_unwritten(&self) -> usize {
        self.unwritten.records.len()
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome<D>) {
        // An expired command has been answered already. Its record is settled all the same.
        if self.commands.remove(ticket) {
            self.step.answers.push((ticket, outcome));
        }
    }

    fn append_again(&mut self, now: Millis) {
        for id in self.flights.due(now) {
            if let Some(flight) = self.flights.get_mut(id) {
                flight.append = Append::Sent;
                self.step.appends.push(flight.outgoing());
            }
        }
    }

    fn expire(&mut self, now: Millis) {
        if now < self.commands.expire_at {
            return;
        }
        let deadline = |pending: &Pending<D>| pending.deadline;
        let late = self.commands.pending.iter().filter(|(_, pending)| deadline(pending) <= now);
        let late: Vec<_> = late.map(|(ticket, pending)| (*ticket, pending.flight, pending.request.stamp)).collect();
        for (ticket, flight, stamp) in late {
            let is_in_use = || stamp.is_some_and(|stamp| self.flights.ahead(&stamp.key).is_some());
            let outcome = match flight {
                Some(_) if Bug::ExpiredWhateverFlies.is_loose() => Outcome::Expired,
                Some(_) => Outcome::Unknown,
                None if is_in_use() => Outcome::KeyInUse,
                None => Outcome::Expired,
            };
            self.answer(ticket, outcome);
        }
        self.commands.expire_at = self.commands.pending.values().map(deadline).min().unwrap_or(Millis::MAX);
    }
}
