//! How a service does: for readiness, metrics and a stop in steps.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use orderlog_core::decider::Decider;
use orderlog_runtime::{
    measures::Measures,
    replica::{Behind, Replica, State},
};

/// How far a service has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is doing.
    pub state: State,
    /// One past the last record in its rows.
    pub position: u64,
    /// One past the last record of its journal, or why that is not known.
    pub end: Result<u64, String>,
    /// For how long a record has been missing in its rows.
    pub behind_ms: u64,
    /// Why its rows can't be read, if they can't.
    pub rows: Result<(), String>,
    /// What it can't do, though it goes on.
    pub trouble: Option<String>,
}

/// How a service does.
pub trait Probe: Send + Sync {
    /// Now, as far as it can be told within `wait`.
    fn standing(&self, wait: Duration) -> BoxFuture<'_, Standing>;

    /// How far its rows are behind.
    fn behind(&self) -> Behind;

    /// What it counts of itself.
    fn measures(&self) -> &Arc<Measures>;

    /// Another instance has answered a command for this one, with a record below `position`.
    fn has_answered_elsewhere(&self, position: u64);

    /// Have its duties end, and wait until everything that was answered stands in the rows.
    fn settle(&self) -> BoxFuture<'_, ()>;
}

impl<D: Decider> Probe for Replica<D> {
    fn standing(&self, wait: Duration) -> BoxFuture<'_, Standing> {
        async move {
            let (journal, store) = ([Self::journal()], self.store());
            let ends = tokio::time::timeout(wait, self.log().ends(&journal));
            let rows = tokio::time::timeout(wait, store.checkpoint());
            let appends = tokio::time::timeout(wait, self.log().takes_appends());
            // What comes of it is its trouble. Before it is ready, large pieces are written that may take longer.
            let writes = tokio::time::timeout(wait, async {
                if *self.state().borrow() == State::Ready {
                    self.try_writing().await;
                }
            });
            let (ends, rows, appends, _) = tokio::join!(ends, rows, appends, writes);
            let end = match (ends, appends) {
                (_, Ok(Err(why))) => Err(format!("it can't be written: {why}")),
                (Ok(ends), Ok(Ok(()))) => {
                    ends.map(|ends| ends.first().copied().unwrap_or(0)).map_err(|error| error.to_string())
                }
                (Err(_), _) => Err("it does not say where the journal ends".to_owned()),
                (_, Err(_)) => Err("it can't be written in time".to_owned()),
            };
            let rows = match rows {
                Ok(rows) => rows.map(drop).map_err(|error| error.to_string()),
                Err(_) => Err("they can't be read in time".to_owned()),
            };
            let (state, position) = (self.state().borrow().clone(), *self.committed().borrow());
            let behind_ms = self.behind().ms;
            Standing { state, position, end, behind_ms, rows, trouble: self.trouble() }
        }
        .boxed()
    }

    fn behind(&self) -> Behind {
        Self::behind(self)
    }

    fn measures(&self) -> &Arc<Measures> {
        Self::measures(self)
    }

    fn has_answered_elsewhere(&self, position: u64) {
        Self::has_answered_elsewhere(self, position);
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        async move {
            self.end_duties().await;
            self.read_your_writes().await;
        }
        .boxed()
    }
}
