//! The core's memory of keys: heads and aggregates, loaded when needed and forgotten when neither needed nor unwritten.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::{
    changes::{EntityRow, Head, Loaded, Wanted},
    seen::Seen,
};
use crate::{
    decider::{Kind, Lookup, Ref},
    key::Key,
    planted::Bug,
};

/// Keys are hashes or ids already; mixing their halves is hash enough.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for half in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..half.len()].copy_from_slice(half);
            self.0 = mixed(self.0 ^ u64::from_le_bytes(word));
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length prefix of a fixed-size array says nothing.
    }
}

/// Every bit of the result depends on every bit of the word: maps take the place from the low bits and compare the high ones.
fn mixed(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xbf58_476d_1ce4_e5b9;
    (product >> 64) as u64 ^ product as u64
}

/// A map by key.
pub type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// Room is made for at most so many slots beforehand.
const N_RESERVED_MAX: usize = 1_000_000;

/// Where a key's slot is: an index that holds until the next [`Slots::written`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    fn new(number: usize) -> Self {
        Self(u32::try_from(number).expect("more slots than this do not fit into memory"))
    }
}

/// What is known of one key.
#[derive(Debug)]
pub struct Slot<E> {
    key: Key,
    /// Its head, if any record names it.
    pub head: Option<Head>,
    pub aggregate: Aggregate<E>,
    /// The change set that last changed it; it may be forgotten once that is written.
    changed_in: u64,
    /// The round that last used it.
    used_in: u64,
    head_changed: bool,
    entity_changed: bool,
    is_free: bool,
}

/// What is known of the aggregate under a key.
///
/// A key belongs to one kind, but it may be asked for as another: callers choose the ids that they ask for. So that a wrong
/// guess teaches nothing about the right kind, "there is none" is remembered together with the kind that was asked for.
#[derive(Debug)]
pub enum Aggregate<E> {
    NotLoaded,
    /// There is none, of whatever kind.
    None,
    /// There is none of this kind.
    NoneOf(Kind),
    /// It is this, and so of no other kind.
    Is(Versioned<E>),
}

impl<E> Aggregate<E> {
    /// It, if it is of this kind.
    pub fn of(&self, kind: Kind) -> Lookup<'_, Versioned<E>> {
        match self {
            Self::Is(it) if it.kind == kind => Lookup::Found(it),
            Self::NoneOf(other) if *other != kind => Lookup::NotLoaded,
            Self::Is(_) | Self::None | Self::NoneOf(_) => Lookup::Absent,
            Self::NotLoaded => Lookup::NotLoaded,
        }
    }

    /// Whether it need not be loaded to be answered for as this kind.
    pub fn is_known(&self, kind: Kind) -> bool {
        !matches!(self.of(kind), Lookup::NotLoaded)
    }
}

/// An aggregate's state, and where it comes from.
#[derive(Clone, Debug)]
pub struct Versioned<E> {
    pub kind: Kind,
    /// How often it was changed.
    pub version: u64,
    /// By which record last.
    pub offset: u64,
    /// The state, shared with the rows that are being written.
    pub state: Arc<E>,
}

impl<E> Slot<E> {
    /// The aggregate of this kind, if it is known to exist.
    pub fn aggregate_of(&self, kind: Kind) -> Option<&Versioned<E>> {
        match self.aggregate.of(kind) {
            Lookup::Found(it) => Some(it),
            Lookup::Absent | Lookup::NotLoaded => None,
        }
    }

    fn new(key: Key, aggregate: Aggregate<E>) -> Self {
        Self {
            key,
            head: None,
            aggregate,
            changed_in: 0,
            used_in: 0,
            head_changed: false,
            entity_changed: false,
            is_free: false,
        }
    }
}

/// All known keys. What was not used for a whole round is forgotten; a round ends when it has used a certain number of slots.
///
/// The slots lie in one piece of memory, and whoever works on a record looks each of its keys up once: these look-ups miss the
/// processor's caches, and were a fifth of a replay's time when every step looked up anew.
pub struct Slots<E> {
    ids: KeyMap<SlotId>,
    slots: Vec<Slot<E>>,
    free: Vec<SlotId>,
    changed: Vec<SlotId>,
    change_set: u64,
    written: u64,
    seen: Seen,
    round: u64,
    n_used: usize,
    n_used_max: usize,
}

impl<E: Clone> Slots<E> {
    /// No keys yet. `from_start`: the rows are empty, so that every key there will ever be passes through here. At most about
    /// `n_max` slots are remembered, and what is not written yet.
    pub fn new(from_start: bool, n_max: usize) -> Self {
        Self {
            ids: KeyMap::default(),
            // Growing by doubling, it would need half as much again for a moment. What is not used costs nothing.
            slots: Vec::with_capacity(if from_start { n_max.min(N_RESERVED_MAX) * 5 / 4 } else { 0 }),
            free: Vec::new(),
            changed: Vec::new(),
            change_set: 1,
            written: 0,
            seen: Seen::new(from_start),
            round: 1,
            n_used: 0,
            // What this round used is remembered, and what the one before did.
            n_used_max: n_max / 2,
        }
    }

    /// About so many keys will be named, if they are named from the start.
    pub fn expect(&mut self, n_keys: usize) {
        self.seen.expect(n_keys);
    }

    /// The slot of a key whose head is known. `None`: it must be loaded.
    pub fn find(&mut self, key: &Key) -> Option<SlotId> {
        let id = match self.ids.get(key) {
            Some(id) => *id,
            None if self.seen.surely_not(key) => self.add(*key, Aggregate::None),
            None => return None,
        };
        self.touch(id);
        Some(id)
    }

    /// What is known of a key, by its place.
    pub fn at(&self, id: SlotId) -> &Slot<E> {
        &self.slots[id.0 as usize]
    }

    /// The slot of a key whose head is known, and whose aggregate of this kind is known too. `None`: it must be loaded.
    pub fn get(&mut self, key: &Key, kind: Option<Kind>) -> Option<&Slot<E>> {
        let id = self.find(key)?;
        Some(self.at(id)).filter(|slot| kind.is_none_or(|kind| slot.aggregate.is_known(kind)))
    }

    /// Like [`Slots::get`], without keeping the slot in memory for longer.
    pub fn peek(&self, key: &Key) -> Option<&Slot<E>> {
        self.ids.get(key).map(|id| self.at(*id))
    }

    /// The aggregate, if it is known to exist.
    pub fn peek_aggregate(&self, aggregate: &Ref) -> Option<&Versioned<E>> {
        self.peek(&aggregate.key)?.aggregate_of(aggregate.kind)
    }

    /// Whether it is known if any record names this key, without keeping a slot for it: for ids, of which few are ever void.
    pub fn is_known(&self, key: &Key) -> bool {
        self.seen.surely_not(key) || self.ids.contains_key(key)
    }

    /// The head of a key that [is known](Slots::is_known), if any record names it.
    pub fn head_of(&self, key: &Key) -> Option<Head> {
        if self.seen.surely_not(key) { None } else { self.peek(key)?.head }
    }

    /// Whether the key can be answered without loading, having looked it up for that.
    pub fn ready(&mut self, wanted: &Wanted) -> bool {
        self.get(&wanted.key, wanted.kind).is_some()
    }

    /// Nothing names this key yet: it was minted just now.
    pub fn mint(&mut self, key: Key) {
        if !self.ids.contains_key(&key) {
            let id = self.add(key, Aggregate::None);
            self.touch(id);
        }
    }

    /// The slot of a key, whatever is known of it: for keys that are about to change.
    pub fn claim(&mut self, key: Key) -> SlotId {
        let known = self.ids.get(&key).copied();
        // A head may be set on a key whose aggregate was never looked at: then the aggregate stays "not loaded".
        let id = known.unwrap_or_else(|| self.add(key, Aggregate::NotLoaded));
        self.touch(id);
        id
    }

    fn add(&mut self, key: Key, aggregate: Aggregate<E>) -> SlotId {
        let slot = Slot::new(key, aggregate);
        let id = if let Some(id) = self.free.pop() {
            self.slots[id.0 as usize] = slot;
            id
        } else {
            self.slots.push(slot);
            SlotId::new(self.slots.len() - 1)
        };
        self.ids.insert(key, id);
        id
    }

    fn touch(&mut self, id: SlotId) {
        let slot = &mut self.slots[id.0 as usize];
        if slot.used_in != self.round {
            slot.used_in = self.round;
            self.n_used += 1;
        }
    }

    /// What the rows know of a key. What is in memory already is at least as new and stays.
    pub fn provide(&mut self, loaded: Loaded<E>) {
        let Loaded { wanted, head, entity } = loaded;
        let offset = head.map_or(0, |head| head.offset);
        let aggregate = match (wanted.kind, entity) {
            (None, _) => Aggregate::NotLoaded,
            (Some(kind), None) => Aggregate::NoneOf(kind),
            (Some(kind), Some((version, state))) => {
                Aggregate::Is(Versioned { kind, version, offset, state: Arc::new(state) })
            }
        };
        let id = if let Some(id) = self.ids.get(&wanted.key).copied() {
            let slot = &mut self.slots[id.0 as usize];
            if wanted.kind.is_some_and(|kind| !slot.aggregate.is_known(kind)) {
                slot.aggregate = aggregate;
            }
            id
        } else {
            let id = self.add(wanted.key, aggregate);
            self.slots[id.0 as usize].head = head;
            id
        };
        self.touch(id);
    }

    /// A key's head moved.
    pub fn set_head(&mut self, id: SlotId, head: Head) {
        let slot = self.change(id);
        slot.head = Some(head);
        slot.head_changed = true;
    }

    pub fn set_entity(&mut self, id: SlotId, entity: Versioned<E>) {
        let slot = self.change(id);
        debug_assert!(
            !matches!(&slot.aggregate, Aggregate::Is(before) if before.kind != entity.kind),
            "a key belongs to one kind"
        );
        slot.aggregate = Aggregate::Is(entity);
        slot.entity_changed = true;
    }

    fn change(&mut self, id: SlotId) -> &mut Slot<E> {
        let slot = &mut self.slots[id.0 as usize];
        if slot.changed_in != self.change_set {
            slot.changed_in = self.change_set;
            self.changed.push(id);
            self.seen.insert(&slot.key);
        }
        slot
    }

    /// The number of the change set that is gathered now.
    pub fn change_set(&self) -> u64 {
        self.change_set
    }

    /// What changed since the last take, and the number of this change set.
    pub fn take_changed(&mut self) -> (u64, Vec<(Key, Head)>, Vec<EntityRow<E>>) {
        let changed = std::mem::take(&mut self.changed);
        let (mut heads, mut entities) = (Vec::with_capacity(changed.len()), Vec::new());
        for id in changed {
            // Changed slots are never forgotten before they are written.
            let slot = &mut self.slots[id.0 as usize];
            if std::mem::take(&mut slot.head_changed) {
                heads.extend(slot.head.map(|head| (slot.key, head)));
            }
            if std::mem::take(&mut slot.entity_changed)
                && let Aggregate::Is(Versioned { kind, version, offset, state }) = &slot.aggregate
            {
                entities.push(EntityRow {
                    aggregate: Ref::new(kind, slot.key),
                    version: *version,
                    offset: *offset,
                    entity: Arc::clone(state),
                });
            }
        }
        let taken = self.change_set;
        self.change_set += 1;
        (taken, heads, entities)
    }

    /// A change set, and all before it, are written: what is in them can be loaded again.
    pub fn written(&mut self, change_set: u64) {
        self.written = change_set;
        if self.n_used <= self.n_used_max {
            return;
        }
        // From the end, so that the free slots are taken again in the order of memory.
        for (number, slot) in self.slots.iter_mut().enumerate().rev() {
            let is_old = slot.used_in < self.round && slot.changed_in <= self.written;
            if !slot.is_free && (is_old || Bug::ForgetUnwritten.is_loose()) {
                self.ids.remove(&slot.key);
                (slot.is_free, slot.aggregate) = (true, Aggregate::NotLoaded);
                self.free.push(SlotId::new(number));
            }
        }
        self.round += 1;
        self.n_used = 0;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::key::RecordId;

    #[test]
    fn no_more_keys_are_remembered_than_was_said() {
        let mut slots = Slots::<()>::new(true, 100);
        let key = |n: u64| Key::named("test", &n.to_string());
        for n in 0..5_000_u64 {
            let place = slots.claim(key(n));
            slots.set_head(place, Head { last: RecordId(Uuid::from_u64_pair(0, n)), offset: n });
            if n % 10 == 9 {
                let (change_set, ..) = slots.take_changed();
                slots.written(change_set);
            }
            assert!(
                slots.ids.len() <= 120,
                "{} after {n}: two rounds, each up to the change set that ends it",
                slots.ids.len()
            );
            assert!((n.saturating_sub(39)..=n).all(|lately| slots.peek(&key(lately)).is_some()), "after {n}");
        }
    }
}
