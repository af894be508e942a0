//! The loop.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use orderlog_core::{
    decider::Decider,
    header::{HEADER, Stored},
    machine::{Checkpoint, CopiedRow, Core, Outcome, Stop, Tally, Ticket},
    planted::Bug,
    public::PublicEvent,
};
use orderlog_eventlog::{Batch, Partition, ReadError, Reading};
use orderlog_readmodel::{Pace, Rows};
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::{
    Ask, LoopError, Reach, Serving, Setup, Shared, State, Switch, Waiting,
    append::AppendResult,
    intake::{Copies, EndsQuery, Held, Intake},
    repair::{Repair, Repairs},
    switch::{ServedRows, Switching},
    writer::Done,
};
use crate::{consumed::Consumed, envelope, marks};

/// The maximum number of records folded ahead of the rows.
const N_UNWRITTEN_MAX: usize = 20_000;
/// The number of records worth a transaction while catching up, when no caller waits for the rows.
const N_UNWRITTEN_MIN: usize = 5_000;
/// The number of records passed to the writer while it is still writing others, so that it never waits for this thread. A smaller
/// number would make the fixed cost of a transaction matter.
const N_UNWRITTEN_MANY: usize = 15_000;
/// The maximum number of commands in the core. Others wait in the queue in front of it.
const N_PENDING_MAX: usize = 8_192;
/// How often waiting commands are checked when nothing else happens.
const TICK: Duration = Duration::from_millis(20);

/// Creates a core that resumes from a checkpoint.
pub(super) type NewCore<D> = Box<dyn Fn(Checkpoint) -> Core<D> + Send + Sync>;

/// The state of the rows and the journal when a loop starts.
pub(super) struct Beginning<D: Decider> {
    pub core: Core<D>,
    pub new_core: NewCore<D>,
    /// The first offset that is not in the rows.
    pub next: u64,
    /// The positions up to which the rows hold copied facts.
    pub copied: Vec<CopiedRow>,
    pub end: u64,
}

/// The state of an instance's task outside its loop.
pub(super) struct Own<R> {
    pub setup: Setup,
    pub serving: Serving<R>,
    pub shared: Arc<Shared>,
    pub consumed: Consumed,
}

/// The queues of requests to the task.
pub(super) struct Inbox<D: Decider, R> {
    pub commands: mpsc::Receiver<Ask<D>>,
    pub to_switch: mpsc::Receiver<Switch<D, R>>,
    pub to_repair: mpsc::Receiver<Repair>,
    /// Whether any handle can still submit commands.
    pub is_open: bool,
}

/// How far the rows must advance before they may be queried.
struct CatchingUp {
    /// The end of the journal at that time. A journal without a genesis up to there gets one.
    end: u64,
    /// At least 1, and behind the genesis if this replica appends it.
    until: u64,
    has_begun: bool,
    is_done: bool,
}

/// All state of the task.
pub(super) struct Loop<D: Decider, R> {
    pub(super) core: Core<D>,
    pub(super) new_core: NewCore<D>,
    pub(super) setup: Setup,
    pub(super) shared: Arc<Shared>,
    pub(super) rows: ServedRows<D, R>,
    inbox: Inbox<D, R>,
    pub(super) repairs: Repairs,
    pub(super) intake: Intake,
    catching_up: CatchingUp,
    pub(super) replies: HashMap<Ticket, Waiting<D>>,
    pub(super) appends: FuturesUnordered<BoxFuture<'static, AppendResult>>,
    /// The part of the core's tally that the metrics already include.
    counted: Tally,
}

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    pub fn new(beginning: Beginning<D>, own: &Own<R>, inbox: Inbox<D, R>, reach: Reach) -> Self {
        let Beginning { core, new_core, end, .. } = beginning;
        let until = end.max(1).min(reach.target);
        Self {
            core,
            new_core,
            rows: ServedRows::of(Arc::clone(&own.serving), &own.shared, own.setup.environment.as_ref()),
            setup: own.setup.clone(),
            shared: Arc::clone(&own.shared),
            inbox,
            repairs: Repairs::default(),
            intake: Intake {
                held: Held { limit: reach.limit, records: VecDeque::new() },
                copies: Copies::of::<D>(own.consumed.clone()),
                ends: EndsQuery::default(),
            },
            catching_up: CatchingUp { end, until, has_begun: false, is_done: false },
            replies: HashMap::new(),
            appends: FuturesUnordered::new(),
            counted: Tally::default(),
        }
    }

    /// Runs until every handle is gone, every command is answered and all changes are written. Requests that arrive after a failure
    /// stay in the inbox.
    pub async fn run(mut self) -> (Result<(), LoopError>, Inbox<D, R>) {
        loop {
            let outcome = match self.work().await {
                // Each restart excludes one more discarded record, so this terminates.
                Err(LoopError::Stop(Stop::Discarded { offset, by, .. })) => match self.start_over(offset, by).await {
                    Ok(()) => continue,
                    outcome => outcome,
                },
                outcome => outcome,
            };
            return (outcome, self.inbox);
        }
    }

    async fn work(&mut self) -> Result<(), LoopError> {
        let journal = Partition::journal(D::JOURNAL);
        let mut reading = self.setup.log.read(vec![(journal, self.core.next())]);
        let mut copying = self.intake.copies.read(self.setup.log.as_ref(), &self.core);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        while self.inbox.is_open || self.core.n_pending() > 0 || !self.rows.writer.is_idle() {
            let has_room = self.core.n_unwritten() < N_UNWRITTEN_MAX && self.core.n_queued() < N_UNWRITTEN_MAX;
            let may_read = has_room && self.intake.held.records.is_empty();
            let may_ask = self.inbox.is_open && self.core.n_pending() < N_PENDING_MAX;
            // The fixed order makes runs deterministic: the same events lead to the same turns. Rare events come first. They cannot starve
            // the others, since a turn takes whatever is queued.
            tokio::select! {
                biased;
                (up_to, ends) = self.intake.ends.answer() => self.learn_ends(up_to, ends),
                found = self.repairs.fetched() => self.fetched(found)?,
                done = self.rows.writer.done() => self.done(done?),
                Some(switch) = self.inbox.to_switch.recv(), if self.rows.switching.is_none() => {
                    self.rows.switching = Some(Switching::begin(switch));
                }
                Some(repair) = self.inbox.to_repair.recv() => self.repair(repair).await?,
                () = self.intake.copies.grown() => {
                    copying = self.intake.copies.read(self.setup.log.as_ref(), &self.core);
                }
                () = self.intake.held.raised(), if !self.intake.held.records.is_empty() => {}
                Some(results) = self.appends.next() => self.appended(results),
                n = self.inbox.commands.recv_many(&mut asks, N_PENDING_MAX), if may_ask => {
                    self.inbox.is_open = n > 0;
                    asks.drain(..).for_each(|ask| self.ask(ask));
                }
                batch = reading.next(), if may_read => self.read(batch)?,
                batch = copying.next(), if has_room && self.intake.copies.is_possible => self.copy(batch)?,
                _ = tick.tick() => {}
            }
            self.take_what_has_queued(&mut reading, &mut copying)?;
            self.turn().await?;
        }
        Ok(())
    }

    /// Appends a genesis if the journal has none. Records of other programs do not begin a journal.
    fn begin(&mut self) {
        if self.catching_up.has_begun || self.core.genesis().is_some() || self.core.next() < self.catching_up.end {
            return;
        }
        self.catching_up.has_begun = true;
        self.catching_up.until = self.catching_up.until.max(self.core.next() + 1);
        let genesis = self.core.genesis_record(self.setup.environment.mint(), self.setup.environment.now_ms());
        debug!(service = D::JOURNAL, "{} begins its journal", D::JOURNAL);
        self.append(vec![genesis]);
    }

    /// Adds everything else that is ready to the same turn, so that batches are larger and fewer.
    fn take_what_has_queued(&mut self, reading: &mut Reading, copying: &mut Reading) -> Result<(), LoopError> {
        while let Some(Some(results)) = self.appends.next().now_or_never() {
            self.appended(results);
        }
        while self.intake.held.records.is_empty()
            && self.core.n_queued() < N_UNWRITTEN_MIN
            && self.core.n_unwritten() < N_UNWRITTEN_MAX
            && let Some(batch) = reading.next().now_or_never()
        {
            self.read(batch)?;
        }
        if self.intake.copies.is_possible
            && let Some(batch) = copying.next().now_or_never()
        {
            self.copy(batch)?;
        }
        while self.core.n_pending() < N_PENDING_MAX
            && let Ok(ask) = self.inbox.commands.try_recv()
        {
            self.ask(ask);
        }
        Ok(())
    }

    fn ask(&mut self, ask: Ask<D>) {
        let ticket = self.core.ask(ask.request, self.setup.environment.now_ms());
        self.replies.insert(ticket, ask.waiting);
    }

    fn read(&mut self, batch: Option<Result<Batch, ReadError>>) -> Result<(), LoopError> {
        self.intake.held.records.extend(next_batch(batch)?.records);
        self.feed()
    }

    /// Passes the records read to the core, up to the limit.
    fn feed(&mut self) -> Result<(), LoopError> {
        let (limit, mut n_bytes) = (*self.intake.held.limit.borrow_and_update(), 0);
        let mut foreign: Option<(u64, u64)> = None;
        while let Some(record) = self.intake.held.records.pop_front_if(|record| record.offset < limit) {
            let header = envelope::stored(self.setup.log.as_ref(), &record);
            n_bytes += record.header(HEADER).map_or(0, Bytes::len) + record.value.len();
            self.core.read(record.offset, header, &record.value)?;
            if header == Stored::Foreign {
                foreign.get_or_insert((record.offset, 0)).1 += 1;
            }
        }
        if let Some((first, n)) = foreign {
            warn!(service = D::JOURNAL, n, "another program wrote to the journal: {}@{first} is void", D::JOURNAL);
        }
        self.shared.n_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Copies facts, and stops at one that cannot be decoded: skipping it would leave this version's rows without it permanently, and
    /// a later version's rows would differ. From then on nothing is copied, and commands whose rejection needs newer facts get 503,
    /// until a version that can decode it is started.
    fn copy(&mut self, batch: Option<Result<Batch, ReadError>>) -> Result<(), LoopError> {
        let batch = next_batch(batch)?;
        let (topic, part) = (&batch.partition.topic, batch.partition.index);
        for record in batch.records {
            match D::Heard::from_json(topic, &record.value) {
                Ok(event) => self.core.copy(topic, part, (record.offset, marks::print_of(&record)), &event),
                Err(failure) => {
                    let trouble =
                        format!("{topic}/{part}@{} can't be read, nothing more is copied: {failure}", record.offset);
                    error!(service = D::JOURNAL, "{trouble}");
                    self.intake.copies.is_possible = false;
                    self.shared.trouble.send_replace(Some(trouble));
                    break;
                }
            }
        }
        Ok(())
    }

    fn learn_ends(&mut self, up_to: Ticket, ends: Result<Vec<u64>, ReadError>) {
        match ends {
            Ok(ends) => self.core.ends(up_to, self.intake.copies.ends(&ends)),
            // The query is repeated on the next tick. The commands that need it wait until their deadlines.
            Err(error) => {
                warn!(service = D::JOURNAL, "the log's ends can't be read: {error}");
                self.intake.ends.is_wanted = true;
            }
        }
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Written { change_set, next, copied } => {
                self.core.written(change_set);
                self.shared.copied.send_replace(copied);
                self.shared.committed.send_replace(next);
                self.tell_retried(change_set);
            }
            // This also happens when another generation has taken over.
            Done::Indexed if matches!(*self.shared.state.borrow(), State::Ready | State::Preparing) => {}
            Done::Indexed => {
                debug!(service = D::JOURNAL, "{} resumes from offset {}", D::JOURNAL, self.core.next());
                let prepares = &self.shared.prepares;
                self.shared.state.send_modify(|state| {
                    *state = if prepares.load(Ordering::Acquire) { State::Preparing } else { State::Ready };
                });
            }
            Done::Cleared => {}
        }
    }

    /// Restarts with empty rows and abandons everything in progress. The journal ends at `end`.
    pub(super) fn forget(&mut self, end: u64) {
        self.intake.held.records.clear();
        self.replies.clear();
        self.repairs = Repairs::default();
        self.intake.ends = EndsQuery::default();
        self.intake.copies.start_over();
        // The new core's tally starts at 0.
        self.counted = Tally::default();
        self.catching_up.is_done = false;
        self.catching_up.end = end;
        self.catching_up.until = end.min(*self.intake.held.limit.borrow());
    }

    /// Creates the indexes once the rows hold what the journal held at the start. Queries before that would be answered from stale
    /// rows.
    fn finish_catching_up(&mut self) {
        let is_there = *self.shared.committed.borrow() >= self.catching_up.until && self.core.genesis().is_some();
        if !self.catching_up.is_done && is_there {
            self.catching_up.is_done = true;
            self.rows.writer.create_indexes();
        }
    }

    /// Runs the core as far as its input allows, and carries out the resulting steps.
    async fn turn(&mut self) -> Result<(), LoopError> {
        self.feed()?;
        loop {
            let step = self.core.run(self.setup.environment.now_ms())?;
            self.shared
                .folded
                .send_if_modified(|folded| std::mem::replace(folded, self.core.next()) != self.core.next());
            self.append(step.appends);
            self.intake.ends.is_wanted |= step.wants_ends;
            for (ticket, outcome) in step.answers {
                self.answer(ticket, outcome);
            }
            self.fetch(step.records);
            if step.missing.is_empty() {
                break;
            }
            let loaded = self.rows.store.load(&step.missing).await?;
            self.core.provide(loaded);
        }
        self.intake.ends.ask::<D>(&self.setup.log, &self.intake.copies, self.core.last_ticket());
        self.begin();
        self.finish_catching_up();
        self.go_on_switching().await?;
        self.write();
        self.count();
        if self.rows.writer.is_idle() && !self.core.is_changed() && !self.repairs.is_fetching() {
            self.tell_retried(self.core.change_set());
        }
        Ok(())
    }

    fn count(&mut self) {
        let tally = self.core.tally();
        self.shared.measures.turned(self.setup.environment.now_ms(), tally.since(self.counted));
        self.counted = tally;
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome<D>) {
        let next = match &outcome {
            Outcome::Accepted(accepted) => accepted.at.offset + 1,
            Outcome::Repeated { offset } => offset + 1,
            Outcome::Rejected(_)
            | Outcome::OtherVersion(_)
            | Outcome::Parked
            | Outcome::Discarded
            | Outcome::TooLarge
            | Outcome::KeyInUse
            | Outcome::Expired
            | Outcome::Unknown => 0,
        };
        let next = if Bug::ReadOneBehind.is_loose() { next.saturating_sub(1) } else { next };
        self.shared.answered.fetch_max(next, Ordering::AcqRel);
        if let Some(Waiting { reply, steps }) = self.replies.remove(&ticket) {
            // The caller may have gone away.
            drop(reply.send((outcome, steps)));
        }
    }

    fn write(&mut self) {
        // At the limit, a caller waits for the rows.
        let is_catching_up = self.core.next() < self.catching_up.until.min(*self.intake.held.limit.borrow());
        let n_worth_it = match self.rows.writer.n_under_way() {
            0 if is_catching_up => N_UNWRITTEN_MIN,
            0 => 0,
            1 if is_catching_up => N_UNWRITTEN_MANY,
            _ => return,
        };
        // A generation that takes over must be at exactly the same offset as this one.
        if self.rows.switching.is_none()
            && self.core.n_unwritten() >= n_worth_it
            && let Some((change_set, changes)) = self.core.take_changes()
        {
            self.rows.writer.write(change_set, changes, if is_catching_up { Pace::Mass } else { Pace::Steady });
        }
    }
}

fn next_batch(batch: Option<Result<Batch, ReadError>>) -> Result<Batch, LoopError> {
    let ended = || ReadError::Unavailable { reason: "reading ended".to_owned() };
    Ok(batch.ok_or_else(ended)??)
}
