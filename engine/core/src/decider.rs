//! The core's view of a service: pure functions over its aggregates.

use std::{cell::RefCell, error::Error, fmt::Debug};

use serde::{Serialize, de::DeserializeOwned};

use crate::{key::Key, public::PublicEvent};

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// A kind of aggregate, named like its table.
pub type Kind = &'static str;

/// One aggregate of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref {
    pub kind: Kind,
    /// Unique in the service, across all kinds. A record names keys, not kinds, so arbitration would treat two aggregates
    /// with the same key as one. At most one kind of a service uses bare ids as keys; the others use [`Key::named`].
    pub key: Key,
    /// The id was minted for the command that names it. No record can name it yet, so it need not be loaded.
    pub minted: bool,
}

impl Ref {
    /// An aggregate that may exist.
    pub const fn new(kind: Kind, key: Key) -> Self {
        Self { kind, key, minted: false }
    }

    /// An aggregate that can't exist yet.
    pub const fn minted(kind: Kind, key: Key) -> Self {
        Self { kind, key, minted: true }
    }
}

/// Position and time of an event in its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub offset: u64,
    /// When the event was decided, by the writer's clock. Informational: no decision depends on it.
    pub time_ms: Millis,
}

/// The aggregates that a decision can read.
///
/// Reading one that is not in memory returns `None` and records it as missing. The core loads it and calls
/// [`Decider::decide`] again, so a decision need not declare what it reads. Read everything before returning the first
/// rejection, so that all of it is loaded in one go.
pub struct View<'a, E> {
    lookup: &'a dyn Fn(&Ref) -> Lookup<'a, E>,
    missing: RefCell<Vec<Ref>>,
}

/// The result of looking up an aggregate.
pub enum Lookup<'a, E> {
    Found(&'a E),
    /// It does not exist.
    Absent,
    /// It has to be loaded first.
    NotLoaded,
}

impl<'a, E> View<'a, E> {
    /// Creates a view that reads through `lookup`.
    pub fn new(lookup: &'a dyn Fn(&Ref) -> Lookup<'a, E>) -> Self {
        Self { lookup, missing: RefCell::default() }
    }

    /// Returns the aggregate's state, if it exists.
    pub fn get(&self, aggregate: &Ref) -> Option<&'a E> {
        match (self.lookup)(aggregate) {
            Lookup::Found(entity) => Some(entity),
            Lookup::Absent => None,
            Lookup::NotLoaded if aggregate.minted => None,
            Lookup::NotLoaded => {
                self.missing.borrow_mut().push(*aggregate);
                None
            }
        }
    }

    /// Returns the aggregates that were read but are not loaded. Unless this is empty, discard the decision.
    pub fn into_missing(self) -> Vec<Ref> {
        self.missing.into_inner()
    }
}

/// A service: its decisions, its history, what it publishes, and how it reacts to public events. All functions are pure.
/// `decide` may reject a command; history can't be rejected.
pub trait Decider: Clone + Send + Sync + Sized + 'static {
    /// The journal's name, which is also the service's.
    const JOURNAL: &'static str;
    /// The public topics whose events this service answers with commands of its own.
    const REACTS_TO: &'static [&'static str] = &[];
    /// The public topics from which this service copies facts that its decisions use. Each row keeps the highest version.
    const COPIES: &'static [&'static str] = &[];

    type Command: Clone + Debug + Send + Sync + 'static;
    /// Its JSON is the stored format, frozen by tests.
    type Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The state of one aggregate, an enum over the kinds. Its JSON is the row's document.
    type Entity: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Why a command was rejected, as data the caller can act on.
    type Rejection: Clone + PartialEq + Error + Send + Sync + 'static;
    /// The public events of this service, declared with [`public_events!`](crate::public_events).
    type Published: PublicEvent;
    /// The public events this service consumes: those of one service, of [several](crate::heard), or
    /// [none](crate::public::Nothing).
    type Heard: PublicEvent;

    /// Returns the one event to append if `command` is accepted. A command that changes nothing also has an event ("already
    /// done", or for a reaction "declined, because"), since the log and not this instance has the last word on it.
    fn decide(
        command: &Self::Command,
        view: &View<'_, Self::Entity>,
        now: Millis,
    ) -> Result<Self::Event, Self::Rejection>;

    /// The existing aggregate that `command` is about, if any. The caller may require it to have a certain version.
    fn target(command: &Self::Command) -> Option<Ref>;

    /// The event's name in the journal, such as `order_placed`.
    fn kind(event: &Self::Event) -> &'static str;

    /// The aggregates that `event` changes and the unique values it claims or frees, without duplicates. The record is
    /// about the first. They must include everything in this journal that `decide` read in order to accept.
    fn touches(event: &Self::Event) -> Vec<Ref>;

    /// The state of `touches(event)[which]` after `event`. Must not fail: the event has already happened.
    fn evolve(entity: Option<Self::Entity>, which: usize, event: &Self::Event, at: &At) -> Self::Entity;

    /// Whether callers see `entity`. A hidden entity, kept only to count records, does not exist to them or to their
    /// `If-Match`.
    fn is_shown(_entity: &Self::Entity) -> bool {
        true
    }

    /// Whether the state of `touches(event)[which]` after `event` follows from the event alone, regardless of the state
    /// before. Histories are read backwards up to such an event, which bounds the work for an aggregate with thousands of
    /// records. An optimization only: `false` is always correct.
    fn carries_state(_event: &Self::Event, _which: usize) -> bool {
        false
    }

    /// The public events that follow from `event`, in order: at most [`EVENTS_MAX`](crate::public::EVENTS_MAX). The default publishes
    /// none.
    fn publish(_event: &Self::Event) -> Vec<Self::Published> {
        Vec::new()
    }

    /// The command with which this service answers a public event. The default answers none.
    fn react(_event: &Self::Heard) -> Option<Self::Command> {
        None
    }

    /// The row that a public event of [`Decider::COPIES`] updates, with its version. The default copies nothing.
    fn copy(_event: &Self::Heard) -> Option<(Ref, u64, Self::Entity)> {
        None
    }

    /// The consumed public topics whose events could turn `rejection` into an acceptance. The caller receives the rejection
    /// only after everything their publishers had accepted earlier is published (waiting for that takes one second at most)
    /// and has been reacted to or copied here.
    fn rests_on(_rejection: &Self::Rejection) -> &'static [&'static str] {
        &[]
    }
}
