//! The state machine at the heart of every service, without I/O, locks or clock.
//!
//! Records, commands, loaded rows and the time go in ([`Core::read`], [`Core::ask`], [`Core::provide`], ...); [`Core::run`]
//! turns them into appends, answers and keys to load; [`Core::take_changes`] gives the rows to write. Live traffic, catch-up,
//! rebuild, verification and simulation drive this same code.
//!
//! How one command goes through it: [`Core::ask`] queues it; [`decide`](self) looks at the folded state plus our own records
//! in flight ([`flights`]). A yes becomes a record that names what it saw, and is answered when the log has acknowledged it
//! *and* it was folded and [accepted](arbitration::accepts). If it is void, the command is decided again. A no is decided on
//! folded state alone, read at least to where the journal ended when the command was asked.
//!
//! What can't be folded is [parked](parking), until a better program folds it or an operator [discards](discard) it.

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

/// A command's number at this instance, ascending.
pub type Ticket = u64;

/// How long a record with an unknown outcome rests before it is appended again, and a command whose record was refused before
/// it is decided again: what the log refuses at once, it would refuse again and again until the deadline.
const APPEND_AGAIN_MS: Millis = 200;

/// A command and what comes with it.
#[derive(Clone, Debug)]
pub struct Request<D: Decider> {
    pub command: D::Command,
    /// Its idempotency key, if it has one.
    pub stamp: Option<CommandStamp>,
    /// The versions of which its [target](Decider::target) must have one; whichever it has, if none is given.
    pub versions: Option<Versions>,
    /// Why it is asked.
    pub origin: Origin,
    /// When the caller stops waiting.
    pub deadline: Millis,
}

/// Versions of an aggregate that a caller has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Any: it must only exist.
    Any,
    OneOf(Vec<u64>),
}

impl Versions {
    /// Whether an aggregate of this version, or one that does not exist, is as the caller has seen it.
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

/// What became of a command.
#[derive(Clone, Debug)]
pub enum Outcome<D: Decider> {
    /// It happened, and stands in the log.
    Accepted(Accepted<D>),
    /// Its idempotency key was used before: the record at this offset answers it, if its fingerprint is the same.
    Repeated {
        /// Where that record stands.
        offset: u64,
    },
    /// It was refused, on state as new as the command. Nothing was written.
    Rejected(D::Rejection),
    /// What it is about has another version than its caller has seen, or does not exist. Nothing was written.
    OtherVersion(Option<u64>),
    /// It names something whose history can't be read until it is repaired. Nothing was written, unless its idempotency key was
    /// used before: then the record that did so waits for the repair.
    Parked,
    /// Its idempotency key was used before, by a record that an operator has discarded since.
    Discarded,
    /// Its record would be larger than the log takes. Nothing was written.
    TooLarge,
    /// The time is up, and another command with the same idempotency key is still under way. Ask again.
    KeyInUse,
    /// The time is up. Nothing was written.
    Expired,
    /// The time is up, and an attempt is under way: it may or may not happen. Ask again with the same idempotency key.
    Unknown,
}

/// A record to append to the journal.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its id, for [`Core::appended`].
    pub id: RecordId,
    /// The command that it is an attempt of; none for the first record of a journal.
    pub ticket: Option<Ticket>,
    /// What it is about.
    pub about: Key,
    pub header: Bytes,
    pub value: Bytes,
}

/// What the log said of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// Durable, at this offset.
    At(u64),
    /// Not in the log, and never will be because of this attempt.
    Refused,
    /// The same, and no other attempt would do better: the log takes no record of this size.
    TooLarge,
    Unknown,
}

/// What is to be done after a step.
#[derive(Debug)]
pub struct Step<D: Decider> {
    /// To be handed to the log, in this order.
    pub appends: Vec<Outgoing>,
    pub answers: Vec<(Ticket, Outcome<D>)>,
    /// To be loaded and [provided](Core::provide); then the next step goes on.
    pub missing: Vec<Wanted>,
    /// Records of the journal to be fetched and [provided](Core::provide_records); then the next step goes on.
    pub records: Vec<u64>,
    /// Someone waits for [`Core::ends`].
    pub wants_ends: bool,
}

/// Why a journal can't be read on. Nothing may be skipped, so the service stops here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A record that this program can't read the header of.
    #[error("{journal}@{offset}: {source}")]
    Header { journal: &'static str, offset: u64, source: HeaderError },
    /// The journal does not begin as one of this service's does.
    #[error("{journal}@{offset} is not the beginning of a journal of {journal}")]
    NoGenesis { journal: &'static str, offset: u64 },
    /// An accepted discard of a record that was folded: by a program that can read it, while another one could not. What was
    /// folded can't be taken back. Begin again at offset 0 with a core that [knows](SetAside::discarded) of it.
    #[error("{journal}@{by} discards {journal}@{offset}, which was folded: the rows have to be built anew without it")]
    Discarded {
        journal: &'static str,
        /// The record that has no effect.
        offset: u64,
        by: u64,
    },
    /// Another hash key was in force when the journal began: e-mail addresses and idempotency keys would not be found.
    #[error("the journal {journal} was begun with another hash key (fingerprint {found}, configured {configured})")]
    OtherHashKey {
        journal: &'static str,
        /// As the journal says.
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

/// What was folded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: u64,
    /// Records that lost, and changed nothing.
    pub void: u64,
    /// Records that won and could not be folded.
    pub parked: u64,
    /// Records that are known to be discarded.
    pub discarded: u64,
    /// Of the void ones those of our own commands, which were decided again.
    pub lost_races: u64,
}

impl Tally {
    /// What was folded since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            void: self.void - before.void,
            parked: self.parked - before.parked,
            discarded: self.discarded - before.discarded,
            lost_races: self.lost_races - before.lost_races,
        }
    }
}

/// The kind of a journal's first record.
pub const GENESIS: &str = "genesis";

/// How far facts are copied with a public event of [`Decider::COPIES`], and the row it stands for.
type Copied<D> = (CopiedRow, Option<(Ref, u64, <D as Decider>::Entity)>);

/// Facts of other services.
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

/// Who writes records, and which events its program does not know.
struct Author {
    writer: Uuid,
    hash_key: String,
    mint: Box<dyn FnMut() -> Uuid + Send>,
    unknown: Unknown,
}

impl Author {
    /// The header of a new record, which no command asks for.
    fn header(&mut self, kind: &str, expects: Vec<Expect>, time_ms: Millis) -> Header {
        let (id, kind) = (RecordId((self.mint)()), kind.to_owned());
        Header { id, time_ms, writer: self.writer, kind, expects, command: None, origin: Origin::default() }
    }
}

/// What was folded of the journal.
struct Folded {
    genesis: Option<Genesis>,
    /// The first offset not folded, and the chain up to it.
    next: u64,
    digest: Digest,
    tally: Tally,
}

/// What was read of the journal and is not folded yet.
struct Queue<D: Decider> {
    records: VecDeque<Queued<D>>,
    /// Where the keys of the records are while these are folded; kept for its memory.
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
    /// Records of the journal that were asked for; none where there is no such record.
    fetched: BTreeMap<u64, Option<Queued<D>>>,
    /// What was folded since the last changes were taken; the rest is gathered when they are.
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
    /// Go on from `checkpoint`. `mint` gives a new UUIDv7 each time; `n_slots_max` bounds the memory for keys that are not
    /// in use.
    pub fn new(
        checkpoint: Checkpoint,
        writer: Uuid,
        hash_key: String,
        mint: Box<dyn FnMut() -> Uuid + Send>,
        n_slots_max: usize,
    ) -> Self {
        let Checkpoint { next, digest, genesis, last: _, copied } = checkpoint;
        let from_start = next == 0 && copied.is_empty();
        let copied = copied.into_iter().map(|row| ((row.topic.clone(), row.part), row)).collect();
        Self {
            author: Author { writer, hash_key, mint, unknown: &[] },
            folded: Folded { genesis, next, digest, tally: Tally::default() },
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

    /// The same of an older program, which neither reads nor writes events of these kinds.
    #[must_use]
    pub fn without(mut self, unknown: Unknown) -> Self {
        self.author.unknown = unknown;
        self
    }

    /// About so many records are to be folded: room is made for the keys that they name.
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

    /// Who the journal is, once its first record is folded.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.folded.genesis.as_ref()
    }

    /// What was folded since [`Core::new`].
    pub fn tally(&self) -> Tally {
        self.folded.tally
    }

    /// Commands that are not answered yet.
    pub fn n_pending(&self) -> usize {
        self.commands.pending.len()
    }

    /// Records that are read but not folded yet.
    pub fn n_queued(&self) -> usize {
        self.queue.records.len()
    }

    /// Records of ours without a verdict.
    pub fn n_in_flight(&self) -> usize {
        self.flights.len()
    }

    /// A command is asked.
    pub fn ask(&mut self, request: impl Into<Arc<Request<D>>>, now: Millis) -> Ticket {
        self.tell_time(now);
        self.commands.ask(request.into(), now)
    }

    /// Every command asked so far has a ticket up to this one.
    pub fn last_ticket(&self) -> Ticket {
        self.commands.ticket
    }

    /// The logs ended there, at some moment after the command with ticket `up_to` was asked.
    pub fn ends(&mut self, up_to: Ticket, ends: Ends) {
        self.commands.learn_ends(up_to, ends);
    }

    /// What the log said of an append.
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
                    // As when it is read back after this: the log has it.
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
            // It stands right behind what was read: no need to wait until the log brings it back.
            let (header, value) = (flight.header_bytes.clone(), flight.value.clone());
            let (parsed, event) = (flight.header.clone(), Arc::clone(&flight.event));
            self.queue.records.push_back(Queued::new(offset, header, value, parsed, Some(event), self.author.unknown));
        }
    }

    /// A public event of [`Decider::COPIES`], read from this place, with what tells its record from another one there.
    pub fn copy(&mut self, topic: &str, part: u32, (offset, print): (u64, u64), event: &D::Heard) {
        let read = CopiedRow { topic: topic.to_owned(), part, next: offset + 1, print };
        self.copying.queue.push_back((read, D::copy(event)));
    }

    /// Where to go on reading a partition with copied facts.
    pub fn copied_next(&self, topic: &str, part: u32) -> u64 {
        self.copying.next(topic, part)
    }

    pub fn provide(&mut self, loaded: impl IntoIterator<Item = Loaded<D::Entity>>) {
        for loaded in loaded {
            self.slots.provide(loaded);
        }
        self.commands.stirred = true;
    }

    /// Fold, decide and answer whatever can be.
    ///
    /// # Errors
    /// [`Stop`]: the journal can't be read on, now or ever with this program.
    pub fn run(&mut self, now: Millis) -> Result<Step<D>, Stop> {
        self.tell_time(now);
        loop {
            self.go_on_passing()?;
            self.fold_queue()?;
            // A discard begins a pass.
            if self.parking.pass.is_none() || self.is_wanting() {
                break;
            }
        }
        self.fold_copies();
        self.append_again(now);
        // First, so that nothing is begun for a caller who is told in the same step that the time is up.
        self.expire(now);
        self.decide_waiting(now);
        let missing = std::mem::take(&mut self.missing);
        self.step.missing = missing.into_iter().map(|(key, kind)| Wanted { key, kind }).collect();
        Ok(std::mem::replace(&mut self.step, Step::empty()))
    }

    /// Whether anything has to be loaded or fetched before more can be folded.
    fn is_wanting(&self) -> bool {
        !self.missing.is_empty() || !self.step.records.is_empty()
    }

    /// The rows that changed since the last take, with the number of the change set for [`Core::written`]. None while what is
    /// parked is gone through: rows never show half of that.
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

    /// The number of the change set that is gathered now.
    pub fn change_set(&self) -> u64 {
        self.slots.change_set()
    }

    /// Whether there is anything to write.
    pub fn is_changed(&self) -> bool {
        // Keys and discards change only by one of these.
        !self.unwritten.records.is_empty() || self.copying.is_changed || self.parking.is_changed()
    }

    /// A change set and all before it are written: they can be loaded again, and may be forgotten.
    pub fn written(&mut self, change_set: u64) {
        self.slots.written(change_set);
    }

    /// Whether there is so much to write that it should be taken now.
    pub fn n_unwritten(&self) -> usize {
        self.unwritten.records.len()
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome<D>) {
        // A command whose time was up has been answered already; its record is settled all the same.
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
