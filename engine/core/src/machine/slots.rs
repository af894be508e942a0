//! The core's memory of keys: heads and aggregates. They are loaded on demand and evicted once unused and written.

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

/// Keys are hashes or ids already, so mixing their halves is enough.
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
        // The length prefix of a fixed-size array carries no information.
    }
}

/// Every bit of the result depends on every bit of the word: maps pick the bucket by the low bits and compare the high
/// ones.
fn mixed(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xbf58_476d_1ce4_e5b9;
    (product >> 64) as u64 ^ product as u64
}

pub type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// The most slots reserved in advance.
const N_RESERVED_MAX: usize = 1_000_000;

/// The index of a key's slot. Valid until the next [`Slots::written`].
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
    /// The change set that last changed it. It may be evicted once that is written.
    changed_in: u64,
    /// The round that last used it.
    used_in: u64,
    head_changed: bool,
    entity_changed: bool,
    is_free: bool,
}

/// What is known of the aggregate with a key.
///
/// A key belongs to one kind, but callers choose the ids they ask for and may ask for it as another kind. So absence is
/// remembered together with the kind that was looked up: a wrong guess says nothing about the right kind.
#[derive(Debug)]
pub enum Aggregate<E> {
    NotLoaded,
    /// No aggregate of any kind.
    None,
    /// No aggregate of this kind.
    NoneOf(Kind),
    /// This aggregate, and so none of any other kind.
    Is(Versioned<E>),
}

impl<E> Aggregate<E> {
    /// The aggregate, if it is of this kind.
    pub fn of(&self, kind: Kind) -> Lookup<'_, Versioned<E>> {
        match self {
            Self::Is(it) if it.kind == kind => Lookup::Found(it),
            Self::NoneOf(other) if *other != kind => Lookup::NotLoaded,
            Self::Is(_) | Self::None | Self::NoneOf(_) => Lookup::Absent,
            Self::NotLoaded => Lookup::NotLoaded,
        }
    }

    /// Whether a look-up as this kind needs no loading.
    pub fn is_known(&self, kind: Kind) -> bool {
        !matches!(self.of(kind), Lookup::NotLoaded)
    }
}

/// An aggregate's state, version and last record.
#[derive(Clone, Debug)]
pub struct Versioned<E> {
    pub kind: Kind,
    /// How many accepted records changed it.
    pub version: u64,
    /// The offset of the record that last changed it.
    pub offset: u64,
    /// Shared with the rows being written.
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

/// All known keys. A slot that is unused for a whole round is evicted. A round ends once it has used a certain number of
/// slots.
///
/// The slots are in one allocation, and the fold looks up each of a record's keys once. Look-ups miss the processor's
/// caches and took a fifth of a replay's time when every step repeated them.
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
    /// Creates an empty memory. `from_start` means that the rows are empty, so every key of the journal passes through
    /// here. Holds about `n_max` slots at most, plus those not written yet.
    pub fn new(from_start: bool, n_max: usize) -> Self {
        Self {
            ids: KeyMap::default(),
            // Growing by doubling would briefly need 50% more memory. Unused reserved memory costs nothing.
            slots: Vec::with_capacity(if from_start { n_max.min(N_RESERVED_MAX) * 5 / 4 } else { 0 }),
            free: Vec::new(),
            changed: Vec::new(),
            change_set: 1,
            written: 0,
            seen: Seen::new(from_start),
            round: 1,
            n_used: 0,
            // The slots used in this round and in the previous one are kept.
            n_used_max: n_max / 2,
        }
    }

    /// Reserves memory for about `n_keys` keys, if keys are tracked from the start.
    pub fn expect(&mut self, n_keys: usize) {
        self.seen.expect(n_keys);
    }

    /// The slot of a key whose head is known. `None` if it must be loaded.
    pub fn find(&mut self, key: &Key) -> Option<SlotId> {
        let id = match self.ids.get(key) {
            Some(id) => *id,
            None if self.seen.surely_not(key) => self.add(*key, Aggregate::None),
            None => return None,
        };
        self.touch(id);
        Some(id)
    }

    pub fn at(&self, id: SlotId) -> &Slot<E> {
        &self.slots[id.0 as usize]
    }

    /// The slot of a key whose head and whose aggregate of this kind are known. `None` if it must be loaded.
    pub fn get(&mut self, key: &Key, kind: Option<Kind>) -> Option<&Slot<E>> {
        let id = self.find(key)?;
        Some(self.at(id)).filter(|slot| kind.is_none_or(|kind| slot.aggregate.is_known(kind)))
    }

    /// Like [`Slots::get`], but does not count as a use.
    pub fn peek(&self, key: &Key) -> Option<&Slot<E>> {
        self.ids.get(key).map(|id| self.at(*id))
    }

    /// The aggregate, if it is known to exist.
    pub fn peek_aggregate(&self, aggregate: &Ref) -> Option<&Versioned<E>> {
        self.peek(&aggregate.key)?.aggregate_of(aggregate.kind)
    }

    /// Whether it is known if any record names this key. Allocates no slot: used for record ids, few of which are ever
    /// void.
    pub fn is_known(&self, key: &Key) -> bool {
        self.seen.surely_not(key) || self.ids.contains_key(key)
    }

    /// The head of a key that [is known](Slots::is_known), if any record names it.
    pub fn head_of(&self, key: &Key) -> Option<Head> {
        if self.seen.surely_not(key) { None } else { self.peek(key)?.head }
    }

    /// Whether the key can be answered without loading. Counts as a use.
    pub fn ready(&mut self, wanted: &Wanted) -> bool {
        self.get(&wanted.key, wanted.kind).is_some()
    }

    /// Adds a key that was just minted, so no record names it yet.
    pub fn mint(&mut self, key: Key) {
        if !self.ids.contains_key(&key) {
            let id = self.add(key, Aggregate::None);
            self.touch(id);
        }
    }

    /// The slot of a key that is about to change. Added if it is unknown.
    pub fn claim(&mut self, key: Key) -> SlotId {
        let known = self.ids.get(&key).copied();
        // A head may be set on a key whose aggregate was never looked up. The aggregate then stays `NotLoaded`.
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

    /// Adds the stored state of a key. State already in memory is at least as new and is kept.
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

    /// The number of the change set being collected.
    pub fn change_set(&self) -> u64 {
        self.change_set
    }

    /// Takes what changed since the last take, with the number of this change set.
    pub fn take_changed(&mut self) -> (u64, Vec<(Key, Head)>, Vec<EntityRow<E>>) {
        let changed = std::mem::take(&mut self.changed);
        let (mut heads, mut entities) = (Vec::with_capacity(changed.len()), Vec::new());
        for id in changed {
            // Changed slots are never evicted before they are written.
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

    /// Marks a change set and all before it as written. Their keys can be loaded again.
    pub fn written(&mut self, change_set: u64) {
        self.written = change_set;
        if self.n_used <= self.n_used_max {
            return;
        }
        // From the end, so that free slots are reused in memory order.
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
