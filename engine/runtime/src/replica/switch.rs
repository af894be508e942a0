//! Another generation of the rows takes over, between two change sets.
//!
//! It was built by an instance of its own, which folds up to a limit. For the take-over this instance's writer rests; the
//! other one is brought to the very offset where the rows stand; then its file becomes the one that is read and written. The
//! core and its memory stay: at the same offset both files say the same.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use orderlog_core::{decider::Decider, machine::CopiedRow};
use orderlog_readmodel::{Rows, Store, StoreError};
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant},
};
use tracing::info;

use super::{LoopError, Replica, Serving, Shared, State, run::Loop, writer::Writer};
use crate::surroundings::Surroundings;

/// Rows are not written while a generation takes over, and queries wait for them. Longer than this is not tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a generation did not take over. The one before it goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// It did not get to where the rows stand in time.
    #[error("generation {0} did not catch up with the serving one in time")]
    TooLate(u32),
    /// The instance that builds it stopped.
    #[error("generation {number} can't be built on: {why}")]
    Stopped { number: u32, why: String },
    /// Its file can't be opened, or that it serves can't be kept.
    #[error(transparent)]
    Rows(#[from] StoreError),
    /// The rows that serve are built anew.
    #[error("the rows of {0} that serve are being built anew without a record that was discarded")]
    StartedOver(&'static str),
    /// The instance that it is for has stopped.
    #[error("the service is stopping")]
    Stopping,
}

/// What is to take over: the instance that built it, how far that may fold, and whom to tell.
pub struct Switch<D: Decider, R = Store<D>> {
    /// On the rows that take over.
    pub builder: Replica<D, R>,
    pub limit: watch::Sender<u64>,
    /// Told from which offset on it serves.
    pub done: oneshot::Sender<Result<u64, SwitchError>>,
}

/// A take-over under way.
pub(super) struct Switching<D: Decider, R> {
    switch: Switch<D, R>,
    until: Instant,
}

impl<D: Decider, R> Switching<D, R> {
    pub fn begin(switch: Switch<D, R>) -> Self {
        Self { switch, until: Instant::now() + PATIENCE }
    }
}

/// The generation of the rows that serves, and what is to follow it.
pub(super) struct ServedRows<D: Decider, R> {
    pub store: Arc<R>,
    pub writer: Writer<D>,
    /// The generation that is to take over, if one is.
    pub switching: Option<Switching<D, R>>,
    serving: Serving<R>,
}

impl<D: Decider, R: Rows<D>> ServedRows<D, R> {
    pub fn of(serving: Serving<R>, shared: &Arc<Shared>, surroundings: &dyn Surroundings) -> Self {
        let store = Arc::clone(&serving.read().unwrap_or_else(PoisonError::into_inner));
        let writer = Writer::start(Arc::clone(&store), Arc::clone(shared), surroundings);
        Self { store, writer, switching: None, serving }
    }

    /// Generation `number`, which nobody else writes to, serves from now on.
    async fn replace(
        &mut self,
        number: u32,
        shared: &Arc<Shared>,
        surroundings: &dyn Surroundings,
    ) -> Result<(), StoreError> {
        self.store = Arc::new(self.store.have_serve(number).await?);
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&self.store);
        self.writer = Writer::start(Arc::clone(&self.store), Arc::clone(shared), surroundings);
        // They are there: this says that from now on rows come one by one.
        self.writer.create_indexes();
        Ok(())
    }
}

/// The right to build the next generation of an instance's rows; there is only one at a time.
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
    /// The right to build the next generation, unless somebody has it.
    pub fn begin_rebuilding(&self) -> Option<Rebuilding<D, R>> {
        let had = self.shared.rebuilding.swap(true, Ordering::AcqRel);
        (!had).then(|| Rebuilding(self.clone()))
    }

    /// Have the rows of `builder` take over. The offset from which on they serve.
    ///
    /// # Errors
    /// [`SwitchError`]; the rows that served go on serving.
    pub async fn switch(&self, builder: Self, limit: watch::Sender<u64>) -> Result<u64, SwitchError> {
        let (done, outcome) = oneshot::channel();
        self.switches.send(Switch { builder, limit, done }).await.map_err(|_| SwitchError::Stopping)?;
        outcome.await.map_err(|_| SwitchError::Stopping)?
    }
}

/// Wait until the instance that built a generation has stopped.
pub(super) async fn has_stopped(number: u32, mut state: watch::Receiver<State>) -> Result<(), SwitchError> {
    let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
    let in_time = tokio::time::timeout(PATIENCE, stopped).await;
    in_time.map(drop).map_err(|_| SwitchError::TooLate(number))
}

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    /// Once the writer rests, bring the other generation to the same offset; once it is there, let it take over.
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
        // Not inside the condition: what is borrowed of the loop must not be held over an await.
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
            // Whoever asked may have gone away.
            drop(switch.done.send(outcome));
        }
        Ok(())
    }

    /// No generation takes over now.
    pub(super) fn refuse_to_switch(&mut self, failure: SwitchError) {
        if let Some(switching) = self.rows.switching.take() {
            drop(switching.switch.done.send(Err(failure)));
        }
    }

    /// Copied facts keep the highest version in each row, so the other generation may have read farther, but not less.
    fn has_copied_no_more_than(&self, theirs: &[CopiedRow]) -> bool {
        self.copies.partitions.iter().all(|partition| {
            let (topic, index) = (partition.topic.as_ref(), partition.index);
            let read =
                theirs.iter().find(|row| (row.topic.as_str(), row.part) == (topic, index)).map_or(0, |row| row.next);
            read >= self.core.copied_next(topic, index)
        })
    }

    async fn take_over(&mut self, builder: Replica<D, R>, here: u64) -> Result<u64, SwitchError> {
        let (number, state) = (builder.store().generation(), builder.state());
        // Its loop ends with its last handle; two that write to one file would not follow on each other.
        drop(builder);
        has_stopped(number, state).await?;
        self.rows.replace(number, &self.shared, self.surroundings.as_ref()).await?;
        info!(service = D::JOURNAL, "generation {number} of the rows of {} serves from offset {here} on", D::JOURNAL);
        Ok(here)
    }
}
