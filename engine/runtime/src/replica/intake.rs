//! What the loop reads from the log: the journal up to a limit, facts to copy, and the ends of all these partitions.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use orderlog_core::{
    decider::Decider,
    machine::{Core, Ends, Ticket},
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Reading, Record};
use tokio::sync::watch;

use crate::consumed::Consumed;

/// How far an instance folds the journal.
pub struct Reach {
    /// The instance is ready once it reaches the smaller of this offset and the end that the journal had at its start.
    pub target: u64,
    /// Records at or above this offset are not folded. It may be raised.
    pub limit: watch::Receiver<u64>,
}

impl Reach {
    pub fn unlimited() -> Self {
        Self { target: u64::MAX, limit: watch::Sender::new(u64::MAX).subscribe() }
    }
}

/// The input of the loop.
pub(super) struct Intake {
    pub held: Held,
    pub copies: Copies,
    pub ends: EndsQuery,
}

/// Journal records that were read but not folded yet.
pub(super) struct Held {
    /// Records at or above this offset are not folded.
    pub limit: watch::Receiver<u64>,
    /// Records at or above the limit.
    pub records: VecDeque<Record>,
}

impl Held {
    /// Waits until the limit is raised.
    pub async fn raised(&mut self) {
        if self.limit.changed().await.is_err() {
            // The sender is gone, so the limit can no longer be raised.
            std::future::pending().await
        }
    }
}

/// The partitions to copy facts from.
pub(super) struct Copies {
    pub partitions: Vec<Partition>,
    /// Whether there are any, and every record so far could be read.
    pub is_possible: bool,
    topics: &'static [&'static str],
    consumed: Consumed,
}

impl Copies {
    pub fn of<D: Decider>(consumed: Consumed) -> Self {
        let partitions = consumed.of(D::COPIES);
        Self { is_possible: !partitions.is_empty(), partitions, topics: D::COPIES, consumed }
    }

    /// Waits until partitions were added, which are then among those to copy from.
    pub async fn grown(&mut self) {
        loop {
            self.consumed.grown().await;
            let partitions = self.consumed.of(self.topics);
            if partitions.len() > self.partitions.len() {
                self.partitions = partitions;
                return;
            }
        }
    }

    pub fn start_over(&mut self) {
        self.is_possible = !self.partitions.is_empty();
    }

    /// Reads the records that follow those that the core has copied.
    pub fn read<D: Decider>(&self, log: &dyn EventLog, core: &Core<D>) -> Reading {
        if self.partitions.is_empty() {
            return futures_util::stream::pending().boxed();
        }
        let next = |partition: &Partition| core.copied_next(&partition.topic, partition.index);
        log.read(self.partitions.iter().map(|partition| (partition.clone(), next(partition))).collect())
    }

    /// Converts the ends of the partitions to the core's representation.
    pub fn ends(&self, ends: &[u64]) -> Ends {
        let copied = self.partitions.iter().zip(ends.iter().skip(1));
        Ends { journal: ends[0], copied: copied.map(|(it, end)| (it.topic.to_string(), it.index, *end)).collect() }
    }
}

/// A running query for the ends of the partitions, with the last command that it answers.
type RunningQuery = BoxFuture<'static, (Ticket, Result<Vec<u64>, ReadError>)>;

/// Queries where the journal and the copied topics end. One answer serves every command submitted before the query.
#[derive(Default)]
pub(super) struct EndsQuery {
    pub is_wanted: bool,
    running: Option<RunningQuery>,
}

impl EndsQuery {
    /// Sends the query if it is wanted and none is running.
    pub fn ask<D: Decider>(&mut self, log: &Arc<dyn EventLog>, copies: &Copies, up_to: Ticket) {
        if self.is_wanted && self.running.is_none() {
            self.is_wanted = false;
            let (log, journal) = (Arc::clone(log), Partition::journal(D::JOURNAL));
            let partitions: Vec<_> = std::iter::once(journal).chain(copies.partitions.iter().cloned()).collect();
            self.running = Some(async move { (up_to, log.ends(&partitions).await) }.boxed());
        }
    }

    /// Waits for the answer. Pending forever if no query is running.
    pub async fn answer(&mut self) -> (Ticket, Result<Vec<u64>, ReadError>) {
        let answer = if_any(&mut self.running).await;
        self.running = None;
        answer
    }
}

/// Awaits the future. Pending forever if there is none.
pub(super) async fn if_any<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
