//! How a replica's duties come to an end before the process does: each does what it has begun, keeps how far it has come, and
//! takes up nothing more. Whoever goes on with them then has nothing to do twice.

use std::sync::Arc;

use orderlog_core::decider::Decider;
use orderlog_readmodel::Rows;
use tokio::sync::watch;

use super::{Replica, Shared};

/// Whether duties are to end, and how many are under way.
#[derive(Debug, Default)]
pub(super) struct Ending {
    asked: watch::Sender<bool>,
    n_under_way: watch::Sender<usize>,
}

/// A duty that is under way, until this is dropped.
pub(crate) struct UnderWay {
    shared: Arc<Shared>,
    duty: &'static str,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.ending.n_under_way.send_modify(|n| *n -= 1);
        // Another instance may go on with it: what it told of its positions is not this one's to tell.
        self.shared.measures.rests(self.duty);
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Have the duties end, and wait until they have.
    pub async fn end_duties(&self) {
        self.shared.ending.asked.send_replace(true);
        let mut n_under_way = self.shared.ending.n_under_way.subscribe();
        // The sender lives as long as this handle.
        drop(n_under_way.wait_for(|n| *n == 0).await);
    }

    /// Whether duties are to end, now and as it changes.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.shared.ending.asked.subscribe()
    }

    /// Wait until duties are to end.
    pub async fn is_to_end(&self) {
        drop(self.ending().wait_for(|is_to_end| *is_to_end).await);
    }

    pub(crate) fn begin_duty(&self, duty: &'static str) -> UnderWay {
        self.shared.ending.n_under_way.send_modify(|n| *n += 1);
        UnderWay { shared: Arc::clone(&self.shared), duty }
    }
}
