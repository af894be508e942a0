//! The health of a service, for readiness, metrics and an orderly shutdown.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use orderlog_core::decider::Decider;
use orderlog_runtime::{
    background::Unreadable,
    measures::Measures,
    replica::{Behind, Replica, State},
};

/// The status of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// One past the last record in its rows.
    pub position: u64,
    /// One past the last record of its journal, or why that is unknown.
    pub end: Result<u64, String>,
    /// How long its rows have lacked a record, in milliseconds.
    pub behind_ms: u64,
    /// Why its rows cannot be read.
    pub rows: Result<(), String>,
    /// A problem that does not stop it.
    pub trouble: Option<String>,
    /// The first parked record.
    pub parked: Option<Unreadable>,
}

/// Checks the health of a service.
pub trait Probe: Send + Sync {
    /// Returns its status, as far as it can be determined within `wait`.
    fn standing(&self, wait: Duration) -> BoxFuture<'_, Standing>;

    /// Returns the lag of its rows.
    fn behind(&self) -> Behind;

    /// Returns its metrics.
    fn measures(&self) -> &Arc<Measures>;

    /// Records that another instance has executed a command for this one, with a record below `position`.
    fn has_answered_elsewhere(&self, position: u64);

    /// Ends its background tasks, and waits until the rows contain every answered command.
    fn settle(&self) -> BoxFuture<'_, ()>;
}

/// Returns the first parked record; `None` also if it can't be determined.
async fn first_parked<D: Decider>(replica: &Replica<D>) -> Option<Unreadable> {
    let offset = replica.store().parked(0, 1).await.ok()?.first()?.offset;
    let records = replica.log().fetch(&Replica::<D>::journal(), &[offset]).await.ok()?;
    Some(Unreadable { journal: D::JOURNAL, offset, written_ms: records.first()?.time_ms })
}

impl<D: Decider> Probe for Replica<D> {
    fn standing(&self, wait: Duration) -> BoxFuture<'_, Standing> {
        async move {
            let (journal, store) = ([Self::journal()], self.store());
            let ends = tokio::time::timeout(wait, self.log().ends(&journal));
            let rows = tokio::time::timeout(wait, store.checkpoint());
            let appends = tokio::time::timeout(wait, self.log().takes_appends());
            // A failure shows up as its trouble. Before it is ready, bulk writes may take longer than `wait`.
            let writes = tokio::time::timeout(wait, async {
                if *self.state().borrow() == State::Ready {
                    self.try_writing().await;
                }
            });
            let parked = tokio::time::timeout(wait, first_parked(self));
            let (ends, rows, appends, parked, _) = tokio::join!(ends, rows, appends, parked, writes);
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
            let parked = parked.ok().flatten();
            Standing { state, position, end, behind_ms, rows, trouble: self.trouble(), parked }
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
            self.end_tasks().await;
            self.read_your_writes().await;
        }
        .boxed()
    }
}
