//! What the loop takes in of the log besides its own appends: the journal up to a limit, facts to copy, and where all of it ends.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use orderlog_core::{
    decider::Decider,
    machine::{Core, Ends, Ticket},
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Reading, Record};
use tokio::sync::watch;

/// How far an instance folds.
pub struct Reach {
    /// It is ready once it has come to where the journal ends at its start, or here.
    pub target: u64,
    /// It folds no record at or above this, which may be raised.
    pub limit: watch::Receiver<u64>,
}

impl Reach {
    pub fn unlimited() -> Self {
        Self { target: u64::MAX, limit: watch::Sender::new(u64::MAX).subscribe() }
    }
}

/// What was read of the journal.
pub(super) struct Held {
    /// No record at or above this is folded.
    pub limit: watch::Receiver<u64>,
    /// Read, but above the limit.
    pub records: VecDeque<Record>,
}

impl Held {
    /// Until the limit is raised.
    pub async fn raised(&mut self) {
        if self.limit.changed().await.is_err() {
            // Nobody can raise it any more.
            std::future::pending().await
        }
    }
}

/// The partitions that facts are copied from.
pub(super) struct Copies {
    pub partitions: Vec<Partition>,
    /// There are any, and all records of them could be read so far.
    pub is_possible: bool,
}

impl Copies {
    pub fn of(partitions: Vec<Partition>) -> Self {
        Self { is_possible: !partitions.is_empty(), partitions }
    }

    pub fn start_over(&mut self) {
        self.is_possible = !self.partitions.is_empty();
    }

    /// Those that come after what the core has copied.
    pub fn read<D: Decider>(&self, log: &dyn EventLog, core: &Core<D>) -> Reading {
        if self.partitions.is_empty() {
            return futures_util::stream::pending().boxed();
        }
        let next = |partition: &Partition| core.copied_next(&partition.topic, partition.index);
        log.read(self.partitions.iter().map(|partition| (partition.clone(), next(partition))).collect())
    }

    /// An answer as the core takes it.
    pub fn ends(&self, ends: &[u64]) -> Ends {
        let copied = self.partitions.iter().zip(ends.iter().skip(1));
        Ends { journal: ends[0], copied: copied.map(|(it, end)| (it.topic.to_string(), it.index, *end)).collect() }
    }
}

/// Where the log's partitions end, and the last command that this answers.
type Asked = BoxFuture<'static, (Ticket, Result<Vec<u64>, ReadError>)>;

/// The question where the journal and the copied topics end. One answer serves every command that was asked before it.
#[derive(Default)]
pub(super) struct EndsQuery {
    pub is_wanted: bool,
    asked: Option<Asked>,
}

impl EndsQuery {
    /// Asks, if somebody waits for it and nothing is asked yet.
    pub fn ask<D: Decider>(&mut self, log: &Arc<dyn EventLog>, copies: &Copies, up_to: Ticket) {
        if self.is_wanted && self.asked.is_none() {
            self.is_wanted = false;
            let (log, journal) = (Arc::clone(log), Partition::journal(D::JOURNAL));
            let partitions: Vec<_> = std::iter::once(journal).chain(copies.partitions.iter().cloned()).collect();
            self.asked = Some(async move { (up_to, log.ends(&partitions).await) }.boxed());
        }
    }

    /// The answer; never, if nothing is asked.
    pub async fn answer(&mut self) -> (Ticket, Result<Vec<u64>, ReadError>) {
        let answer = if_any(&mut self.asked).await;
        self.asked = None;
        answer
    }
}

/// What comes of it; never anything, if there is nothing.
pub(super) async fn if_any<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
