//! What a service is, to the core: pure functions over its aggregates.

use std::{cell::RefCell, error::Error, fmt::Debug};

use serde::{Serialize, de::DeserializeOwned};

use crate::{key::Key, public::PublicEvent};

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// A kind of aggregate, as its table is called.
pub type Kind = &'static str;

/// One aggregate of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref {
    pub kind: Kind,
    /// Its key; unique in the service, over all kinds: a record names keys, not kinds, so two aggregates under one key would
    /// be one to the arbitration rule. At most one kind of a service uses bare ids as keys, the others [`Key::named`].
    pub key: Key,
    /// Its id was minted for the very command that names it: no record can name it yet, so nothing need be looked up.
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

/// Where and when an event stands in its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub offset: u64,
    /// When it was decided, by the writer's clock. For people; never decides anything.
    pub time_ms: Millis,
}

/// The aggregates a decision may look at.
///
/// Looking at one that is not in memory yet answers `None` and notes it: the core then loads it and asks for the decision
/// again, so a decision never has to say beforehand what it needs. Look at everything before the first refusal, so that all
/// of it is loaded at once.
pub struct View<'a, E> {
    lookup: &'a dyn Fn(&Ref) -> Lookup<'a, E>,
    missing: RefCell<Vec<Ref>>,
}

/// What is known of an aggregate.
pub enum Lookup<'a, E> {
    Found(&'a E),
    /// It does not exist.
    Absent,
    /// It has to be loaded.
    NotLoaded,
}

impl<'a, E> View<'a, E> {
    /// A view through `lookup`.
    pub fn new(lookup: &'a dyn Fn(&Ref) -> Lookup<'a, E>) -> Self {
        Self { lookup, missing: RefCell::default() }
    }

    /// The aggregate's state, if it exists.
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

    /// What was looked at in vain since it is not loaded. If there is anything, the decision is worth nothing.
    pub fn into_missing(self) -> Vec<Ref> {
        self.missing.into_inner()
    }
}

/// A service: its decisions, its history, what it tells others and how it reacts to them. All pure; `decide` may refuse,
/// history can't.
pub trait Decider: Clone + Send + Sync + Sized + 'static {
    /// The journal, which is also the service's name.
    const JOURNAL: &'static str;
    /// The kinds of aggregates, each a table of the read side.
    const KINDS: &'static [Kind];
    /// The public topics whose events this service answers with commands of its own.
    const REACTS_TO: &'static [&'static str] = &[];
    /// The public topics from which this service copies facts it decides by (each row keeps the highest version).
    const COPIES: &'static [&'static str] = &[];

    /// What can be asked of the service.
    type Command: Clone + Debug + Send + Sync + 'static;
    /// What has happened. Its JSON is the stored format, frozen by tests.
    type Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The state of one aggregate, an enum over the kinds; its JSON is the row's document.
    type Entity: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Why a command was refused: data that the caller can act on.
    type Rejection: Clone + PartialEq + Error + Send + Sync + 'static;
    /// What others may hear of it: [`public_events!`](crate::public_events) declares it.
    type Published: PublicEvent;
    /// What it hears of others: what one of them publishes, of several [together](crate::heard), or [nothing](crate::public::Nothing).
    type Heard: PublicEvent;

    /// The one event to append if `command` is accepted. Also a command that changes nothing has one ("already so", or, for
    /// a reaction, "declined, because"): the log, not this instance, must have the last word on it.
    fn decide(
        command: &Self::Command,
        view: &View<'_, Self::Entity>,
        now: Millis,
    ) -> Result<Self::Event, Self::Rejection>;

    /// The aggregate that `command` is about, if it exists before: its caller may want it to be as it was last seen.
    fn target(command: &Self::Command) -> Option<Ref>;

    /// The event's name in the journal, such as `order_placed`.
    fn kind(event: &Self::Event) -> &'static str;

    /// The aggregates that `event` changes, and the unique values it claims or frees, without repetition. The first is what
    /// the record is about. Everything that `decide` read in this journal to say yes must be among them.
    fn touches(event: &Self::Event) -> Vec<Ref>;

    /// The state of the `which`-th of [`Decider::touches`] after `event`. Total: the event already happened.
    fn evolve(entity: Option<Self::Entity>, which: usize, event: &Self::Event, at: &At) -> Self::Entity;

    /// Whether callers see `entity`. What is kept only to count records does not exist to them, nor to their `If-Match`.
    fn is_shown(_entity: &Self::Entity) -> bool {
        true
    }

    /// Whether the state of the `which`-th of [`Decider::touches`] after `event` follows from the event alone, whatever it was
    /// before. Histories are read backwards up to such an event, so that the past of an aggregate that thousands of records
    /// touch is soon found. It is only about speed: no is always right.
    fn carries_state(_event: &Self::Event, _which: usize) -> bool {
        false
    }

    /// The public events that follow from `event`, in this order. None, unless it is written.
    fn publish(_event: &Self::Event) -> Vec<Self::Published> {
        Vec::new()
    }

    /// The command by which this service answers a public event; of none, unless it is written.
    fn react(_event: &Self::Heard) -> Option<Self::Command> {
        None
    }

    /// The row that a public event of [`Decider::COPIES`] stands for, and its version. None, unless it is written.
    fn copy(_event: &Self::Heard) -> Option<(Ref, u64, Self::Entity)> {
        None
    }

    /// The public topics, of those that this service reacts to or copies, by whose events `rejection` could become a yes. A caller
    /// gets it only once what their publishers had accepted before is published there, which is waited for a second at most, and
    /// was reacted to or copied here.
    fn rests_on(_rejection: &Self::Rejection) -> &'static [&'static str] {
        &[]
    }
}
