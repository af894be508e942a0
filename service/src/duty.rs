//! Work that one instance of a service does for all of them: it runs where the journal's lease is held.
//!
//! The lease is only a hint. Two instances that both think they hold it do the same work twice, which every duty is made to
//! bear: copies of public events have the same id, reactions the same idempotency key, deliveries too.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use orderlog_domain::planted::{self, Bug};
use orderlog_eventlog::{Lease, LeaseError, Partition, ReadError};
use orderlog_projections::{Rows, Tables};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use crate::{measures::Measures, replica::Replica};

/// How long a duty that failed rests.
const AGAIN: Duration = Duration::from_secs(1);
/// A duty that goes on for so long after it failed is well again.
const WELL_AFTER: Duration = Duration::from_secs(3);
/// How long a position may go uncommitted. A crash repeats so much work, which changes nothing.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// What is wrong with the duties of this process, for readiness: (service, duty) and the reason.
#[derive(Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<(&'static str, &'static str), String>>>);

impl Troubles {
    /// All there is now.
    pub fn all(&self) -> Vec<(String, String)> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().map(|((service, duty), why)| (format!("{service} {duty}"), why.clone())).collect()
    }

    fn set(&self, service: &'static str, duty: &'static str, why: Option<String>) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => drop(troubles.insert((service, duty), why)),
            None => drop(troubles.remove(&(service, duty))),
        }
    }
}

/// Do `work` whenever the lease is held, again after each failure, until duties are to end. What it comes with is kept until its end
/// is told.
pub async fn perform<E, W, K>(
    (lease, ending): (&dyn Lease, &watch::Receiver<bool>),
    troubles: &Troubles,
    (service, duty): (&'static str, &'static str),
    work: impl Fn() -> W,
) where
    E: std::fmt::Display,
    W: Future<Output = (Result<(), E>, K)>,
{
    let mut held = lease.held();
    while held.wait_for(|held| *held).await.is_ok() && !*ending.borrow() {
        debug!(service, duty, "{service} {duty} begins");
        let mut until_lost = lease.held();
        let going_on = async {
            tokio::time::sleep(WELL_AFTER).await;
            troubles.set(service, duty, None);
            std::future::pending().await
        };
        let (outcome, kept) = tokio::select! {
            biased;
            _ = until_lost.wait_for(|held| !held) => (Ok(()), None),
            never = going_on => never,
            (outcome, kept) = work() => (outcome, Some(kept)),
        };
        match outcome {
            Ok(()) if *ending.borrow() => return info!(service, duty, "{service} {duty} ends: the process is to stop"),
            Ok(()) => {
                troubles.set(service, duty, None);
                info!(service, duty, "{service} {duty} ends: the lease moved on");
            }
            Err(failure) => {
                warn!(service, duty, "{service} {duty} stopped and will try again: {failure}");
                troubles.set(service, duty, Some(failure.to_string()));
            }
        }
        drop(kept);
        tokio::time::sleep(AGAIN).await;
    }
}

/// How far a duty has come in what it reads, committed now and then.
pub struct Progress {
    lease: Arc<dyn Lease>,
    measures: Arc<Measures>,
    duty: &'static str,
    done: BTreeMap<Partition, u64>,
    due: Option<Instant>,
    ending: watch::Receiver<bool>,
}

impl Progress {
    /// Go on where the group stood. Where it stands beyond the end of the log, that is an older one, and other records may come
    /// where it has been: then from the beginning, since doing things again is harmless and skipping them is not.
    ///
    /// # Errors
    /// [`LeaseError`] if that can't be found out.
    pub async fn load<D: Tables, R: Rows<D>>(
        replica: &Replica<D, R>,
        lease: Arc<dyn Lease>,
        duty: &'static str,
        partitions: Vec<Partition>,
    ) -> Result<(Self, Vec<(Partition, u64)>), LeaseError> {
        let committed = lease.committed(&partitions).await?;
        let unavailable = |error: ReadError| LeaseError::Unavailable { reason: error.to_string() };
        let ends = replica.log().ends(&partitions).await.map_err(unavailable)?;
        let mut from: Vec<_> =
            partitions.into_iter().zip(committed.into_iter().map(|next| next.unwrap_or(0))).collect();
        if planted::has(Bug::BeginAtTheEnd) {
            let begun = from.iter_mut().zip(&ends).filter(|((_, next), _)| *next == 0);
            begun.for_each(|((_, next), end)| *next = *end);
        }
        for ((partition, next), end) in from.iter_mut().zip(ends).filter(|((_, next), end)| next > end) {
            warn!("a group stood at {next} of {partition}, which ends at {end}: it begins anew");
            *next = 0;
            lease.commit(&[(partition.clone(), 0)]).await?;
        }
        let measures = Arc::clone(replica.measures());
        measures.stands(duty, &from);
        let ending = replica.ending();
        Ok((Self { lease, measures, duty, done: BTreeMap::new(), due: None, ending }, from))
    }

    /// Everything of `partition` below `next` is done with.
    pub fn done(&mut self, partition: Partition, next: u64) {
        self.done.insert(partition, next);
        self.due.get_or_insert_with(|| Instant::now() + COMMIT_EVERY);
    }

    /// Wait until a commit is due, or duties are to end; for ever if there is nothing to commit.
    pub async fn due(&self) {
        let due = async {
            match self.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let mut ending = self.ending.clone();
        tokio::select! {
            biased;
            Ok(_) = ending.wait_for(|is_to_end| *is_to_end) => {}
            () = due => {}
        }
    }

    /// Keep how far the duty has come; whether it is to go on.
    ///
    /// # Errors
    /// [`LeaseError`]: the duty must not go on as if it had.
    pub async fn commit(&mut self) -> Result<ControlFlow<()>, LeaseError> {
        let is_to_end = *self.ending.borrow();
        let done: Vec<_> = std::mem::take(&mut self.done).into_iter().collect();
        self.due = None;
        self.measures.stands(self.duty, &done);
        if !done.is_empty() {
            self.lease.commit(&done).await?;
        }
        Ok(if is_to_end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}
