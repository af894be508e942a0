//! A log whose appends can be held back, so that a test decides who is first.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use orderlog_eventlog::{
    Appending, EventLog, Lease, LeaseError, NewRecord, Partition, Position, ReadError, Reading, Record, TopicError,
    TopicSpec,
};
use tokio::sync::{oneshot, watch};

/// Held appends, in the order in which they were made, and how to answer each.
type Held = Vec<(Vec<NewRecord>, oneshot::Sender<Appending>)>;

/// The gate before another log.
pub struct Gate {
    log: Arc<dyn EventLog>,
    held: Mutex<Option<Held>>,
    n_held: watch::Sender<usize>,
}

impl Gate {
    pub fn on(log: Arc<dyn EventLog>) -> Arc<Self> {
        Arc::new(Self { log, held: Mutex::new(None), n_held: watch::Sender::new(0) })
    }

    /// From now on appends are held back.
    pub fn close(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
        self.n_held.send_replace(0);
    }

    /// Wait until so many records are held back.
    pub async fn holds(&self, n: usize) {
        self.n_held.subscribe().wait_for(|held| *held >= n).await.unwrap();
    }

    /// Let through what was held back, in order, and everything after it.
    pub fn open(&self) {
        for (records, appending) in self.held.lock().unwrap().take().unwrap() {
            drop(appending.send(self.log.append(records)));
        }
    }
}

#[async_trait]
impl EventLog for Gate {
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        self.log.prepare(topics).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        self.log.partitions(topic).await
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        let mut held = self.held.lock().unwrap();
        let Some(held) = held.as_mut() else { return self.log.append(records) };
        let (let_through, appending) = oneshot::channel();
        self.n_held.send_modify(|n| *n += records.len());
        held.push((records, let_through));
        async move { appending.await.unwrap().await }.boxed()
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        self.log.read(from)
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        self.log.ends(partitions).await
    }

    async fn close(&self) {
        self.log.close().await;
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        self.log.fetch(partition, offsets).await
    }

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        self.log.positions(group, partitions).await
    }

    fn has_foreign_writers(&self) -> bool {
        self.log.has_foreign_writers()
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        self
    }

    async fn lead(&self, group: &str, journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        self.log.lead(group, journal).await
    }
}
