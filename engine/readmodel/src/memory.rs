//! An in-memory equivalent of [`Store`](crate::Store), for tests and simulation.
//!
//! A test checks that the two are equivalent (`tests/simulation/tests/equivalence.rs`). Clones share the rows, as successive
//! processes share a file. A crash may lose the newest transactions, but never one without those after it, as with SQLite in WAL
//! mode and `synchronous=NORMAL`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use orderlog_core::{
    decider::{Decider, Kind, Millis},
    key::Key,
    machine::{
        Changes, Checkpoint, CopiedRow, DiscardedRow, Genesis, Head, Loaded, ParkedRow, RecordRow, SetAside, Verdict,
        Wanted,
    },
};

use crate::{
    error::StoreError,
    rows::Rows,
    store::{Pace, Unaccepted},
    tables::{Cell, Due, Tables, Timer},
};

/// An aggregate's version, the offset that last changed it, and its state.
type Versioned<E> = (u64, u64, Arc<E>);
/// A ledger's columns by offset and line number.
type Lines = BTreeMap<(u64, i64), Vec<Cell>>;

/// All rows of one generation.
#[derive(Clone)]
pub struct Contents<D: Decider> {
    tables: &'static Tables<D>,
    /// The first offset that is not folded.
    pub next: u64,
    /// The identity of the journal.
    pub genesis: Option<Genesis>,
    /// The last accepted record of each key.
    pub heads: BTreeMap<Key, Head>,
    /// The version, offset and state of each aggregate.
    pub entities: BTreeMap<(Kind, Key), Versioned<D::Entity>>,
    /// One row per record, ascending.
    pub records: Vec<RecordRow>,
    /// The aggregates that accepted records touch, except the first one of each, by offset and line number.
    pub touched: BTreeMap<(u64, i64), Key>,
    pub ledgers: BTreeMap<&'static str, Lines>,
    /// The reason for each parked record, by key and offset.
    pub parked: BTreeMap<(Key, u64), String>,
    /// By the offset of the discarded record.
    pub discarded: BTreeMap<u64, DiscardedRow>,
    /// The position to resume copying from, by topic and partition.
    pub copied: BTreeMap<(String, u32), CopiedRow>,
}

impl<D: Decider> Contents<D> {
    pub(crate) const fn new(tables: &'static Tables<D>) -> Self {
        Self {
            tables,
            next: 0,
            genesis: None,
            heads: BTreeMap::new(),
            entities: BTreeMap::new(),
            records: Vec::new(),
            touched: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            parked: BTreeMap::new(),
            discarded: BTreeMap::new(),
            copied: BTreeMap::new(),
        }
    }

    /// See [`Store::write`](crate::Store::write).
    fn write(&mut self, changes: &Changes<D>) -> Result<(), StoreError> {
        let from = changes.records.first().map_or(changes.next, |record| record.offset);
        if self.next == changes.next && from < self.next {
            return Ok(());
        }
        if from < self.next || changes.next < self.next {
            let (service, stored, to) = (D::JOURNAL, self.next, changes.next);
            return Err(StoreError::OutOfOrder { service, stored, from, to });
        }
        self.records.extend(&changes.records);
        self.heads.extend(changes.heads.iter().copied());
        for row in &changes.entities {
            let place = (row.aggregate.kind, row.aggregate.key);
            let table = self.tables.of(row.aggregate.kind)?;
            let is_newer = self.entities.get(&place).is_none_or(|(version, _, _)| *version < row.version);
            if is_newer || !table.copied {
                self.entities.insert(place, (row.version, row.offset, Arc::clone(&row.entity)));
            }
        }
        for happened in &changes.happened {
            let offset = happened.at.offset;
            for (line, aggregate) in (0..).zip(happened.touched.iter().skip(1)) {
                self.touched.entry((offset, line)).or_insert(aggregate.key);
            }
            for ledger in self.tables.ledgers {
                let lines = self.ledgers.entry(ledger.name).or_default();
                for (line, cells) in (0..).zip((ledger.lines)(&happened.at, &happened.event)) {
                    lines.entry((offset, line)).or_insert(cells);
                }
            }
        }
        self.write_set_aside(changes);
        self.copied.extend(changes.copied.iter().map(|row| ((row.topic.clone(), row.part), row.clone())));
        self.next = changes.next;
        if changes.genesis.is_some() {
            self.genesis.clone_from(&changes.genesis);
        }
        Ok(())
    }

    /// Writes parked and discarded records, and the changed verdicts of records that were folded before.
    fn write_set_aside(&mut self, changes: &Changes<D>) {
        for (offset, verdict) in &changes.verdicts {
            if let Ok(at) = self.records.binary_search_by_key(offset, |record| record.offset) {
                self.records[at].verdict = *verdict;
            }
        }
        self.parked.retain(|(_, offset), _| !changes.unparked.contains(offset));
        self.parked.extend(changes.parked.iter().map(|row| ((row.key, row.offset), row.reason.clone())));
        for row in &changes.discarded {
            self.discarded.entry(row.offset).or_insert_with(|| row.clone());
        }
    }

    /// See [`Store::set_aside`](crate::Store::set_aside).
    fn set_aside(&self) -> SetAside {
        let record = |offset| self.records.binary_search_by_key(&offset, |it| it.offset).map(|at| &self.records[at]);
        let mut parked: Vec<_> = self
            .parked
            .iter()
            .filter_map(|(&(key, offset), reason)| {
                let row = ParkedRow { key, offset, reason: reason.clone() };
                record(offset).ok().map(|record| (record, row))
            })
            .collect();
        parked.sort_by_key(|(record, row)| (row.offset, row.key != record.about, row.key));
        let discarded = self.records.iter().filter(|record| record.verdict == Verdict::Discarded);
        SetAside {
            parked: parked.into_iter().map(|(record, row)| (row, record.id)).collect(),
            discarded: discarded.map(|record| record.offset).collect(),
        }
    }

    fn load(&self, wanted: Wanted) -> Loaded<D::Entity> {
        let entity = wanted.kind.and_then(|kind| self.entities.get(&(kind, wanted.key)));
        let head = self.heads.get(&wanted.key).copied();
        Loaded { wanted, head, entity: entity.map(|(version, _, state)| (*version, D::Entity::clone(state))) }
    }

    fn checkpoint(&self) -> Checkpoint {
        let before = self.records.len().checked_sub(2).map(|at| self.records[at].digest).unwrap_or_default();
        let last = self.records.last().copied();
        Checkpoint {
            next: self.next,
            digest: last.map(|last| last.digest).unwrap_or_default(),
            genesis: self.genesis.clone(),
            last: last.map(|last| (last, before)),
            copied: self.copied.values().cloned().collect(),
        }
    }

    /// Describes the first difference, if there is one. Ignores copied facts and their positions.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let is_own = |kind: Kind| !self.tables.is_copied(kind);
        let own =
            |it: &Self| it.entities.clone().into_iter().filter(|((kind, _), _)| is_own(*kind)).collect::<Vec<_>>();
        let (mine, theirs) = (own(self), own(other));
        if let Some((one, other)) = mine.iter().zip(&theirs).find(|(one, other)| one != other) {
            return Some(format!("{one:?} is not {other:?}"));
        }
        let differs = [
            ("the number of aggregates", mine.len() != theirs.len()),
            ("the checkpoint", self.next != other.next || self.genesis != other.genesis),
            ("a head", self.heads != other.heads),
            ("a record", self.records != other.records),
            ("what is touched", self.touched != other.touched),
            ("a ledger", self.ledgers != other.ledgers),
            ("what is parked", self.parked != other.parked),
            ("what is discarded", self.discarded != other.discarded),
        ];
        let found = differs.into_iter().find(|(_, differs)| *differs);
        found.map(|(what, _)| format!("{what} of {} at {} and {}", D::JOURNAL, self.next, other.next))
    }
}

enum Transaction<D: Decider> {
    Write(Box<Changes<D>>),
    Clear,
}

struct Generation<D: Decider> {
    contents: Contents<D>,
    /// The rows that survive a crash.
    synced: Contents<D>,
    unsynced: Vec<Transaction<D>>,
}

impl<D: Decider> Generation<D> {
    const fn new(tables: &'static Tables<D>) -> Self {
        Self { contents: Contents::new(tables), synced: Contents::new(tables), unsynced: Vec::new() }
    }

    fn sync(&mut self) {
        for transaction in self.unsynced.drain(..) {
            match transaction {
                Transaction::Write(changes) => {
                    self.synced.write(&changes).expect("what was written once in this order can be written again");
                }
                Transaction::Clear => self.synced = Contents::new(self.synced.tables),
            }
        }
    }
}

/// One generation of a service's read model, in memory.
pub struct MemoryRows<D: Decider> {
    tables: &'static Tables<D>,
    generations: Arc<Mutex<BTreeMap<u32, Generation<D>>>>,
    number: u32,
}

impl<D: Decider> Clone for MemoryRows<D> {
    fn clone(&self) -> Self {
        self.of_generation(self.number)
    }
}

impl<D: Decider> MemoryRows<D> {
    pub fn new(tables: &'static Tables<D>) -> Self {
        Self { tables, generations: Arc::default(), number: 1 }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Generation<D>>> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Generation<D>) -> T) -> T {
        look(self.all().entry(self.number).or_insert_with(|| Generation::new(self.tables)))
    }

    /// Returns another generation of the same read model, which is empty if it did not exist.
    #[must_use]
    pub fn of_generation(&self, number: u32) -> Self {
        Self { tables: self.tables, generations: Arc::clone(&self.generations), number }
    }

    /// Calls `look` with all rows.
    pub fn look<T>(&self, look: impl FnOnce(&Contents<D>) -> T) -> T {
        self.with(|generation| look(&generation.contents))
    }

    /// Writes synchronously; see [`Rows::write`].
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] if the changes do not follow the stored checkpoint. [`StoreError::NoTable`] for an unknown kind.
    pub fn put(&self, changes: &Changes<D>) -> Result<(), StoreError> {
        self.with(|generation| {
            generation.contents.write(changes)?;
            generation.unsynced.push(Transaction::Write(Box::new(changes.clone())));
            Ok(())
        })
    }

    /// Returns the number of transactions that a crash may lose.
    pub fn n_unsynced(&self) -> usize {
        self.with(|generation| generation.unsynced.len())
    }

    /// Makes everything written so far survive a crash.
    pub fn sync(&self) {
        self.with(Generation::sync);
    }

    /// Simulates a power failure: keeps only the oldest `n_kept` of the unsynced transactions.
    pub fn lose_unsynced(&self, n_kept: usize) {
        self.with(|generation| {
            generation.unsynced.truncate(n_kept);
            generation.sync();
            generation.contents = generation.synced.clone();
        });
    }

    pub fn delete(&self) {
        self.with(|generation| *generation = Generation::new(self.tables));
    }
}

impl<D: Decider> Rows<D> for MemoryRows<D> {
    type Writer = ();

    fn tables(&self) -> &'static Tables<D> {
        self.tables
    }

    async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        Ok(self.look(Contents::checkpoint))
    }

    async fn load(&self, wanted: &[Wanted]) -> Result<Vec<Loaded<D::Entity>>, StoreError> {
        for kind in wanted.iter().filter_map(|wanted| wanted.kind) {
            self.tables.of(kind)?;
        }
        Ok(self.look(|contents| wanted.iter().map(|wanted| contents.load(*wanted)).collect()))
    }

    async fn writer(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, (): &mut (), changes: &Changes<D>, _: Pace) -> Result<(), StoreError> {
        self.put(changes)
    }

    async fn create_indexes(&self, (): &mut ()) -> Result<(), StoreError> {
        Ok(())
    }

    async fn clear(&self, (): &mut ()) -> Result<(), StoreError> {
        self.with(|generation| {
            generation.contents = Contents::new(self.tables);
            generation.unsynced.push(Transaction::Clear);
        });
        Ok(())
    }

    async fn unaccepted(&self, from: u64, to: u64) -> Result<Unaccepted, StoreError> {
        Ok(self.look(|contents| {
            let first = contents.records.partition_point(|record| record.offset < from);
            let range = contents.records[first..].iter().take_while(|record| record.offset < to);
            let unaccepted = range.filter(|record| record.verdict != Verdict::Accepted);
            Unaccepted {
                next: contents.next,
                verdicts: unaccepted.map(|record| (record.offset, record.verdict)).collect(),
            }
        }))
    }

    async fn set_aside(&self) -> Result<SetAside, StoreError> {
        Ok(self.look(Contents::set_aside))
    }

    async fn discarded(&self) -> Result<Vec<DiscardedRow>, StoreError> {
        Ok(self.look(|contents| contents.discarded.values().cloned().collect()))
    }

    async fn due(&self, timer: &Timer<D>, now: Millis, limit: u32) -> Result<Vec<(Key, Due<D>)>, StoreError> {
        let due = |((kind, key), (_, _, entity)): (&(Kind, Key), &Versioned<D::Entity>)| {
            let due = if *kind == timer.kind { (timer.due)(entity) } else { None };
            due.filter(|due| due.at_ms <= now).map(|due| (*key, due))
        };
        let mut due: Vec<_> = self.look(|contents| contents.entities.iter().filter_map(due).collect());
        due.sort_by_key(|(key, due)| (due.at_ms, *key));
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }

    fn generation(&self) -> u32 {
        self.number
    }

    async fn have_serve(&self, number: u32) -> Result<Self, StoreError> {
        Ok(self.of_generation(number))
    }
}
