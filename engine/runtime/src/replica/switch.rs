//! Switches to another generation of the rows, between two change sets.
//!
//! A separate instance built it and folds up to a limit. For the switch, this instance's writer pauses, the other instance folds
//! to the exact offset of the serving rows, and then its file is read and written instead. The core and its cache are kept,
//! since both files have the same contents at the same offset.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use orderlog_core::{decider::Decider, machine::CopiedRow};
use orderlog_readmodel::{Rows, Store, StoreError};
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant},
};
use tracing::info;

use super::{LoopError, Replica, Serving, Shared, State, run::Loop, writer::WriterTask};
use crate::environment::Environment;

/// How long a switch may take. Meanwhile rows are not written, and queries wait for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a generation did not take over. The previous one keeps serving.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// It did not reach the offset of the serving rows in time.
    #[error("generation {0} did not catch up with the serving one in time")]
    TooLate(u32),
    #[error("generation {number} can't be built on: {why}")]
    Stopped { number: u32, why: String },
    /// Its file cannot be opened, or the choice of generation cannot be saved.
    #[error(transparent)]
    Rows(#[from] StoreError),
    /// The serving rows are being rebuilt.
    #[error("the rows of {0} that serve are being built anew without a record that was discarded")]
    StartedOver(&'static str),
    #[error("the service is stopping")]
    Stopping,
}

/// A request to switch: the instance that built the generation, the limit up to which it folds, and where to send the result.
pub struct Switch<D: Decider, R = Store<D>> {
    /// Runs on the rows that take over.
    pub builder: Replica<D, R>,
    pub limit: watch::Sender<u64>,
    /// Receives the offset from which the new rows serve.
    pub done: oneshot::Sender<Result<u64, SwitchError>>,
}

pub(super) struct Switching<D: Decider, R> {
    switch: Switch<D, R>,
    until: Instant,
}

impl<D: Decider, R> Switching<D, R> {
    pub fn begin(switch: Switch<D, R>) -> Self {
        Self { switch, until: Instant::now() + PATIENCE }
    }
}

/// The serving generation of the rows, and its successor.
pub(super) struct ServedRows<D: Decider, R> {
    pub store: Arc<R>,
    pub writer: WriterTask<D>,
    /// The generation that is about to take over, if any.
    pub switching: Option<Switching<D, R>>,
    serving: Serving<R>,
}

impl<D: Decider, R: Rows<D>> ServedRows<D, R> {
    pub fn of(serving: Serving<R>, shared: &Arc<Shared>, environment: &dyn Environment) -> Self {
        let store = Arc::clone(&serving.read().unwrap_or_else(PoisonError::into_inner));
        let writer = WriterTask::start(Arc::clone(&store), Arc::clone(shared), environment);
        Self { store, writer, switching: None, serving }
    }

    /// Makes generation `number` serve. Nothing else may write to it.
    async fn replace(
        &mut self,
        number: u32,
        shared: &Arc<Shared>,
        environment: &dyn Environment,
    ) -> Result<(), StoreError> {
        self.store = Arc::new(self.store.have_serve(number).await?);
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.store);
        self.writer = WriterTask::start(Arc::clone(&self.store), Arc::clone(shared), environment);
        // The indexes exist already; this tells the store that rows are written singly from now on.
        self.writer.create_indexes();
        Ok(())
    }
}

/// The right to build the next generation of an instance's rows. Only one exists at a time.
pub struct Rebuilding<D: Decider, R = Store<D>>(Replica<D, R>);

impl<D: Decider, R> Rebuilding<D, R> {
    pub fn replica(&self) -> &Replica<D, R> {
        &self.0
    }
}

impl<D: Decider, R> Drop for Rebuilding<D, R> {
    fn drop(&mut self) {
        self.0.shared.rebuilding.store(false, Ordering::Release);
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Acquires the right to build the next generation; `None` if it is taken.
    pub fn begin_rebuilding(&self) -> Option<Rebuilding<D, R>> {
        let had = self.shared.rebuilding.swap(true, Ordering::AcqRel);
        (!had).then(|| Rebuilding(self.clone()))
    }

    /// Switches to the rows of `builder`. Returns the offset from which they serve.
    ///
    /// # Errors
    /// [`SwitchError`]; the previous rows keep serving.
    pub async fn switch(&self, builder: Self, limit: watch::Sender<u64>) -> Result<u64, SwitchError> {
        let (done, outcome) = oneshot::channel();
        self.switches.send(Switch { builder, limit, done }).await.map_err(|_| SwitchError::Stopping)?;
        outcome.await.map_err(|_| SwitchError::Stopping)?
    }
}

/// Waits until the instance that built a generation has stopped.
pub(super) async fn has_stopped(number: u32, mut state: watch::Receiver<State>) -> Result<(), SwitchError> {
    let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
    let in_time = tokio::time::timeout(PATIENCE, stopped).await;
    in_time.map(drop).map_err(|_| SwitchError::TooLate(number))
}

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    /// Once the writer is idle, advances the other generation to the same offset, and switches to it when it is there.
    pub(super) async fn go_on_switching(&mut self) -> Result<(), LoopError> {
        if !self.rows.writer.is_idle() {
            return Ok(());
        }
        let Some(Switching { switch: Switch { builder, limit, .. }, until }) = &self.rows.switching else {
            return Ok(());
        };
        let here = *self.shared.committed.borrow();
        limit.send_if_modified(|limit| std::mem::replace(limit, here) != here);
        let (theirs, is_here, until) = (builder.store(), *builder.committed().borrow() == here, *until);
        let state = builder.state().borrow().clone();
        // Not inside the condition: a borrow of the loop must not be held across an await.
        let copied = theirs.checkpoint().await?.copied;
        let number = theirs.generation();
        drop(theirs);
        let failure = match state {
            State::Stopped(why) => Some(SwitchError::Stopped { number, why }),
            State::Ready | State::CatchingUp | State::Preparing if is_here && self.has_copied_no_more_than(&copied) => {
                None
            }
            State::Ready | State::CatchingUp | State::Preparing if Instant::now() >= until => {
                Some(SwitchError::TooLate(number))
            }
            State::Ready | State::CatchingUp | State::Preparing => return Ok(()),
        };
        if let Some(Switching { switch, .. }) = self.rows.switching.take() {
            let outcome = match failure {
                Some(failure) => Err(failure),
                None => self.take_over(switch.builder, here).await,
            };
            // The caller may have gone away.
            drop(switch.done.send(outcome));
        }
        Ok(())
    }

    /// Rejects a pending switch.
    pub(super) fn refuse_to_switch(&mut self, failure: SwitchError) {
        if let Some(switching) = self.rows.switching.take() {
            drop(switching.switch.done.send(Err(failure)));
        }
    }

    /// Copied facts keep the highest version in each row, so the other generation may have read further, but not less.
    fn has_copied_no_more_than(&self, theirs: &[CopiedRow]) -> bool {
        self.intake.copies.partitions.iter().all(|partition| {
            let (topic, index) = (partition.topic.as_ref(), partition.index);
            let read =
                theirs.iter().find(|row| (row.topic.as_str(), row.part) == (topic, index)).map_or(0, |row| row.next);
            read >= self.core.copied_next(topic, index)
        })
    }

    async fn take_over(&mut self, builder: Replica<D, R>, here: u64) -> Result<u64, SwitchError> {
        let (number, state) = (builder.store().generation(), builder.state());
        // Its loop ends with its last handle. Two writers to one file would corrupt the order of change sets.
        drop(builder);
        has_stopped(number, state).await?;
        self.rows.replace(number, &self.shared, self.setup.environment.as_ref()).await?;
        info!(service = D::JOURNAL, "generation {number} of the rows of {} serves from offset {here} on", D::JOURNAL);
        Ok(here)
    }
}
