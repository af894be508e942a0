//! Our own records between decision and verdict, and the state they produce if all of them are accepted.
//!
//! A pipelined record expects the one before it and becomes void with it. When one dies, or another instance's record gets
//! in between, all records that build on it are doomed: they are already sent and will be void. Their keys are blocked
//! until the last of them is settled, so that nothing more is built on a dead state.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Accepted, Outgoing, Ticket,
    fold::Evolved,
    slots::{KeyMap, Versioned},
};
use crate::{
    decider::{Decider, Kind},
    header::{Expect, Header},
    key::{Key, RecordId},
};

/// The state of a record's append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// Sent, without a result yet.
    Sent,
    Acknowledged,
    /// The last attempt may or may not have reached the log. Retry it at this time.
    Unknown {
        /// Milliseconds since the Unix epoch.
        again_at: i64,
    },
}

/// A record of ours without a verdict.
pub struct Flight<D: Decider> {
    pub ticket: Ticket,
    pub header: Header,
    pub header_bytes: Bytes,
    pub value: Bytes,
    pub event: Arc<D::Event>,
    pub append: Append,
    /// An earlier attempt had an unknown outcome. Only reading the log can settle it; a refusal of a later attempt can't.
    pub in_doubt: bool,
    doomed: bool,
    turn: u64,
}

/// The state of a key if all of our records in flight are accepted.
pub struct Ahead<E> {
    /// The last of our records that names it.
    pub last: RecordId,
    /// Its aggregate. `None` if the key is only claimed.
    entity: Option<Versioned<E>>,
    /// A record that this builds on is dead. Wait until all of ours that name the key are settled.
    pub blocked: bool,
    n_flights: u32,
}

impl<D: Decider> Flight<D> {
    /// The record to append. The same on every attempt.
    pub fn outgoing(&self) -> Outgoing {
        Outgoing {
            id: self.header.id,
            ticket: Some(self.ticket),
            about: self.header.about(),
            header: self.header_bytes.clone(),
            value: self.value.clone(),
        }
    }
}

impl<E> Ahead<E> {
    /// Its aggregate, if it is of this kind.
    pub fn entity_of(&self, kind: Kind) -> Option<&Versioned<E>> {
        self.entity.as_ref().filter(|entity| entity.kind == kind)
    }
}

pub struct Flights<D: Decider> {
    flights: HashMap<RecordId, Flight<D>>,
    order: BTreeMap<u64, RecordId>,
    ahead: KeyMap<Ahead<D::Entity>>,
    next_turn: u64,
    /// Records folded before the log acknowledged them.
    pub unacknowledged: BTreeMap<RecordId, (Ticket, Accepted<D>)>,
}

impl<D: Decider> Flights<D> {
    pub fn new() -> Self {
        Self {
            flights: HashMap::new(),
            order: BTreeMap::new(),
            ahead: KeyMap::default(),
            next_turn: 0,
            unacknowledged: BTreeMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.flights.len()
    }

    pub fn get(&self, id: RecordId) -> Option<&Flight<D>> {
        self.flights.get(&id)
    }

    pub fn get_mut(&mut self, id: RecordId) -> Option<&mut Flight<D>> {
        self.flights.get_mut(&id)
    }

    /// All of them, in no order.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Flight<D>> {
        self.flights.values_mut()
    }

    /// The state of a key after our records in flight. `None` if none of them names it.
    pub fn ahead(&self, key: &Key) -> Option<&Ahead<D::Entity>> {
        self.ahead.get(key)
    }

    /// Adds a record. `entities` is the new state of the aggregates it touches.
    pub fn launch(&mut self, ticket: Ticket, header: Header, event: Arc<D::Event>, value: Bytes, entities: Evolved<D>) {
        let id = header.id;
        for expect in &header.expects {
            let ahead =
                self.ahead.entry(expect.key).or_insert(Ahead { last: id, entity: None, blocked: false, n_flights: 0 });
            ahead.last = id;
            ahead.n_flights += 1;
        }
        for (aggregate, entity) in entities {
            if let Some(ahead) = self.ahead.get_mut(&aggregate.key) {
                ahead.entity = Some(entity);
            }
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.order.insert(turn, id);
        let header_bytes = header.encode().into();
        let append = Append::Sent;
        self.flights.insert(
            id,
            Flight { ticket, header, header_bytes, value, event, append, in_doubt: false, doomed: false, turn },
        );
    }

    /// Removes a record that has a verdict or will never reach the log.
    pub fn settle(&mut self, id: RecordId) -> Option<Flight<D>> {
        let flight = self.flights.remove(&id)?;
        self.order.remove(&flight.turn);
        for expect in &flight.header.expects {
            if let Some(ahead) = self.ahead.get_mut(&expect.key) {
                ahead.n_flights -= 1;
                if ahead.n_flights == 0 {
                    self.ahead.remove(&expect.key);
                }
            }
        }
        Some(flight)
    }

    /// Removes a dead record. Records that expect it die with it, and its keys are blocked until all of ours that name them
    /// are settled.
    pub fn bury(&mut self, dead: RecordId) -> Option<Flight<D>> {
        self.doom(HashSet::from([dead]), |_| false);
        let flight = self.settle(dead)?;
        block(&mut self.ahead, &flight.header.expects);
        Some(flight)
    }

    /// Dooms our records that name any of these keys, which another instance's record changed.
    pub fn doom_naming(&mut self, keys: impl Iterator<Item = Key>) {
        let keys: HashSet<Key> = keys.filter(|key| self.ahead.contains_key(key)).collect();
        if !keys.is_empty() {
            self.doom(HashSet::new(), |key| keys.contains(key));
        }
    }

    fn doom(&mut self, mut dead: HashSet<RecordId>, names_one: impl Fn(&Key) -> bool) {
        for id in self.order.values() {
            let Some(flight) = self.flights.get_mut(id) else { continue };
            let builds_on_dead = |last: Option<RecordId>| last.is_some_and(|last| dead.contains(&last));
            let expects = &flight.header.expects;
            if !flight.doomed && expects.iter().any(|expect| names_one(&expect.key) || builds_on_dead(expect.last)) {
                flight.doomed = true;
                dead.insert(*id);
                block(&mut self.ahead, &flight.header.expects);
            }
        }
    }

    /// The records whose next attempt is due.
    pub fn due(&self, now: i64) -> Vec<RecordId> {
        let is_due = |append| matches!(append, Append::Unknown { again_at } if again_at <= now);
        self.order.values().copied().filter(|id| self.flights.get(id).is_some_and(|f| is_due(f.append))).collect()
    }
}

fn block<E>(ahead: &mut KeyMap<Ahead<E>>, expects: &[Expect]) {
    for expect in expects {
        if let Some(ahead) = ahead.get_mut(&expect.key) {
            ahead.blocked = true;
        }
    }
}
