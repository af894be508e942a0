//! An in-memory log with faults that tests inject.
//!
//! It starts no task and reads no clock, so its behavior depends only on the calls made. Clones of its `Arc` represent the
//! instances of a deployment; all of them may append, read and hold leases.
//!
//! Deliberately absent: durability, and random faults (a test that needs randomness uses its own seed).

mod lease;
mod whole;

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{oneshot, watch};

use self::lease::{Group, SimulatedLease};
use crate::{
    AppendError, Appending, Batch, EventLog, Landed, Lease, LeaseError, NewRecord, Partition, Position, ReadError,
    Reading, Record, TopicError, TopicKind, TopicSpec,
};

/// The number of partitions of a public topic. More than one, so that keys matter.
const PUBLIC_PARTITIONS: usize = 3;
/// Small, so that tests see several batches.
const BATCH_RECORDS: usize = 100;

/// The outcome of all records of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not in the log, and reported as [`AppendError::Refused`].
    Refused,
    /// Not in the log, but reported as [`AppendError::Unknown`].
    UnknownLost,
    /// In the log, but reported as [`AppendError::Unknown`]. A held append is answered immediately, but lands when it is released.
    UnknownLanded,
    /// In the log twice, and acknowledged with the first offsets.
    Duplicated,
}

/// An in-memory log.
#[derive(Debug)]
pub struct SimulatedLog {
    shared: Arc<Shared>,
    has_foreign_writers: bool,
}

/// The log's state, which readings and leases may use after the log was dropped.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts changes; readers wait on it.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    time_ms: i64,
    topics: HashMap<Arc<str>, Topic>,
    faults: VecDeque<Fault>,
    n_fetches_failing: usize,
    holding: bool,
    held: Vec<Held>,
    positions: HashMap<(String, Partition), Position>,
    groups: HashMap<String, Group>,
    next_member: u64,
}

#[derive(Debug)]
struct Topic {
    kind: TopicKind,
    partitions: Vec<Vec<Record>>,
}

#[derive(Debug)]
struct Held {
    records: Vec<NewRecord>,
    fault: Option<Fault>,
    done: oneshot::Sender<Vec<Result<Landed, AppendError>>>,
}

impl SimulatedLog {
    /// Creates an empty log, with its clock at 0.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { shared: Arc::default(), has_foreign_writers: false })
    }

    /// Creates an empty log that other programs write to as well.
    pub fn with_foreign_writers() -> Arc<Self> {
        Arc::new(Self { shared: Arc::default(), has_foreign_writers: true })
    }

    pub fn set_time_ms(&self, time_ms: i64) {
        self.shared.state().time_ms = time_ms;
    }

    /// Injects a fault into the next append. Several calls queue faults for consecutive appends.
    pub fn fail_next_append(&self, fault: Fault) {
        self.shared.state().faults.push_back(fault);
    }

    /// Makes the next `n` fetches fail with [`ReadError::Unavailable`].
    pub fn fail_next_fetches(&self, n: usize) {
        self.shared.state().n_fetches_failing = n;
    }

    /// Holds all further appends: they neither land nor are answered.
    pub fn hold_appends(&self) {
        self.shared.state().holding = true;
    }

    pub fn held_appends(&self) -> usize {
        self.shared.state().held.len()
    }

    /// Releases held appends in this order, where 0 is the one held the longest. The others, and new ones, remain held.
    ///
    /// # Panics
    /// If an index is out of bounds or repeated.
    pub fn release_in(&self, order: &[usize]) {
        let mut state = self.shared.state();
        let mut held: Vec<Option<Held>> = state.held.drain(..).map(Some).collect();
        for &index in order {
            let append = held[index].take().expect("a held append is released once");
            state.release(append);
        }
        state.held = held.into_iter().flatten().collect();
        self.shared.changed(state);
    }

    /// Releases all held appends in the order they were made, and stops holding.
    pub fn release_appends(&self) {
        let mut state = self.shared.state();
        state.holding = false;
        for append in std::mem::take(&mut state.held) {
            state.release(append);
        }
        self.shared.changed(state);
    }

    /// Appends a record as another program would, bypassing faults and holds. Returns its offset.
    ///
    /// # Panics
    /// If the topic or partition does not exist, or the record is too large.
    pub fn append_raw(&self, record: NewRecord) -> u64 {
        let mut state = self.shared.state();
        let landed = state.land(record).expect("a foreign writer's topic exists");
        self.shared.changed(state);
        landed.offset
    }

    /// Truncates every partition of the topic to this end, as if an older copy of the log had been restored.
    ///
    /// # Panics
    /// If the topic does not exist.
    pub fn truncate(&self, topic: &str, end: u64) {
        let mut state = self.shared.state();
        let partitions = &mut state.topics.get_mut(topic).expect("the topic to truncate exists").partitions;
        for partition in partitions {
            partition.truncate(index(end));
        }
        self.shared.changed(state);
    }

    /// Adds an empty partition to a topic.
    ///
    /// # Panics
    /// If the topic does not exist.
    pub fn add_partition(&self, topic: &str) {
        let mut state = self.shared.state();
        state.topics.get_mut(topic).expect("the topic to extend exists").partitions.push(Vec::new());
    }

    /// Takes the lease from its holder and gives it to the next member. Without another member, nobody holds it until one joins.
    pub fn drop_lease_holder(&self, group: &str) {
        let mut state = self.shared.state();
        if let Some(group) = state.groups.get_mut(group) {
            group.depose();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks the state, then wakes readers.
    fn changed(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl State {
    fn positions_of(&self, group: &str, partitions: &[Partition]) -> Vec<Option<Position>> {
        let get = |partition: &Partition| self.positions.get(&(group.to_owned(), partition.clone())).cloned();
        partitions.iter().map(get).collect()
    }

    fn release(&mut self, append: Held) {
        let answers = self.settle(append.records, append.fault);
        // The caller may have stopped waiting.
        drop(append.done.send(answers));
    }

    /// Lands the records unless the fault prevents it, and returns the answers.
    fn settle(&mut self, records: Vec<NewRecord>, fault: Option<Fault>) -> Vec<Result<Landed, AppendError>> {
        let count = records.len();
        match fault {
            None => records.into_iter().map(|record| self.land(record)).collect(),
            Some(Fault::Duplicated) => {
                let answers = records.iter().map(|record| self.land(record.clone())).collect();
                for record in records {
                    // This is refused if and only if it was refused the first time.
                    drop(self.land(record));
                }
                answers
            }
            Some(Fault::Refused) => vec![Err(refused("a simulated refusal")); count],
            Some(Fault::UnknownLost) => vec![Err(unknown()); count],
            Some(Fault::UnknownLanded) => {
                for record in records {
                    drop(self.land(record));
                }
                vec![Err(unknown()); count]
            }
        }
    }

    fn land(&mut self, record: NewRecord) -> Result<Landed, AppendError> {
        record.fits()?;
        let NewRecord { topic, partition, key, headers, value } = record;
        let found = self.topics.get_mut(&topic).ok_or_else(|| refused(&format!("topic {topic} does not exist")))?;
        let chosen = partition.unwrap_or_else(|| choose(key.as_deref(), found.partitions.len()));
        let records = found
            .partitions
            .get_mut(chosen as usize)
            .ok_or_else(|| refused(&format!("topic {topic} has no partition {chosen}")))?;
        let offset = records.len() as u64;
        records.push(Record { offset, time_ms: self.time_ms, key, headers, value });
        Ok(Landed { partition: chosen, offset })
    }

    fn records(&self, partition: &Partition) -> Result<&Vec<Record>, ReadError> {
        let unknown = |topic| ReadError::UnknownTopic { topic };
        let topic = self.topics.get(&partition.topic).ok_or_else(|| unknown(Arc::clone(&partition.topic)))?;
        topic.partitions.get(partition.index as usize).ok_or_else(|| unknown(partition.to_string().into()))
    }

    /// Returns a batch of the records from `from`. Empty at the end.
    fn batch(&self, partition: &Partition, from: u64) -> Result<Vec<Record>, ReadError> {
        let records = self.records(partition)?;
        let rest = records.get(index(from)..).ok_or_else(|| out_of_range(partition, from, records))?;
        Ok(rest.iter().take(BATCH_RECORDS).cloned().collect())
    }
}

#[async_trait]
impl EventLog for SimulatedLog {
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        let mut state = self.shared.state();
        for spec in topics {
            let count = match spec.kind {
                TopicKind::Journal => 1,
                TopicKind::Public => PUBLIC_PARTITIONS,
            };
            let new = || Topic { kind: spec.kind, partitions: vec![Vec::new(); count] };
            let topic = state.topics.entry(Arc::clone(&spec.name)).or_insert_with(new);
            if topic.kind != spec.kind {
                return Err(TopicError::Drift {
                    topic: Arc::clone(&spec.name),
                    setting: "kind".into(),
                    found: format!("{:?}", topic.kind),
                    wanted: format!("{:?}", spec.kind),
                });
            }
        }
        Ok(Vec::new())
    }

    fn has_foreign_writers(&self) -> bool {
        self.has_foreign_writers
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        let state = self.shared.state();
        let (name, topic) =
            state.topics.get_key_value(topic).ok_or_else(|| ReadError::UnknownTopic { topic: topic.into() })?;
        Ok((0..).zip(&topic.partitions).map(|(index, _)| Partition::new(Arc::clone(name), index)).collect())
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        let mut state = self.shared.state();
        let fault = state.faults.pop_front();
        if !state.holding {
            let answers = state.settle(records, fault);
            self.shared.changed(state);
            return std::future::ready(answers).boxed();
        }
        let count = records.len();
        let (done, outcome) = oneshot::channel();
        state.held.push(Held { records, fault, done });
        if fault == Some(Fault::UnknownLanded) {
            return std::future::ready(vec![Err(unknown()); count]).boxed();
        }
        async move { outcome.await.unwrap_or_else(|_| vec![Err(unknown()); count]) }.boxed()
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        let shared = Arc::clone(&self.shared);
        let changes = shared.changes.subscribe();
        stream::unfold(Some(Cursor { shared, changes, from: from.into() }), |cursor| async move {
            let mut cursor = cursor?;
            match cursor.next().await {
                Ok(batch) => Some((Ok(batch), Some(cursor))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        let state = self.shared.state();
        partitions.iter().map(|partition| Ok(state.records(partition)?.len() as u64)).collect()
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        let mut state = self.shared.state();
        if let Some(n_left) = state.n_fetches_failing.checked_sub(1) {
            state.n_fetches_failing = n_left;
            return Err(ReadError::Unavailable { reason: "a simulated failure".into() });
        }
        let records = state.records(partition)?;
        let find =
            |&offset| records.get(index(offset)).cloned().ok_or_else(|| out_of_range(partition, offset, records));
        offsets.iter().map(find).collect()
    }

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        Ok(self.shared.state().positions_of(group, partitions))
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        self
    }

    async fn lead(&self, group: &str, _journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        Ok(Arc::new(SimulatedLease::new(Arc::clone(&self.shared), group)))
    }

    /// Does nothing.
    async fn close(&self) {}
}

struct Cursor {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    /// Round-robin: the partition that was looked at least recently comes first.
    from: VecDeque<(Partition, u64)>,
}

impl Cursor {
    async fn next(&mut self) -> Result<Batch, ReadError> {
        loop {
            // Before looking, so that a concurrent change wakes us again.
            self.changes.mark_unchanged();
            if let Some(batch) = self.look()? {
                return Ok(batch);
            }
            let changed = self.changes.changed().await;
            changed.map_err(|_| ReadError::Unavailable { reason: "the log is gone".into() })?;
        }
    }

    fn look(&mut self) -> Result<Option<Batch>, ReadError> {
        let state = self.shared.state();
        for _ in 0..self.from.len() {
            self.from.rotate_left(1);
            let Some((partition, next)) = self.from.back_mut() else {
                break;
            };
            let records = state.batch(partition, *next)?;
            if let Some(last) = records.last() {
                *next = last.offset + 1;
                return Ok(Some(Batch { partition: partition.clone(), records }));
            }
        }
        Ok(None)
    }
}

fn choose(key: Option<&[u8]>, partitions: usize) -> u32 {
    // `DefaultHasher::new` uses fixed keys, so the result is the same in every process.
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % partitions as u64) as u32
}

/// Converts an offset to an index, saturating: either way it is past the end of any vector.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn refused(reason: &str) -> AppendError {
    AppendError::Refused { reason: reason.into() }
}

fn unknown() -> AppendError {
    AppendError::Unknown { reason: "a simulated loss of the answer".into() }
}

fn out_of_range(partition: &Partition, wanted: u64, records: &[Record]) -> ReadError {
    ReadError::OutOfRange { partition: partition.clone(), wanted, first: 0, end: records.len() as u64 }
}
