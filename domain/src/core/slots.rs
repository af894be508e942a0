//! The core's memory of keys: heads and aggregates, loaded when needed and forgotten when neither needed nor unwritten.

use std::{
    collections::{HashMap, hash_map::Entry},
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
};

/// Keys are hashes or ids already; mixing their halves is hash enough.
#[derive(Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length prefix of a fixed-size array says nothing.
    }
}

/// A map by key.
pub type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// What is known of one key.
#[derive(Debug)]
pub struct Slot<E> {
    /// Its head, if any record names it.
    pub head: Option<Head>,
    /// Its aggregate.
    pub aggregate: Aggregate<E>,
    /// Whether it stands behind a record that could not be folded.
    pub parked: bool,
    /// The change set that last changed it; it may be forgotten once that is written.
    changed_in: u64,
    head_changed: bool,
    entity_changed: bool,
}

/// What is known of the aggregate under a key.
///
/// A key belongs to one kind, but it may be asked for as another: callers choose the ids that they ask for. So that a wrong
/// guess teaches nothing about the right kind, "there is none" is remembered together with the kind that was asked for.
#[derive(Debug)]
pub enum Aggregate<E> {
    /// Nothing is known.
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

    fn is_known(&self, kind: Kind) -> bool {
        !matches!(self.of(kind), Lookup::NotLoaded)
    }
}

/// An aggregate's state, and where it comes from.
#[derive(Clone, Debug)]
pub struct Versioned<E> {
    /// Its table.
    pub kind: Kind,
    /// How often it was changed.
    pub version: u64,
    /// By which record last.
    pub offset: u64,
    /// The state, shared with the rows that are being written.
    pub state: Arc<E>,
}

impl<E> Slot<E> {
    fn absent() -> Self {
        Self {
            head: None,
            aggregate: Aggregate::None,
            parked: false,
            changed_in: 0,
            head_changed: false,
            entity_changed: false,
        }
    }
}

/// All known keys, in two generations: what was not used for a whole generation is forgotten.
pub struct Slots<E> {
    /// Boxed: maps of small entries are searched and moved faster.
    hot: KeyMap<Box<Slot<E>>>,
    cold: KeyMap<Box<Slot<E>>>,
    changed: Vec<Key>,
    change_set: u64,
    written: u64,
    seen: Seen,
    n_hot_max: usize,
}

impl<E: Clone> Slots<E> {
    /// No keys yet. `from_start`: the rows are empty, so that every key there will ever be passes through here.
    pub fn new(from_start: bool, n_hot_max: usize) -> Self {
        Self {
            hot: KeyMap::default(),
            cold: KeyMap::default(),
            changed: Vec::new(),
            change_set: 1,
            written: 0,
            seen: Seen::new(from_start),
            n_hot_max,
        }
    }

    /// The slot of a key whose head is known, and whose aggregate of this kind is known too. `None`: it must be loaded.
    pub fn get(&mut self, key: &Key, kind: Option<Kind>) -> Option<&Slot<E>> {
        if !self.hot.contains_key(key) {
            match self.cold.remove(key) {
                Some(slot) => drop(self.hot.insert(*key, slot)),
                None if self.seen.surely_not(key) => drop(self.hot.insert(*key, Box::new(Slot::absent()))),
                None => return None,
            }
        }
        self.hot.get(key).map(Box::as_ref).filter(|slot| kind.is_none_or(|kind| slot.aggregate.is_known(kind)))
    }

    /// Like [`Slots::get`], without keeping the slot in memory for longer.
    pub fn peek(&self, key: &Key) -> Option<&Slot<E>> {
        self.hot.get(key).or_else(|| self.cold.get(key)).map(Box::as_ref)
    }

    /// The aggregate, if it is known to exist.
    pub fn peek_aggregate(&self, aggregate: &Ref) -> Option<&Versioned<E>> {
        match self.peek(&aggregate.key)?.aggregate.of(aggregate.kind) {
            Lookup::Found(it) => Some(it),
            Lookup::Absent | Lookup::NotLoaded => None,
        }
    }

    /// Whether it is known if any record names this key, without keeping a slot for it: for ids, of which few are ever void.
    pub fn is_known(&self, key: &Key) -> bool {
        self.peek(key).is_some() || self.seen.surely_not(key)
    }

    /// Whether the key can be answered without loading, having looked it up for that.
    pub fn ready(&mut self, wanted: &Wanted) -> bool {
        self.get(&wanted.key, wanted.kind).is_some()
    }

    /// Nothing names this key yet: it was minted just now.
    pub fn mint(&mut self, key: Key) {
        if self.peek(&key).is_none() {
            self.hot.insert(key, Box::new(Slot::absent()));
        }
    }

    /// What the rows know of a key. What is in memory already is at least as new and stays.
    pub fn provide(&mut self, loaded: Loaded<E>) {
        let Loaded { wanted, head, entity, parked } = loaded;
        let offset = head.map_or(0, |head| head.offset);
        let aggregate = match (wanted.kind, entity) {
            (None, _) => Aggregate::NotLoaded,
            (Some(kind), None) => Aggregate::NoneOf(kind),
            (Some(kind), Some((version, state))) => {
                Aggregate::Is(Versioned { kind, version, offset, state: Arc::new(state) })
            }
        };
        if let Some(slot) = self.cold.remove(&wanted.key) {
            self.hot.insert(wanted.key, slot);
        }
        match self.hot.entry(wanted.key) {
            Entry::Occupied(mut slot) => {
                if wanted.kind.is_some_and(|kind| !slot.get().aggregate.is_known(kind)) {
                    slot.get_mut().aggregate = aggregate;
                }
            }
            Entry::Vacant(slot) => {
                slot.insert(Box::new(Slot { head, parked, aggregate, ..Slot::absent() }));
            }
        }
    }

    /// A key's head moved.
    pub fn set_head(&mut self, key: Key, head: Head) {
        self.change(key, |slot| {
            slot.head = Some(head);
            slot.head_changed = true;
        });
    }

    /// An aggregate changed.
    pub fn set_entity(&mut self, key: Key, entity: Versioned<E>) {
        self.change(key, |slot| {
            debug_assert!(
                !matches!(&slot.aggregate, Aggregate::Is(before) if before.kind != entity.kind),
                "a key belongs to one kind"
            );
            slot.aggregate = Aggregate::Is(entity);
            slot.entity_changed = true;
        });
    }

    /// A key is parked.
    pub fn park(&mut self, key: Key) {
        self.change(key, |slot| slot.parked = true);
    }

    fn change(&mut self, key: Key, change: impl FnOnce(&mut Slot<E>)) {
        // A head may be set on a key whose aggregate was never looked at: then the aggregate stays "not loaded".
        let unknown = || Box::new(Slot { aggregate: Aggregate::NotLoaded, ..Slot::absent() });
        let slot = self.hot.entry(key).or_insert_with(|| self.cold.remove(&key).unwrap_or_else(unknown));
        change(slot);
        if slot.changed_in != self.change_set {
            slot.changed_in = self.change_set;
            self.changed.push(key);
            self.seen.insert(&key);
        }
    }

    /// Whether anything changed since the last take.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed since the last take, and the number of this change set.
    pub fn take_changed(&mut self) -> (u64, Vec<(Key, Head)>, Vec<EntityRow<E>>) {
        let changed = std::mem::take(&mut self.changed);
        let (mut heads, mut entities) = (Vec::with_capacity(changed.len()), Vec::new());
        for key in changed {
            // Changed slots are never forgotten before they are written.
            let Some(slot) = self.hot.get_mut(&key).or_else(|| self.cold.get_mut(&key)) else { continue };
            if std::mem::take(&mut slot.head_changed) {
                heads.extend(slot.head.map(|head| (key, head)));
            }
            if std::mem::take(&mut slot.entity_changed)
                && let Aggregate::Is(Versioned { kind, version, offset, state }) = &slot.aggregate
            {
                entities.push(EntityRow {
                    aggregate: Ref::new(kind, key),
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
        if self.hot.len() > self.n_hot_max {
            let mut forgotten = std::mem::replace(&mut self.cold, std::mem::take(&mut self.hot));
            forgotten.retain(|_, slot| slot.changed_in > self.written);
            self.cold.extend(forgotten);
        }
    }
}
