//! One instance of a service: its core, the loop around it, and the handle that the rest of the program uses.
//!
//! The loop is a single task that owns all state and never blocks on one command. It takes whatever is queued (records,
//! commands, acknowledgements), loads what the core is missing with one query per table, lets the core fold and decide, appends
//! the resulting records as one batch, and passes changed rows to the writer whenever the writer is idle.

mod append;
mod ending;
mod executed;
mod intake;
mod lag;
mod news;
mod preparing;
mod recorded;
mod repair;
mod revive;
mod run;
mod start;
mod steps;
mod switch;
mod writer;

use std::{
    error::Error,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ending::Ending;
pub use executed::{ExecuteError, Executed};
pub use intake::Reach;
pub use lag::Behind;
use lag::Lag;
pub(crate) use lag::watch as watch_lag;
use news::News;
pub use news::{Lacks, sources};
pub use preparing::ToSettle;
pub use recorded::{Recorded, RecordedError};
pub use repair::{Discarded, RepairError, Retried};
pub(crate) use start::same_history;
use steps::Steps;
pub use switch::{Rebuilding, Switch, SwitchError};

use orderlog_core::{
    decider::{Decider, Millis},
    key::{HashKey, RecordId},
    machine::{CopiedRow, Genesis, Outcome, Request, Stop},
    planted::Bug,
    words,
};
use orderlog_eventlog::{EventLog, Lease, Partition, ReadError};
use orderlog_readmodel::{Rows, Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{consumed::Consumed, environment::Environment, measures::Measures};

/// Configuration of one instance of a service.
#[derive(Clone)]
pub struct Setup {
    /// The log, which arbitrates between instances.
    pub log: Arc<dyn EventLog>,
    /// Hashes personal and secret values into keys.
    pub hash_key: HashKey,
    /// This instance's id, new for every process.
    pub writer: uuid::Uuid,
    /// The number of keys that stay cached in memory while they are not in use.
    pub n_slots_max: usize,
    /// Provides the clock and new ids.
    pub environment: Arc<dyn Environment>,
}

/// What a replica is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Reading the records that precede its start.
    CatchingUp,
    /// Executing its own commands, which must precede all others.
    Preparing,
    Ready,
    /// It cannot continue. The message says why and what to do.
    Stopped(String),
}

/// The corrupted data that keeps a replica from continuing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A record of the journal. Only a backup or a replica of the log can repair it.
    Journal,
    /// The rows. A rebuild from the log repairs them.
    Rows,
}

/// Why a replica failed to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The rows were built from another journal, or from records that this one no longer contains.
    #[error(
        "the rows of `{service}` do not belong to its journal ({why}): if the log is the right one, have them built from it anew with \
         `{program} projection rebuild {service} --yes`",
        program = words::program()
    )]
    OtherHistory { service: &'static str, why: String },
    #[error("the journal can't be read")]
    Journal(#[from] ReadError),
    #[error("the rows can't be used")]
    Rows(#[from] StoreError),
}

impl StartError {
    /// Whether the journal or the rows are corrupted, or the rows belong to another log.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::OtherHistory { .. } | Self::Journal(ReadError::Damaged { .. }) => true,
            Self::Rows(error) => error.is_damage(),
            Self::Journal(_) => false,
        }
    }
}

/// A command on its way to the loop.
struct Ask<D: Decider> {
    request: Arc<Request<D>>,
    waiting: Waiting<D>,
}

/// The caller that waits for a command's outcome, and the command's progress if it is traced.
struct Waiting<D: Decider> {
    reply: oneshot::Sender<(Outcome<D>, Option<Steps>)>,
    steps: Option<Steps>,
}

/// State that the loop shares with every handle.
struct Shared {
    /// One past the last record that this instance has returned as a command's result.
    answered: AtomicU64,
    /// Rows below this offset are written.
    committed: watch::Sender<u64>,
    /// The positions up to which copied facts are in the rows.
    copied: watch::Sender<Vec<CopiedRow>>,
    /// Records below this offset are folded.
    folded: watch::Sender<u64>,
    state: watch::Sender<State>,
    /// A problem that does not stop the replica.
    trouble: watch::Sender<Option<String>>,
    /// Set if the replica stopped because of damage.
    damage: RwLock<Option<Damage>>,
    /// Whether it has commands of its own to execute before it is ready.
    prepares: AtomicBool,
    /// What its own commands left for an operator to settle.
    to_settle: watch::Sender<ToSettle>,
    /// Why the rows cannot be written at the moment. Writing is retried indefinitely.
    unwritable: watch::Sender<Option<String>>,
    trials: Trials,
    /// Whether the next generation of the rows is being built.
    rebuilding: AtomicBool,
    /// Bytes of all records read so far, headers and values.
    n_bytes: AtomicU64,
    ending: Ending,
    lag: Lag,
    measures: Arc<Measures>,
}

/// Attempts to write the rows, counted from the start of the process.
#[derive(Default)]
struct Trials {
    /// The number of attempts requested.
    wanted: watch::Sender<u64>,
    /// The number of attempts completed. Their outcome is in `unwritable`.
    done: watch::Sender<u64>,
}

impl Shared {
    /// Records that the last attempt to write the rows succeeded.
    fn can_write(&self) {
        self.unwritable.send_if_modified(|why| why.take().is_some());
    }

    /// Records that the last attempt to write the rows failed. It will be repeated.
    fn can_not_write(&self, failure: &StoreError) {
        let cause = failure.source().map_or_else(String::new, |cause| format!(": {cause}"));
        self.unwritable.send_replace(Some(format!("its rows can't be written: {failure}{cause}")));
    }
}

/// The serving rows, shared by the loop and every handle.
type Serving<R> = Arc<RwLock<Arc<R>>>;

/// The handle of a running replica. Cheap to clone.
pub struct Replica<D: Decider, R = Store<D>> {
    asks: mpsc::Sender<Ask<D>>,
    switches: mpsc::Sender<Switch<D, R>>,
    repairs: mpsc::Sender<repair::Repair>,
    shared: Arc<Shared>,
    serving: Serving<R>,
    setup: Setup,
    consumed: Consumed,
    news: Option<Arc<News>>,
}

impl<D: Decider, R> Clone for Replica<D, R> {
    fn clone(&self) -> Self {
        Self {
            asks: self.asks.clone(),
            switches: self.switches.clone(),
            repairs: self.repairs.clone(),
            shared: Arc::clone(&self.shared),
            serving: Arc::clone(&self.serving),
            setup: self.setup.clone(),
            consumed: self.consumed.clone(),
            news: self.news.clone(),
        }
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    pub fn journal() -> Partition {
        Partition::journal(D::JOURNAL)
    }

    /// Returns the serving rows. Call this for each query: a rebuild replaces them with another generation.
    pub fn store(&self) -> Arc<R> {
        Arc::clone(&self.serving.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the configuration of this instance.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Returns the current time of this instance.
    pub fn now_ms(&self) -> Millis {
        self.setup.environment.now_ms()
    }

    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.setup.log
    }

    /// Returns the key that hashes values into keys.
    pub fn hash_key(&self) -> &HashKey {
        &self.setup.hash_key
    }

    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Returns a problem that does not stop the replica; for the readiness check.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.borrow().clone().or_else(|| self.shared.unwritable.borrow().clone())
    }

    /// Waits until a write of the rows has succeeded or failed. [`Replica::trouble`] then returns the reason.
    pub async fn try_writing(&self) {
        let Trials { wanted, done } = &self.shared.trials;
        let mut this = 0;
        wanted.send_modify(|n| {
            *n += 1;
            this = *n;
        });
        // The sender lives as long as this handle, so waiting cannot fail.
        drop(done.subscribe().wait_for(|done| *done >= this).await);
    }

    /// Watches the offset below which rows are written.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// Watches the offset below which records are folded.
    pub fn folded(&self) -> watch::Receiver<u64> {
        self.shared.folded.subscribe()
    }

    /// One past the last record that this instance has returned as a command's result.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// Records that another instance has executed a command for this one, with a record below `position`. Queries here wait for it too.
    pub fn has_answered_elsewhere(&self, position: u64) {
        self.shared.answered.fetch_max(position, Ordering::AcqRel);
    }

    /// Returns what is damaged, if the replica stopped because of damage.
    pub fn damage(&self) -> Option<Damage> {
        *self.shared.damage.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of bytes of records that this instance has read so far, headers and values.
    pub fn n_bytes(&self) -> u64 {
        self.shared.n_bytes.load(Ordering::Relaxed)
    }

    /// Returns the last known lag of the rows behind the journal.
    pub fn behind(&self) -> Behind {
        self.shared.lag.behind(*self.shared.committed.borrow(), self.now_ms())
    }

    pub(crate) fn lag(&self) -> &Lag {
        &self.shared.lag
    }

    /// Returns the metrics of this instance.
    pub fn measures(&self) -> &Arc<Measures> {
        &self.shared.measures
    }

    /// Waits until the rows have the journal's genesis. Records of other programs can precede it.
    pub async fn genesis(&self) -> Result<Genesis, StoreError> {
        let mut committed = self.committed();
        loop {
            if let Some(genesis) = self.store().checkpoint().await?.genesis {
                return Ok(genesis);
            }
            // The sender lives as long as this handle, so waiting cannot fail.
            drop(committed.changed().await);
        }
    }

    /// Waits until queries see every command that this instance has answered. Returns early if the replica stops.
    pub async fn read_your_writes(&self) {
        self.has_committed(self.answered()).await;
    }

    /// Waits until everything below `position` is in the rows. Returns early if the replica stops.
    pub async fn has_committed(&self, position: u64) {
        if Bug::ReadWithoutWaiting.is_loose() {
            return;
        }
        let (mut committed, mut state) = (self.committed(), self.state());
        // The senders live as long as this handle, so waiting cannot fail.
        tokio::select! {
            biased;
            _ = committed.wait_for(|committed| *committed >= position) => {}
            _ = state.wait_for(|state| matches!(state, State::Stopped(_))) => {}
        }
    }

    /// Waits until the rows reflect the record of another service's `journal` at `offset`, as far as this service consumes its events.
    /// Returns early if the replica stops. `lacks` reports what is still missing if the caller stops waiting.
    pub async fn has_taken_in(&self, journal: &str, offset: u64, lacks: &mut Lacks) {
        if Bug::ReadBeforeNews.is_loose() {
            return;
        }
        let Some(news) = &self.news else { return std::future::pending().await };
        let taken = news.taken_in(journal, offset, lacks).await;
        *lacks = Lacks::Rows;
        self.has_committed(taken.journal_end).await;
        let (mut copied, mut state) = (self.shared.copied.subscribe(), self.state());
        let next = |rows: &[CopiedRow], Partition { topic, index }: &Partition| {
            let row = rows.iter().find(|row| row.topic == **topic && row.part == *index);
            row.map_or(0, |row| row.next)
        };
        tokio::select! {
            biased;
            _ = copied.wait_for(|rows| taken.copied.iter().all(|(from, end)| next(rows, from) >= *end)) => {}
            _ = state.wait_for(|state| matches!(state, State::Stopped(_))) => {}
        }
    }

    /// Waits until the replica accepts commands.
    ///
    /// # Errors
    /// The reason, if it stops instead.
    pub async fn ready(&self) -> Result<(), String> {
        let mut state = self.state();
        let state = state.wait_for(|state| !matches!(state, State::CatchingUp | State::Preparing)).await;
        match state.as_deref() {
            Ok(State::Stopped(why)) => Err(why.clone()),
            Ok(State::Ready | State::CatchingUp | State::Preparing) | Err(_) => Ok(()),
        }
    }

    /// Makes the replica wait for public events that are already on the topics before it rejects a command that rests on them. `lease`
    /// knows the reactor's positions.
    #[must_use]
    pub fn hearing(self, lease: Arc<dyn Lease>) -> Self {
        let news = News::of::<D>(Arc::clone(self.log()), lease, self.consumed.clone());
        Self { news: Some(Arc::new(news)), ..self }
    }

    /// Returns the partitions of the topics that this service consumes.
    pub(crate) fn consumed(&self) -> Consumed {
        self.consumed.clone()
    }

    /// Checks in advance that the positions of the groups that this replica waits for belong to this log, so that no request has to.
    pub(crate) async fn prove_news(self) {
        if let Some(news) = &self.news {
            news.prove().await;
        }
    }
}

/// Permanent failures of the loop.
#[derive(Debug, thiserror::Error)]
enum LoopError {
    #[error(transparent)]
    Stop(#[from] Stop),
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("its rows can no longer be written")]
    Writer,
}

impl LoopError {
    fn damage(&self) -> Option<Damage> {
        match self {
            Self::Stop(_) | Self::Journal(ReadError::Damaged { .. }) => Some(Damage::Journal),
            Self::Rows(error) if error.is_damage() => Some(Damage::Rows),
            Self::Rows(_) | Self::Journal(_) | Self::Writer => None,
        }
    }
}

/// Formats a record's id for the logs.
fn short(id: RecordId) -> String {
    id.0.simple().to_string()
}
