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
    header::HEADER,
    machine::{Checkpoint, CopiedRow, Core, Outcome, Stop, Tally, Ticket},
    planted::Bug,
    public::PublicEvent,
};
use orderlog_eventlog::{Batch, EventLog, Partition, ReadError, Reading};
use orderlog_readmodel::{Pace, Rows};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{
    Ask, LoopError, Reach, Serving, Setup, Shared, State, Switch, Waiting,
    append::AppendResult,
    intake::{Copies, EndsQuery, Held},
    repair::{Repair, Repairs},
    switch::{ServedRows, Switching},
    writer::Done,
};
use crate::{marks, surroundings::Surroundings};

/// More records than this are not folded ahead of the rows.
const N_UNWRITTEN_MAX: usize = 20_000;
/// So many are worth a transaction while catching up, when nobody waits for the rows.
const N_UNWRITTEN_MIN: usize = 5_000;
/// So many are handed over while others are still being written, so that the thread that writes does not wait for this one: not
/// fewer, since what a transaction costs by itself counts then.
const N_UNWRITTEN_MANY: usize = 15_000;
/// More commands than this are not with the core at once; the others wait in the queue before it.
const N_PENDING_MAX: usize = 8_192;
/// How often waiting commands are looked at when nothing else happens.
const TICK: Duration = Duration::from_millis(20);

/// A core that goes on from there.
pub(super) type NewCore<D> = Box<dyn Fn(Checkpoint) -> Core<D> + Send + Sync>;

/// Where rows and journal stand when a loop begins.
pub(super) struct Beginning<D: Decider> {
    pub core: Core<D>,
    pub new_core: NewCore<D>,
    pub copies: Vec<Partition>,
    /// The first offset that is not in the rows.
    pub next: u64,
    /// How far facts are copied in the rows.
    pub copied: Vec<CopiedRow>,
    pub end: u64,
}

/// What the task of an instance has besides its loop.
pub(super) struct Own<R> {
    pub setup: Setup,
    pub serving: Serving<R>,
    pub shared: Arc<Shared>,
}

/// What is asked of the task.
pub(super) struct Inbox<D: Decider, R> {
    pub asked: mpsc::Receiver<Ask<D>>,
    pub to_switch: mpsc::Receiver<Switch<D, R>>,
    pub to_repair: mpsc::Receiver<Repair>,
    /// Somebody may still ask.
    pub is_open: bool,
}

/// How far the rows have to come before they are queried.
struct CatchingUp {
    /// Nobody had begun the journal when the replica started.
    is_new: bool,
    /// Where the journal ended then; an empty one has to be begun first.
    until: u64,
    is_done: bool,
}

/// Everything that the task owns.
pub(super) struct Loop<D: Decider, R> {
    pub(super) core: Core<D>,
    pub(super) new_core: NewCore<D>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) surroundings: Arc<dyn Surroundings>,
    pub(super) shared: Arc<Shared>,
    pub(super) rows: ServedRows<D, R>,
    inbox: Inbox<D, R>,
    pub(super) repairs: Repairs,
    held: Held,
    pub(super) copies: Copies,
    ends: EndsQuery,
    catching_up: CatchingUp,
    pub(super) replies: HashMap<Ticket, Waiting<D>>,
    pub(super) appends: FuturesUnordered<BoxFuture<'static, AppendResult>>,
    /// What was folded, as far as it is counted.
    counted: Tally,
}

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    pub fn new(beginning: Beginning<D>, own: &Own<R>, inbox: Inbox<D, R>, reach: Reach) -> Self {
        let Beginning { core, new_core, copies, end, .. } = beginning;
        let Setup { log, surroundings, .. } = own.setup.clone();
        let until = end.max(1).min(reach.target);
        Self {
            core,
            new_core,
            rows: ServedRows::of(Arc::clone(&own.serving), &own.shared, surroundings.as_ref()),
            log,
            surroundings,
            shared: Arc::clone(&own.shared),
            inbox,
            repairs: Repairs::default(),
            held: Held { limit: reach.limit, records: VecDeque::new() },
            copies: Copies::of(copies),
            ends: EndsQuery::default(),
            catching_up: CatchingUp { is_new: end == 0, until, is_done: false },
            replies: HashMap::new(),
            appends: FuturesUnordered::new(),
            counted: Tally::default(),
        }
    }

    /// Run until every handle is gone and everything asked is answered and written. What is asked after a failure is left in the
    /// inbox.
    pub async fn run(mut self) -> (Result<(), LoopError>, Inbox<D, R>) {
        if self.catching_up.is_new {
            self.begin();
        }
        loop {
            let outcome = match self.work().await {
                // Each time another record is known to have no effect, so this comes to an end.
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
        let mut reading = self.log.read(vec![(journal, self.core.next())]);
        let mut copying = self.copies.read(self.log.as_ref(), &self.core);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        while self.inbox.is_open || self.core.n_pending() > 0 || !self.rows.writer.is_idle() {
            let has_room = self.core.n_unwritten() < N_UNWRITTEN_MAX && self.core.n_queued() < N_UNWRITTEN_MAX;
            let may_read = has_room && self.held.records.is_empty();
            let may_ask = self.inbox.is_open && self.core.n_pending() < N_PENDING_MAX;
            // In this order, so that the same things happening lead to the same turns. What comes rarely is first; of the rest
            // nothing is held up by what is before it, since a turn takes whatever has queued.
            tokio::select! {
                biased;
                (up_to, ends) = self.ends.answer() => self.learn_ends(up_to, ends),
                found = self.repairs.fetched() => self.fetched(found)?,
                done = self.rows.writer.done() => self.done(done?),
                Some(switch) = self.inbox.to_switch.recv(), if self.rows.switching.is_none() => {
                    self.rows.switching = Some(Switching::begin(switch));
                }
                Some(repair) = self.inbox.to_repair.recv() => self.repair(repair).await?,
                () = self.held.raised(), if !self.held.records.is_empty() => {}
                Some(results) = self.appends.next() => self.appended(results),
                n = self.inbox.asked.recv_many(&mut asks, N_PENDING_MAX), if may_ask => {
                    self.inbox.is_open = n > 0;
                    asks.drain(..).for_each(|ask| self.ask(ask));
                }
                batch = reading.next(), if may_read => self.read(batch)?,
                batch = copying.next(), if has_room && self.copies.is_possible => self.copy(batch)?,
                _ = tick.tick() => {}
            }
            self.take_what_has_queued(&mut reading, &mut copying)?;
            self.turn().await?;
        }
        Ok(())
    }

    fn begin(&mut self) {
        let genesis = self.core.genesis_record(self.surroundings.mint(), self.surroundings.now_ms());
        info!(service = D::JOURNAL, "{} begins an empty journal", D::JOURNAL);
        self.append(vec![genesis]);
    }

    /// Whatever else is there already goes into the same turn: larger batches, fewer of everything.
    fn take_what_has_queued(&mut self, reading: &mut Reading, copying: &mut Reading) -> Result<(), LoopError> {
        while let Some(Some(results)) = self.appends.next().now_or_never() {
            self.appended(results);
        }
        while self.held.records.is_empty()
            && self.core.n_queued() < N_UNWRITTEN_MIN
            && self.core.n_unwritten() < N_UNWRITTEN_MAX
            && let Some(batch) = reading.next().now_or_never()
        {
            self.read(batch)?;
        }
        if self.copies.is_possible
            && let Some(batch) = copying.next().now_or_never()
        {
            self.copy(batch)?;
        }
        while self.core.n_pending() < N_PENDING_MAX
            && let Ok(ask) = self.inbox.asked.try_recv()
        {
            self.ask(ask);
        }
        Ok(())
    }

    fn ask(&mut self, ask: Ask<D>) {
        let ticket = self.core.ask(ask.request, self.surroundings.now_ms());
        self.replies.insert(ticket, ask.waiting);
    }

    fn read(&mut self, batch: Option<Result<Batch, ReadError>>) -> Result<(), LoopError> {
        self.held.records.extend(next_batch(batch)?.records);
        self.feed()
    }

    /// Hand what was read to the core, as far as the limit allows.
    fn feed(&mut self) -> Result<(), LoopError> {
        let (limit, mut n_bytes) = (*self.held.limit.borrow_and_update(), 0);
        while let Some(record) = self.held.records.pop_front_if(|record| record.offset < limit) {
            let header = record.header(HEADER);
            n_bytes += header.map_or(0, Bytes::len) + record.value.len();
            self.core.read(record.offset, header, &record.value)?;
        }
        self.shared.n_bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// A fact that can't be read is not passed over: this program's rows would lack it for ever, a later one's would not.
    /// Nothing more is copied, and what needs newer facts to be refused is answered with 503, until a program that can read it
    /// is started.
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
                    self.copies.is_possible = false;
                    self.shared.trouble.send_replace(Some(trouble));
                    break;
                }
            }
        }
        Ok(())
    }

    fn learn_ends(&mut self, up_to: Ticket, ends: Result<Vec<u64>, ReadError>) {
        match ends {
            Ok(ends) => self.core.ends(up_to, self.copies.ends(&ends)),
            // Asked again on the next tick; the commands that need it wait until their time is up.
            Err(error) => {
                warn!(service = D::JOURNAL, "the log's ends can't be read: {error}");
                self.ends.is_wanted = true;
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
            // Also when another generation has taken over.
            Done::Indexed if matches!(*self.shared.state.borrow(), State::Ready | State::Preparing) => {}
            Done::Indexed => {
                info!(service = D::JOURNAL, "{} goes on from offset {}", D::JOURNAL, self.core.next());
                let prepares = &self.shared.prepares;
                self.shared.state.send_modify(|state| {
                    *state = if prepares.load(Ordering::Acquire) { State::Preparing } else { State::Ready };
                });
            }
            Done::Cleared => {}
        }
    }

    /// Begin again with empty rows: nothing of what is under way counts any more. The journal ends at `end`.
    pub(super) fn forget(&mut self, end: u64) {
        self.held.records.clear();
        self.replies.clear();
        self.repairs = Repairs::default();
        self.ends = EndsQuery::default();
        self.copies.start_over();
        // The new core counts from 0.
        self.counted = Tally::default();
        self.catching_up.is_done = false;
        self.catching_up.until = end.min(*self.held.limit.borrow());
    }

    /// Once the rows hold what the journal held at the start, only their indexes are missing. Earlier a query would be
    /// answered from old rows.
    fn finish_catching_up(&mut self) {
        if !self.catching_up.is_done && *self.shared.committed.borrow() >= self.catching_up.until {
            self.catching_up.is_done = true;
            self.rows.writer.create_indexes();
        }
    }

    /// Let the core do all it can with what it has, and carry out what it says.
    async fn turn(&mut self) -> Result<(), LoopError> {
        self.feed()?;
        loop {
            let step = self.core.run(self.surroundings.now_ms())?;
            self.shared
                .folded
                .send_if_modified(|folded| std::mem::replace(folded, self.core.next()) != self.core.next());
            self.append(step.appends);
            self.ends.is_wanted |= step.wants_ends;
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
        self.ends.ask::<D>(&self.log, &self.copies, self.core.last_ticket());
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
        self.shared.measures.turned(self.surroundings.now_ms(), tally.since(self.counted));
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
            // A caller that has gone away does not want to know.
            drop(reply.send((outcome, steps)));
        }
    }

    fn write(&mut self) {
        // At the limit somebody waits for them.
        let is_catching_up = self.core.next() < self.catching_up.until.min(*self.held.limit.borrow());
        let n_worth_it = match self.rows.writer.n_under_way() {
            0 if is_catching_up => N_UNWRITTEN_MIN,
            0 => 0,
            1 if is_catching_up => N_UNWRITTEN_MANY,
            _ => return,
        };
        // While another generation takes over, it has to stand exactly where this one does.
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
