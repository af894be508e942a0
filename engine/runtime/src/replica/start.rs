//! How a replica starts: it checks the rows' checkpoint against the journal, then runs the loop.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64},
};

use futures_util::FutureExt;
use orderlog_core::{
    decider::Decider,
    header::HEADER,
    machine::{Checkpoint, CopiedRow, Core, chain},
    planted::Bug,
};
use orderlog_eventlog::{EventLog, Mark, Partition, ReadError};
use orderlog_readmodel::Rows;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error};

use super::lag::Lag;
use super::{
    Damage, LoopError, Reach, Replica, Setup, Shared, StartError, State, Trials,
    ending::Ending,
    run::{Beginning, Inbox, Loop, NewCore, Own},
};
use crate::{consumed::Consumed, marks, measures::Measures};

/// The capacity of the command queue between the callers and the loop.
const N_ASKS_MAX: usize = 4_096;

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Starts an instance of the service on its rows. It catches up in the background; see [`Replica::ready`].
    ///
    /// # Errors
    /// [`StartError`] if continuing would mix two histories, or the log or the rows cannot be read.
    pub async fn start(setup: Setup, store: Arc<R>) -> Result<Self, StartError> {
        Self::start_up_to(setup, store, Reach::unlimited()).await
    }

    /// Like [`Replica::start`], for an instance that folds up to a limit.
    pub async fn start_up_to(setup: Setup, store: Arc<R>, reach: Reach) -> Result<Self, StartError> {
        let consumed = Consumed::follow::<D>(&setup.log, setup.environment.as_ref()).await?;
        let beginning = Beginning::of(&setup, store.as_ref()).await?;
        let (next, end) = (beginning.next, beginning.end);
        debug!(service = D::JOURNAL, from = next, end, "{} resumes at offset {next}", D::JOURNAL);

        let (asks, commands) = mpsc::channel(N_ASKS_MAX);
        let (switches, to_switch) = mpsc::channel(1);
        let (repairs, to_repair) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            answered: AtomicU64::new(0),
            committed: watch::Sender::new(next),
            copied: watch::Sender::new(beginning.copied.clone()),
            folded: watch::Sender::new(next),
            state: watch::Sender::new(State::CatchingUp),
            trouble: watch::Sender::new(None),
            damage: RwLock::new(None),
            prepares: AtomicBool::new(false),
            to_settle: watch::Sender::default(),
            unwritable: watch::Sender::new(None),
            trials: Trials::default(),
            rebuilding: AtomicBool::new(false),
            n_bytes: AtomicU64::new(0),
            ending: Ending::default(),
            lag: Lag::default(),
            measures: Arc::new(Measures::new(D::JOURNAL)),
        });
        let environment = Arc::clone(&setup.environment);
        let serving = Arc::new(RwLock::new(store));
        let inbox = Inbox { commands, to_switch, to_repair, is_open: true };
        let own = Own {
            setup: setup.clone(),
            serving: Arc::clone(&serving),
            shared: Arc::clone(&shared),
            consumed: consumed.clone(),
        };
        let event_loop = Loop::new(beginning, &own, inbox, reach);
        let replica = Self { asks, switches, repairs, shared, serving, setup, consumed, news: None };
        environment.spawn(own.keep_running(event_loop).boxed());
        Ok(replica)
    }
}

impl<D: Decider> Beginning<D> {
    pub async fn of<R: Rows<D>>(setup: &Setup, store: &R) -> Result<Self, StartError> {
        let checkpoint = store.checkpoint().await?;
        same_history::<D>(setup.log.as_ref(), &checkpoint).await?;
        let end = setup.log.ends(&[Partition::journal(D::JOURNAL)]).await?[0];
        let (next, copied, new_core) = (checkpoint.next, checkpoint.copied.clone(), cores(setup));
        let mut core = new_core(checkpoint);
        core.expect(end);
        core.recall(store.set_aside().await?);
        // An older version may have parked records that this one can read.
        if !Bug::NeverRetry.is_loose() {
            core.retry();
        }
        Ok(Self { core, new_core, next, copied, end })
    }
}

impl<R> Own<R> {
    /// Runs the loop until it ends. If the rows are damaged, runs another loop on the rows that replace them.
    async fn keep_running<D: Decider>(self, mut event_loop: Loop<D, R>)
    where
        R: Rows<D>,
    {
        loop {
            let (outcome, inbox) = event_loop.run().await;
            let damage = outcome.as_ref().err().and_then(LoopError::damage);
            let state = match outcome {
                Ok(()) => State::Stopped("it was asked to stop".to_owned()),
                Err(failure) => {
                    error!(service = D::JOURNAL, "{} stopped: {failure}", D::JOURNAL);
                    State::Stopped(failure.to_string())
                }
            };
            *self.shared.damage.write().unwrap_or_else(PoisonError::into_inner) = damage;
            self.shared.state.send_replace(state);
            if damage != Some(Damage::Rows) {
                return;
            }
            match self.wait_for_rows(inbox).await {
                Some(next) => event_loop = next,
                None => return,
            }
        }
    }
}

/// Returns a factory of cores for this instance.
fn cores<D: Decider>(setup: &Setup) -> NewCore<D> {
    let Setup { writer, n_slots_max, environment, .. } = setup.clone();
    let hash_key = setup.hash_key.fingerprint();
    Box::new(move |checkpoint| {
        let environment = Arc::clone(&environment);
        let unknown = environment.unknown();
        Core::new(checkpoint, writer, hash_key.clone(), Box::new(move || environment.mint()), n_slots_max)
            .without(unknown)
    })
}

/// Checks that the last record that the rows were built from is in the journal, and the last record that facts were copied from is in
/// its topic. Detects a restored or replaced log.
pub(crate) async fn same_history<D: Decider>(log: &dyn EventLog, checkpoint: &Checkpoint) -> Result<(), StartError> {
    if Bug::IgnoreOtherHistory.is_loose() {
        return Ok(());
    }
    let other = |why: String| StartError::OtherHistory { service: D::JOURNAL, why };
    if let Some(why) = copied_elsewhere(log, &checkpoint.copied).await? {
        return Err(other(why));
    }
    let Some((last, before)) = &checkpoint.last else { return Ok(()) };
    let record = match log.fetch(&Partition::journal(D::JOURNAL), &[last.offset]).await {
        Ok(records) => records.into_iter().next(),
        Err(ReadError::OutOfRange { end, .. }) => {
            return Err(other(format!("they are at offset {}, the journal ends at {end}", checkpoint.next)));
        }
        Err(error) => return Err(error.into()),
    };
    let digest = record.map(|record| {
        let header = record.header(HEADER).map_or(&[][..], AsRef::as_ref);
        chain(before, last.offset, header, &record.value)
    });
    if digest == Some(last.digest) {
        Ok(())
    } else {
        Err(other(format!("the record at offset {} is another one", last.offset)))
    }
}

/// Returns why the facts were copied from topics of another history; `None` if they were not.
async fn copied_elsewhere(log: &dyn EventLog, copied: &[CopiedRow]) -> Result<Option<String>, ReadError> {
    let partitions: Vec<_> = copied.iter().map(|row| Partition::new(row.topic.as_str(), row.part)).collect();
    let ends = if copied.is_empty() { Vec::new() } else { log.ends(&partitions).await? };
    for ((CopiedRow { next, print, .. }, partition), end) in copied.iter().zip(partitions).zip(ends) {
        if *next > end {
            return Ok(Some(format!("they have copied facts up to {next} of {partition}, which ends at {end}")));
        }
        let last = Mark { partition, offset: next.saturating_sub(1), print: *print };
        if !marks::stands(log, &last).await? {
            let Mark { partition, offset, .. } = last;
            return Ok(Some(format!("they have copied facts up to {partition}@{offset}, which is another record now")));
        }
    }
    Ok(None)
}
