//! How a service is put together: rows, replica, and the duties under the journal's lease.

use std::{fmt::Display, sync::Arc};

use futures_util::FutureExt;
use orderlog_core::{decider::Decider, public::Services};
use orderlog_eventlog::{Lease, LeaseError, TopicKind, TopicSpec};
use orderlog_readmodel::{Rows, Store, Tables};

use crate::{
    duty::{self, Troubles},
    reactor, relay,
    replica::{Damage, News, Replica, Setup, StartError},
    snapshots::{self, Keeping},
    timer,
};

/// Every topic of these services: first the journals, then the public topics.
pub fn topics(services: &Services) -> Vec<TopicSpec> {
    let spec = |name: &'static str, kind| TopicSpec { name: name.into(), kind };
    let journals = services.iter().map(|(journal, _)| spec(journal, TopicKind::Journal));
    let public = services.iter().flat_map(|(_, published)| *published).map(|(topic, _)| spec(topic, TopicKind::Public));
    journals.chain(public).collect()
}

/// Why a service could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    #[error(transparent)]
    Replica(#[from] StartError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

pub struct Assembled<D: Decider, R = Store<D>> {
    pub replica: Replica<D, R>,
    /// For further duties of it.
    pub lease: Arc<dyn Lease>,
}

/// The group of a journal's instances, which keeps the positions of its duties.
pub(crate) fn group_of(journal: &str) -> String {
    format!("orderlog.{journal}")
}

/// Start a service: its replica on its rows, its relay, its reactor and its timers. It catches up by itself.
///
/// # Errors
/// [`AssemblyError`], where it can't or must not run.
pub async fn start<D: Decider>(
    setup: Setup,
    tables: &'static Tables<D>,
    keeping: &Keeping,
    troubles: &Troubles,
) -> Result<Assembled<D>, AssemblyError> {
    let store = Arc::new(keeping.open(tables, setup.log.as_ref()).await?);
    let assembled = start_on(setup, store, troubles).await?;
    let making = snapshots::keep_making(assembled.replica.clone(), keeping.every, keeping.n_kept);
    assembled.replica.setup().surroundings.spawn(making.boxed());
    Ok(assembled)
}

/// The same on rows that are there: whatever they are kept in.
///
/// # Errors
/// [`AssemblyError`], where it can't or must not run.
pub async fn start_on<D: Decider, R: Rows<D>>(
    setup: Setup,
    rows: Arc<R>,
    troubles: &Troubles,
) -> Result<Assembled<D, R>, AssemblyError> {
    let lease = setup.log.lead(&group_of(D::JOURNAL), D::JOURNAL).await?;
    let log = Arc::clone(&setup.log);
    let replica = Replica::start(setup, rows).await?;
    let replica = replica.hearing(News::of::<D>(log, Arc::clone(&lease)).await.map_err(StartError::from)?);
    replica.setup().surroundings.spawn(replica.clone().prove_news().boxed());
    perform(&lease, troubles, "relay", &replica, relay::run::<D, R>);
    if !D::REACTS_TO.is_empty() {
        perform(&lease, troubles, "reactor", &replica, reactor::run::<D, R>);
    }
    replica.setup().surroundings.spawn(crate::replica::watch_lag(replica.clone()).boxed());
    if !replica.store().tables().timers.is_empty() {
        perform(&lease, troubles, "timer", &replica, |replica, _| timer::run(replica));
    }
    Ok(Assembled { replica, lease })
}

/// Wait until a replica takes commands; whether it ever will. If its rows are damaged, others may take over.
async fn takes_commands<D: Decider, R: Rows<D>>(replica: &Replica<D, R>) -> bool {
    let mut state = replica.state();
    while replica.ready().await.is_err() {
        if replica.damage() != Some(Damage::Rows) || state.changed().await.is_err() {
            return false;
        }
    }
    true
}

/// Have a duty of a replica performed from now on: once the replica takes commands, wherever the lease is held.
pub fn perform<D, R, E, W>(
    lease: &Arc<dyn Lease>,
    troubles: &Troubles,
    name: &'static str,
    replica: &Replica<D, R>,
    work: impl Fn(Replica<D, R>, Arc<dyn Lease>) -> W + Send + Sync + 'static,
) where
    D: Decider,
    R: Rows<D>,
    E: Display + Send + 'static,
    W: Future<Output = Result<(), E>> + Send + 'static,
{
    let (lease, troubles, replica) = (Arc::clone(lease), troubles.clone(), replica.clone());
    let surroundings = Arc::clone(&replica.setup().surroundings);
    let performing = async move {
        if takes_commands(&replica).await {
            let begin = || {
                let (work, under_way) = (work(replica.clone(), Arc::clone(&lease)), replica.begin_duty(name));
                async move { (work.await, under_way) }
            };
            duty::perform((lease.as_ref(), &replica.ending()), &troubles, (D::JOURNAL, name), begin).await;
        }
    };
    surroundings.spawn(performing.boxed());
}
