//! Assembles a service: its rows, its replica, and the background tasks under the journal's lease.

use std::sync::Arc;

use futures_util::FutureExt;
use orderlog_core::{decider::Decider, public::Services};
use orderlog_eventlog::{Lease, LeaseError, TopicKind, TopicSpec};
use orderlog_readmodel::{Rows, Store, Tables};

use crate::{
    background::{self, Failure, Troubles},
    reactor, relay,
    replica::{Damage, Replica, Setup, StartError},
    snapshots::{self, Keeping},
    timer,
};

/// Returns every topic of these services: first the journals, then the public topics.
pub fn topics(services: &Services) -> Vec<TopicSpec> {
    let spec = |name: &'static str, kind| TopicSpec { name: name.into(), kind };
    let journals = services.iter().map(|(journal, _)| spec(journal, TopicKind::Journal));
    let public = services.iter().flat_map(|(_, published)| *published).map(|(topic, _)| spec(topic, TopicKind::Public));
    journals.chain(public).collect()
}

/// Why a service could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    #[error(transparent)]
    Replica(#[from] StartError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

pub struct Assembled<D: Decider, R = Store<D>> {
    pub replica: Replica<D, R>,
    /// For further background tasks of this service.
    pub lease: Arc<dyn Lease>,
}

/// The consumer group of a journal's instances, which stores the positions of their background tasks.
pub(crate) fn group_of(journal: &str) -> String {
    format!("orderlog.{journal}")
}

/// Starts a service: its replica on its rows, its relay, its reactor and its timers. It catches up in the background.
///
/// # Errors
/// [`AssemblyError`] if it cannot or must not run.
pub async fn start<D: Decider>(
    setup: Setup,
    tables: &'static Tables<D>,
    keeping: &Keeping,
    troubles: &Troubles,
) -> Result<Assembled<D>, AssemblyError> {
    let store = Arc::new(keeping.open(tables, setup.log.as_ref()).await?);
    let assembled = start_on(setup, store, troubles).await?;
    let making = snapshots::keep_making(assembled.replica.clone(), keeping.every, keeping.n_kept);
    assembled.replica.setup().environment.spawn(making.boxed());
    Ok(assembled)
}

/// Like [`start`], on existing rows in any kind of store.
pub async fn start_on<D: Decider, R: Rows<D>>(
    setup: Setup,
    rows: Arc<R>,
    troubles: &Troubles,
) -> Result<Assembled<D, R>, AssemblyError> {
    let lease = setup.log.lead(&group_of(D::JOURNAL), D::JOURNAL).await?;
    let replica = Replica::start(setup, rows).await?.hearing(Arc::clone(&lease));
    replica.setup().environment.spawn(replica.clone().prove_news().boxed());
    perform(&lease, troubles, "relay", &replica, relay::run::<D, R>);
    if !D::REACTS_TO.is_empty() {
        perform(&lease, troubles, "reactor", &replica, reactor::run::<D, R>);
    }
    replica.setup().environment.spawn(crate::replica::watch_lag(replica.clone()).boxed());
    if !replica.store().tables().timers.is_empty() {
        perform(&lease, troubles, "timer", &replica, |replica, _| timer::run(replica));
    }
    Ok(Assembled { replica, lease })
}

/// Waits until a replica accepts commands. Returns `false` if it never will. Damaged rows may be replaced.
async fn takes_commands<D: Decider, R: Rows<D>>(replica: &Replica<D, R>) -> bool {
    let mut state = replica.state();
    while replica.ready().await.is_err() {
        if replica.damage() != Some(Damage::Rows) || state.changed().await.is_err() {
            return false;
        }
    }
    true
}

/// Starts a background task of a replica: it runs once the replica accepts commands, on the instance that holds the lease.
pub fn perform<D, R, E, W>(
    lease: &Arc<dyn Lease>,
    troubles: &Troubles,
    name: &'static str,
    replica: &Replica<D, R>,
    work: impl Fn(Replica<D, R>, Arc<dyn Lease>) -> W + Send + Sync + 'static,
) where
    D: Decider,
    R: Rows<D>,
    E: Failure + Send + 'static,
    W: Future<Output = Result<(), E>> + Send + 'static,
{
    let (lease, troubles, replica) = (Arc::clone(lease), troubles.clone(), replica.clone());
    let environment = Arc::clone(&replica.setup().environment);
    let performing = async move {
        if takes_commands(&replica).await {
            let begin = || {
                let (work, under_way) = (work(replica.clone(), Arc::clone(&lease)), replica.begin_task(name));
                async move { (work.await, under_way) }
            };
            background::perform((lease.as_ref(), &replica.ending()), &troubles, (D::JOURNAL, name), begin).await;
        }
    };
    environment.spawn(performing.boxed());
}
