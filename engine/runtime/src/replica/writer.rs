//! The writer: one task with the store's only writing connection, one change set after the other.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use orderlog_core::{
    decider::Decider,
    machine::{Changes, CopiedRow},
    planted::Bug,
};
use orderlog_readmodel::{Pace, Rows, StoreError};
use tokio::sync::mpsc;
use tracing::warn;

use super::{LoopError, Shared};
use crate::environment::Environment;

/// The pause before a failed write is retried with the same change set.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

enum Task<D: Decider> {
    Write(u64, Box<Changes<D>>, Pace),
    CreateIndexes,
    Clear,
}

/// A completed task of the writer.
#[derive(Clone, Debug)]
pub(super) enum Done {
    /// A change set is in the rows, with the checkpoint `next` and facts copied up to `copied`.
    Written {
        change_set: u64,
        next: u64,
        copied: Vec<CopiedRow>,
    },
    /// The indexes for list queries exist.
    Indexed,
    Cleared,
}

/// The loop's handle of the writer.
pub(super) struct WriterTask<D: Decider> {
    tasks: mpsc::UnboundedSender<Task<D>>,
    done: mpsc::UnboundedReceiver<Result<Done, StoreError>>,
    n_under_way: usize,
}

impl<D: Decider> WriterTask<D> {
    pub fn start<R: Rows<D>>(rows: Arc<R>, shared: Arc<Shared>, environment: &dyn Environment) -> Self {
        let (tasks, todo) = mpsc::unbounded_channel();
        let (did, done) = mpsc::unbounded_channel();
        // The state of earlier rows says nothing about these.
        shared.can_write();
        environment.spawn(write_all(rows, shared, todo, did).boxed());
        Self { tasks, done, n_under_way: 0 }
    }

    /// Whether all tasks are done.
    pub fn is_idle(&self) -> bool {
        self.n_under_way() == 0
    }

    /// Returns the number of tasks that are not done yet.
    pub fn n_under_way(&self) -> usize {
        self.n_under_way
    }

    /// Enqueues a change set. Tasks are executed in order.
    pub fn write(&mut self, change_set: u64, changes: Changes<D>, pace: Pace) {
        self.n_under_way += 1;
        // The task ends only when this sender is dropped.
        drop(self.tasks.send(Task::Write(change_set, Box::new(changes), pace)));
    }

    /// Enqueues the creation of the indexes for list queries, once no more bulk writes follow.
    pub fn create_indexes(&mut self) {
        self.n_under_way += 1;
        drop(self.tasks.send(Task::CreateIndexes));
    }

    /// Enqueues the deletion of all rows.
    pub fn clear(&mut self) {
        self.n_under_way += 1;
        drop(self.tasks.send(Task::Clear));
    }

    /// Waits for the next completed task. An error means that the rows can no longer be written.
    pub async fn done(&mut self) -> Result<Done, LoopError> {
        let done = self.done.recv().await.ok_or(LoopError::Writer)??;
        self.n_under_way -= 1;
        Ok(done)
    }
}

async fn write_all<D: Decider, R: Rows<D>>(
    rows: Arc<R>,
    shared: Arc<Shared>,
    mut todo: mpsc::UnboundedReceiver<Task<D>>,
    did: mpsc::UnboundedSender<Result<Done, StoreError>>,
) {
    let mut writer = match rows.writer().await {
        Ok(writer) => writer,
        // The loop may have ended.
        Err(failure) => return drop(did.send(Err(failure))),
    };
    let mut wanted = shared.trials.wanted.subscribe();
    loop {
        let task = tokio::select! {
            biased;
            task = todo.recv() => match task {
                Some(task) => task,
                None => return,
            },
            // The sender lives as long as `shared`.
            _ = wanted.changed() => {
                match rows.try_writing(&mut writer).await {
                    Ok(()) => shared.can_write(),
                    Err(failure) => shared.can_not_write(&failure),
                }
                shared.trials.done.send_replace(*wanted.borrow_and_update());
                continue;
            }
        };
        let done = carry_out(rows.as_ref(), &mut writer, task, &shared).await;
        let is_over = done.is_err();
        if did.send(done).is_err() || is_over {
            return;
        }
    }
}

/// Executes a task, and retries it until it succeeds. The rows are a copy, so nothing is lost while they cannot be written.
///
/// # Errors
/// Damage, which no retry repairs.
async fn carry_out<D: Decider, R: Rows<D>>(
    rows: &R,
    writer: &mut R::Writer,
    task: Task<D>,
    shared: &Shared,
) -> Result<Done, StoreError> {
    match task {
        Task::Write(change_set, changes, pace) => {
            while let Err(failure) = rows.write(writer, &changes, pace).await {
                if Bug::ForgetFailedWrites.is_loose() {
                    break;
                }
                try_again::<D>("written", failure, shared).await?;
            }
            shared.can_write();
            shared.trials.done.send_replace(*shared.trials.wanted.borrow());
            Ok(Done::Written { change_set, next: changes.next, copied: changes.copied })
        }
        Task::CreateIndexes => match rows.create_indexes(writer).await {
            Err(failure) if failure.is_damage() => Err(failure),
            Err(failure) => {
                warn!(service = D::JOURNAL, "indexes of {} can't be made, lists will be slow: {failure}", D::JOURNAL);
                Ok(Done::Indexed)
            }
            Ok(()) => Ok(Done::Indexed),
        },
        Task::Clear => {
            while let Err(failure) = rows.clear(writer).await {
                try_again::<D>("deleted", failure, shared).await?;
            }
            Ok(Done::Cleared)
        }
    }
}

async fn try_again<D: Decider>(what: &str, failure: StoreError, shared: &Shared) -> Result<(), StoreError> {
    if failure.is_damage() {
        return Err(failure);
    }
    shared.can_not_write(&failure);
    warn!(service = D::JOURNAL, "the rows of {} can't be {what}: {failure}", D::JOURNAL);
    tokio::time::sleep(WRITE_AGAIN).await;
    Ok(())
}
