//! Orderly shutdown of a replica's background tasks: each finishes the work it has begun, saves its position and starts nothing
//! new, so that the next instance repeats none of it.

use std::sync::Arc;

use orderlog_core::decider::Decider;
use orderlog_readmodel::Rows;
use tokio::sync::watch;

use super::{Replica, Shared};

/// Whether background tasks are asked to end, and how many are running.
#[derive(Debug, Default)]
pub(super) struct Ending {
    is_wanted: watch::Sender<bool>,
    n_under_way: watch::Sender<usize>,
}

/// Guard of a running background task; dropping it marks the task as ended.
pub(crate) struct UnderWay {
    shared: Arc<Shared>,
    task: &'static str,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.ending.n_under_way.send_modify(|n| *n -= 1);
        // Another instance may resume the task, so this one stops reporting its positions.
        self.shared.measures.rests(self.task);
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Asks the background tasks to end, and waits until they have.
    pub async fn end_tasks(&self) {
        self.shared.ending.is_wanted.send_replace(true);
        let mut n_under_way = self.shared.ending.n_under_way.subscribe();
        // The sender lives as long as this handle.
        drop(n_under_way.wait_for(|n| *n == 0).await);
    }

    /// Watches whether background tasks are asked to end.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.shared.ending.is_wanted.subscribe()
    }

    /// Waits until background tasks are asked to end.
    pub async fn is_to_end(&self) {
        drop(self.ending().wait_for(|is_to_end| *is_to_end).await);
    }

    pub(crate) fn begin_task(&self, task: &'static str) -> UnderWay {
        self.shared.ending.n_under_way.send_modify(|n| *n += 1);
        UnderWay { shared: Arc::clone(&self.shared), task }
    }
}
