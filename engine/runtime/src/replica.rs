//! One instance of one service: its core, the loop around it, and the handle by which the rest of the program asks it.
//!
//! The loop is one task and owns everything; it never waits for a single command. It takes what has queued (records,
//! commands, acknowledgements), loads what the core misses with one query per table, lets the core fold and decide, appends
//! what came of it as one batch, and hands changed rows to the writer whenever that is idle.

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
    time::Instant,
};

use ending::Ending;
pub use executed::{ExecuteError, Executed};
pub use intake::Reach;
pub use lag::Behind;
use lag::Lag;
pub(crate) use lag::watch as watch_lag;
pub use news::{Lacks, News, sources};
pub use preparing::ToSettle;
pub use recorded::{Recorded, RecordedError};
pub use repair::{Discarded, RepairError, Retried};
pub(crate) use start::same_history;
use steps::Steps;
pub use switch::{Rebuilding, Switch, SwitchError};

use orderlog_core::{
    decider::{At, Decider, Millis},
    header::{CommandStamp, HEADER, Header, Origin},
    key::{HashKey, RecordId},
    known::decode,
    machine::{Accepted, CopiedRow, Outcome, Request, Stop},
    planted::Bug,
};
use orderlog_eventlog::{EventLog, Partition, ReadError};
use orderlog_readmodel::{Rows, Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    measures::Measures,
    surroundings::Surroundings,
    trace::{Kind, Span},
};

/// How one instance of a service is set up.
#[derive(Clone)]
pub struct Setup {
    /// The log that arbitrates.
    pub log: Arc<dyn EventLog>,
    /// Under which personal and secret values become keys.
    pub hash_key: HashKey,
    /// This instance's id, new for every process.
    pub writer: uuid::Uuid,
    /// How many keys are kept in memory without need.
    pub n_slots_max: usize,
    /// Where the time and new ids come from.
    pub surroundings: Arc<dyn Surroundings>,
}

/// What a replica is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Reading what happened before it started.
    CatchingUp,
    /// Carrying out commands of its own, which have to come before anybody else's.
    Preparing,
    Ready,
    /// It can't go on; the sentence says why and what to do.
    Stopped(String),
}

/// What is not as it was written, so that a replica can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A record of the journal. Only a backup or a replica of the log repairs it.
    Journal,
    /// The rows. A rebuild from the log repairs them.
    Rows,
}

/// Why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The rows were built from another journal, or from records that this one no longer has.
    #[error(
        "the rows of `{service}` do not belong to its journal ({why}): if the log is the right one, have them built from it anew with \
         `orderlog projection rebuild {service} --yes`"
    )]
    OtherHistory { service: &'static str, why: String },
    /// The journal can't be read.
    #[error("the journal can't be read")]
    Journal(#[from] ReadError),
    /// The rows can't be read or written.
    #[error("the rows can't be used")]
    Rows(#[from] StoreError),
}

impl StartError {
    /// Whether the journal or the rows are not what was written, or the rows belong to another log.
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

/// Whoever waits for what becomes of a command, and how far it has come, if somebody wants to know.
struct Waiting<D: Decider> {
    reply: oneshot::Sender<(Outcome<D>, Option<Steps>)>,
    steps: Option<Steps>,
}

/// What the loop tells everybody.
struct Shared {
    /// One past the last record that this instance has answered a command with.
    answered: AtomicU64,
    /// Rows up to here are written.
    committed: watch::Sender<u64>,
    /// Copied facts up to there are in the rows.
    copied: watch::Sender<Vec<CopiedRow>>,
    /// Records up to here are folded.
    folded: watch::Sender<u64>,
    state: watch::Sender<State>,
    /// What it can't do, though it goes on.
    trouble: watch::Sender<Option<String>>,
    /// What is damaged, if it stopped because of that.
    damage: RwLock<Option<Damage>>,
    /// It has commands of its own to carry out before it is ready.
    prepares: AtomicBool,
    /// What its own commands left for an operator to settle.
    to_settle: watch::Sender<ToSettle>,
    /// Why its rows can't be written now; that is tried again and again.
    unwritable: watch::Sender<Option<String>>,
    trials: Trials,
    /// The next generation of the rows is being built.
    rebuilding: AtomicBool,
    /// Of all records read so far, headers and values.
    n_bytes: AtomicU64,
    ending: Ending,
    lag: Lag,
    measures: Arc<Measures>,
}

/// Attempts to write the rows, counted since the start.
#[derive(Default)]
struct Trials {
    /// So many were asked for.
    wanted: watch::Sender<u64>,
    /// So many of them have an outcome, which is in `unwritable`.
    done: watch::Sender<u64>,
}

impl Shared {
    /// The last attempt to write the rows succeeded.
    fn can_write(&self) {
        self.unwritable.send_if_modified(|why| why.take().is_some());
    }

    /// The last attempt to write the rows failed, and will be repeated.
    fn can_not_write(&self, failure: &StoreError) {
        let cause = failure.source().map_or_else(String::new, |cause| format!(": {cause}"));
        self.unwritable.send_replace(Some(format!("its rows can't be written: {failure}{cause}")));
    }
}

/// The rows that serve, for the loop and for every handle.
type Serving<R> = Arc<RwLock<Arc<R>>>;

/// The handle of a running replica. Cheap to clone.
pub struct Replica<D: Decider, R = Store<D>> {
    asks: mpsc::Sender<Ask<D>>,
    switches: mpsc::Sender<Switch<D, R>>,
    repairs: mpsc::Sender<repair::Repair>,
    shared: Arc<Shared>,
    serving: Serving<R>,
    setup: Setup,
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
            news: self.news.clone(),
        }
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// The journal of the service.
    pub fn journal() -> Partition {
        Partition::journal(D::JOURNAL)
    }

    /// The rows that serve now. Ask anew for each query: after a rebuild it is another generation.
    pub fn store(&self) -> Arc<R> {
        Arc::clone(&self.serving.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the instance was set up.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The time where this instance runs.
    pub fn now_ms(&self) -> Millis {
        self.setup.surroundings.now_ms()
    }

    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.setup.log
    }

    /// The key under which values become keys.
    pub fn hash_key(&self) -> &HashKey {
        &self.setup.hash_key
    }

    /// What the replica is doing, now and as it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// What the replica can't do, though it goes on; for readiness.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.borrow().clone().or_else(|| self.shared.unwritable.borrow().clone())
    }

    /// Waits until a write of the rows has succeeded or failed; [`Replica::trouble`] then has the reason.
    pub async fn try_writing(&self) {
        let Trials { wanted, done } = &self.shared.trials;
        let mut this = 0;
        wanted.send_modify(|n| {
            *n += 1;
            this = *n;
        });
        // The sender lives as long as this handle, so waiting can't fail.
        drop(done.subscribe().wait_for(|done| *done >= this).await);
    }

    /// Rows below this offset are written, now and as it grows.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }

    /// Records below this offset are folded, now and as it grows.
    pub fn folded(&self) -> watch::Receiver<u64> {
        self.shared.folded.subscribe()
    }

    /// One past the last record that this instance has answered a command with.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// Another instance has answered a command for this one, with a record below `position`: queries here are to see it, too.
    pub fn has_answered_elsewhere(&self, position: u64) {
        self.shared.answered.fetch_max(position, Ordering::AcqRel);
    }

    /// What is damaged, if the replica has stopped because of that.
    pub fn damage(&self) -> Option<Damage> {
        *self.shared.damage.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes of records this instance has read so far, headers and values.
    pub fn n_bytes(&self) -> u64 {
        self.shared.n_bytes.load(Ordering::Relaxed)
    }

    /// How far the rows are behind the journal, as far as is known.
    pub fn behind(&self) -> Behind {
        self.shared.lag.behind(*self.shared.committed.borrow(), self.now_ms())
    }

    pub(crate) fn lag(&self) -> &Lag {
        &self.shared.lag
    }

    /// What this instance counts of itself.
    pub fn measures(&self) -> &Arc<Measures> {
        &self.shared.measures
    }

    /// Wait until queries see every command that this instance has answered; in vain if the replica has stopped.
    pub async fn read_your_writes(&self) {
        self.has_committed(self.answered()).await;
    }

    /// Wait until everything below `position` is in the rows; in vain if the replica has stopped.
    pub async fn has_committed(&self, position: u64) {
        if Bug::ReadWithoutWaiting.is_loose() {
            return;
        }
        let (mut committed, mut state) = (self.committed(), self.state());
        // The senders live as long as this handle, so waiting can't fail.
        tokio::select! {
            biased;
            _ = committed.wait_for(|committed| *committed >= position) => {}
            _ = state.wait_for(|state| matches!(state, State::Stopped(_))) => {}
        }
    }

    /// Wait until the rows reflect the record of another service's `journal` at `offset`, by what this service consumes of its events;
    /// in vain if the replica has stopped. `lacks` says what is still missing if the caller stops waiting.
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

    /// Wait until the replica takes commands.
    ///
    /// # Errors
    /// Why it never will.
    pub async fn ready(&self) -> Result<(), String> {
        let mut state = self.state();
        let state = state.wait_for(|state| !matches!(state, State::CatchingUp | State::Preparing)).await;
        match state.as_deref() {
            Ok(State::Stopped(why)) => Err(why.clone()),
            Ok(State::Ready | State::CatchingUp | State::Preparing) | Err(_) => Ok(()),
        }
    }

    /// The same replica, which refuses nothing because of news that stand on the topics already.
    #[must_use]
    pub fn hearing(self, news: News) -> Self {
        Self { news: Some(Arc::new(news)), ..self }
    }

    /// Prove that positions of the groups whose progress is waited for here are this log's, so that nobody has to wait for that.
    pub(crate) async fn prove_news(self) {
        if let Some(news) = &self.news {
            news.prove().await;
        }
    }

    /// Have a command decided, and wait until the log has spoken.
    ///
    /// # Errors
    /// [`ExecuteError`] says what became of it, and whether anything may have been written.
    pub async fn execute(
        &self,
        command: D::Command,
        stamp: Option<CommandStamp>,
        origin: Origin,
        deadline: Millis,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        self.execute_request(Request { command, stamp, versions: None, origin, deadline }).await
    }

    /// The same, with everything that can be said of a command.
    ///
    /// # Errors
    /// [`ExecuteError`] says what became of it, and whether anything may have been written.
    pub async fn execute_request(&self, mut request: Request<D>) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let begun = Instant::now();
        let name = || format!("{} command", D::JOURNAL);
        let mut span = Span::begin(Kind::Internal, name, request.origin.trace.as_deref());
        request.origin.trace = span.trace().map(str::to_owned);
        let outcome = self.execute_with_news(request, &mut span).await;
        let label = executed::outcome_of(&outcome);
        self.shared.measures.executed(label, begun.elapsed());
        span.set("orderlog.service", D::JOURNAL);
        span.set("orderlog.outcome", label);
        if let (Ok(executed), true) = (&outcome, span.is_recorded()) {
            span.set("orderlog.event", D::kind(&executed.accepted.event).to_owned());
            span.set("orderlog.position", format!("{}@{}", D::JOURNAL, executed.accepted.at.offset));
        }
        outcome
    }

    async fn execute_with_news(
        &self,
        request: Request<D>,
        span: &mut Span,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let deadline = request.deadline;
        let request = Arc::new(request);
        match (self.ask(Arc::clone(&request), span, &[State::Ready]).await, &self.news) {
            (Err(ExecuteError::Rejected(rejection)), Some(news)) if !D::rests_on(&rejection).is_empty() => {
                if !news.are_in(D::rests_on(&rejection), deadline, self.setup.surroundings.as_ref()).await {
                    return Err(ExecuteError::Unavailable("it has not taken in all news yet".to_owned()));
                }
                // Nothing was written, so it is the same command.
                self.ask(request, span, &[State::Ready]).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Asks the loop, unless the replica is in none of `states`.
    async fn ask(
        &self,
        request: Arc<Request<D>>,
        span: &mut Span,
        states: &[State],
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let (reply, outcome) = oneshot::channel();
        let stamp = request.stamp;
        let unavailable = || match &*self.shared.state.borrow() {
            State::Stopped(why) => ExecuteError::Unavailable(why.clone()),
            State::CatchingUp => ExecuteError::Unavailable("it is still reading its journal".to_owned()),
            State::Preparing => ExecuteError::Unavailable("it is preparing its data for this version".to_owned()),
            State::Ready => ExecuteError::Unavailable("it is stopping".to_owned()),
        };
        if !states.contains(&self.shared.state.borrow()) {
            // A decision on old state would only become a void record.
            return Err(unavailable());
        }
        let waiting = Waiting { reply, steps: span.is_recorded().then(Steps::begin) };
        self.asks.send(Ask { request, waiting }).await.map_err(|_| unavailable())?;
        // If the loop ends now, the command may have been appended already.
        let (outcome, steps) = outcome.await.map_err(|_| ExecuteError::Unknown)?;
        if let Some(steps) = steps {
            steps.tell(span);
        }
        match outcome {
            Outcome::Accepted(accepted) => Ok(Executed { accepted, replayed: false }),
            Outcome::Repeated { offset } => self.repeated(offset, stamp).await,
            Outcome::Rejected(rejection) => Err(ExecuteError::Rejected(rejection)),
            Outcome::OtherVersion(version) => Err(ExecuteError::OtherVersion(version)),
            Outcome::Parked => Err(ExecuteError::Parked),
            Outcome::Discarded => Err(ExecuteError::Discarded),
            Outcome::KeyInUse => Err(ExecuteError::KeyInUse),
            Outcome::TooLarge => Err(ExecuteError::TooLarge),
            Outcome::Expired => Err(ExecuteError::Unavailable("it did not come to it in time".to_owned())),
            Outcome::Unknown => Err(ExecuteError::Unknown),
        }
    }

    /// The record that an idempotency key's first command wrote, if it was the same command.
    async fn repeated(
        &self,
        offset: u64,
        stamp: Option<CommandStamp>,
    ) -> Result<Executed<D>, ExecuteError<D::Rejection>> {
        let unreadable = |why: String| ExecuteError::Unavailable(format!("{}@{offset}: {why}", D::JOURNAL));
        let records = self.setup.log.fetch(&Self::journal(), &[offset]).await;
        let record = records.map_err(|error| unreadable(error.to_string()))?.into_iter().next();
        let record = record.ok_or_else(|| unreadable("it is not there".to_owned()))?;
        let header = record.header(HEADER).ok_or_else(|| unreadable("it has no header".to_owned()))?;
        let header = Header::decode(header).map_err(|error| unreadable(error.to_string()))?;
        let is_same = header.command.map(|command| command.fingerprint) == stamp.map(|stamp| stamp.fingerprint);
        if !is_same && !Bug::RepeatAnyBody.is_loose() {
            return Err(ExecuteError::KeyReused);
        }
        let unknown = self.setup.surroundings.unknown();
        let event = decode(&header.kind, &record.value, unknown).map_err(|_| ExecuteError::Parked)?;
        let at = At { offset, time_ms: header.time_ms };
        Ok(Executed { accepted: Accepted { at, id: header.id, event: Arc::new(event) }, replayed: true })
    }
}

/// How the loop can fail for good.
#[derive(Debug, thiserror::Error)]
enum LoopError {
    #[error(transparent)]
    Stop(#[from] Stop),
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("its rows can't be written any more")]
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

/// A record's id, as logs show it.
fn short(id: RecordId) -> String {
    id.0.simple().to_string()
}
