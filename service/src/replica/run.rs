//! The loop.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use orderlog_core::{
    decider::Decider,
    header::HEADER,
    machine::{Checkpoint, Core, Ends, Outcome, Stop, Tally, Ticket},
    planted::Bug,
    public::PublicEvent,
};
use orderlog_eventlog::{Batch, EventLog, Partition, ReadError, Reading, Record};
use orderlog_readmodel::{Pace, Rows};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    Ask, LoopError, Serving, Setup, Shared, State, Switch, Waiting,
    append::AppendResult,
    repair::{Fetching, Repair, Repairs},
    switch::Switching,
    writer::{Done, Writer},
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

/// Where the log's partitions end, and the last command that this answers.
type AskedEnds = BoxFuture<'static, (Ticket, Result<Vec<u64>, ReadError>)>;

/// A core that goes on from there.
pub(super) type NewCore<D> = Box<dyn Fn(Checkpoint) -> Core<D> + Send + Sync>;

/// What is asked of the task.
pub(super) struct Inbox<D: Decider, R> {
    pub asked: mpsc::Receiver<Ask<D>>,
    pub to_switch: mpsc::Receiver<Switch<D, R>>,
    pub to_repair: mpsc::Receiver<Repair>,
}

/// Everything that the task owns.
pub(super) struct Loop<D: Decider, R> {
    pub(super) core: Core<D>,
    pub(super) new_core: NewCore<D>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) surroundings: Arc<dyn Surroundings>,
    pub(super) store: Arc<R>,
    pub(super) serving: Serving<R>,
    inbox: Inbox<D, R>,
    pub(super) repairs: Repairs,
    /// Folding waits for them.
    pub(super) fetching: Option<Fetching>,
    /// The generation that is to take over, if one is.
    pub(super) switching: Option<Switching<D, R>>,
    pub(super) shared: Arc<Shared>,
    pub(super) copies: Vec<Partition>,
    /// No record at or above this is folded.
    limit: watch::Receiver<u64>,
    /// Read, but above the limit.
    held: VecDeque<Record>,
    /// There is something to copy, and all of it could be read so far.
    may_copy: bool,
    /// Nobody had begun the journal when the replica started.
    is_empty: bool,
    /// Where the journal ended then; an empty one has to be begun first.
    caught_up_at: u64,
    /// The rows have come as far.
    is_caught_up: bool,
    pub(super) replies: HashMap<Ticket, Waiting<D>>,
    pub(super) appends: FuturesUnordered<BoxFuture<'static, AppendResult>>,
    ends: Option<AskedEnds>,
    wants_ends: bool,
    pub(super) writer: Writer<D>,
    is_open: bool,
    /// What was folded, as far as it is counted.
    counted: Tally,
}

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    pub fn new(
        (core, new_core): (Core<D>, NewCore<D>),
        setup: Setup,
        serving: Serving<R>,
        inbox: Inbox<D, R>,
        shared: Arc<Shared>,
        copies: Vec<Partition>,
        (end, target, limit): (u64, u64, watch::Receiver<u64>),
    ) -> Self {
        let store = Arc::clone(&serving.read().unwrap_or_else(PoisonError::into_inner));
        let writer = Writer::start(Arc::clone(&store), Arc::clone(&shared), setup.surroundings.as_ref());
        let caught_up_at = end.max(1).min(target);
        Self {
            core,
            new_core,
            log: setup.log,
            surroundings: setup.surroundings,
            store,
            serving,
            inbox,
            repairs: Repairs::default(),
            fetching: None,
            switching: None,
            shared,
            caught_up_at,
            limit,
            held: VecDeque::new(),
            may_copy: !copies.is_empty(),
            copies,
            is_empty: end == 0,
            is_caught_up: false,
            replies: HashMap::new(),
            appends: FuturesUnordered::new(),
            ends: None,
            wants_ends: false,
            writer,
            is_open: true,
            counted: Tally::default(),
        }
    }

    /// Run until every handle is gone and everything asked is answered and written. What is asked after a failure is left in the
    /// inbox.
    pub async fn run(mut self) -> (Result<(), LoopError>, Inbox<D, R>) {
        if self.is_empty {
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
        let mut copying = self.read_copies();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asks = Vec::new();
        while self.is_open || self.core.n_pending() > 0 || !self.writer.is_idle() {
            let has_room = self.core.n_unwritten() < N_UNWRITTEN_MAX && self.core.n_queued() < N_UNWRITTEN_MAX;
            let may_read = has_room && self.held.is_empty();
            let may_ask = self.is_open && self.core.n_pending() < N_PENDING_MAX;
            // In this order, so that the same things happening lead to the same turns. What comes rarely is first; of the rest
            // nothing is held up by what is before it, since a turn takes whatever has queued.
            tokio::select! {
                biased;
                (up_to, ends) = if_any(&mut self.ends) => self.learn_ends(up_to, ends),
                found = if_any(&mut self.fetching) => self.fetched(found)?,
                done = self.writer.done() => self.done(done?),
                Some(switch) = self.inbox.to_switch.recv(), if self.switching.is_none() => {
                    self.switching = Some(Switching::begin(switch));
                }
                Some(repair) = self.inbox.to_repair.recv() => self.repair(repair).await?,
                () = raised(&mut self.limit), if !self.held.is_empty() => {}
                Some(results) = self.appends.next() => self.appended(results),
                n = self.inbox.asked.recv_many(&mut asks, N_PENDING_MAX), if may_ask => {
                    self.is_open = n > 0;
                    asks.drain(..).for_each(|ask| self.ask(ask));
                }
                batch = reading.next(), if may_read => self.read(batch)?,
                batch = copying.next(), if has_room && self.may_copy => self.copy(batch)?,
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

    fn read_copies(&self) -> Reading {
        if self.copies.is_empty() {
            return futures_util::stream::pending().boxed();
        }
        let next = |partition: &Partition| self.core.copied_next(&partition.topic, partition.index);
        self.log.read(self.copies.iter().map(|partition| (partition.clone(), next(partition))).collect())
    }

    /// Whatever else is there already goes into the same turn: larger batches, fewer of everything.
    fn take_what_has_queued(&mut self, reading: &mut Reading, copying: &mut Reading) -> Result<(), LoopError> {
        while let Some(Some(results)) = self.appends.next().now_or_never() {
            self.appended(results);
        }
        while self.held.is_empty()
            && self.core.n_queued() < N_UNWRITTEN_MIN
            && self.core.n_unwritten() < N_UNWRITTEN_MAX
            && let Some(batch) = reading.next().now_or_never()
        {
            self.read(batch)?;
        }
        if self.may_copy
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
        self.held.extend(next_batch(batch)?.records);
        self.feed()
    }

    /// Hand what was read to the core, as far as the limit allows.
    fn feed(&mut self) -> Result<(), LoopError> {
        let (limit, mut n_bytes) = (*self.limit.borrow_and_update(), 0);
        while let Some(record) = self.held.pop_front_if(|record| record.offset < limit) {
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
                    self.may_copy = false;
                    self.shared.trouble.send_replace(Some(trouble));
                    break;
                }
            }
        }
        Ok(())
    }

    fn learn_ends(&mut self, up_to: Ticket, ends: Result<Vec<u64>, ReadError>) {
        self.ends = None;
        match ends {
            Ok(ends) => {
                let copied = self.copies.iter().zip(ends.iter().skip(1));
                let copied = copied.map(|(it, end)| (it.topic.to_string(), it.index, *end)).collect();
                self.core.ends(up_to, Ends { journal: ends[0], copied });
            }
            // Asked again on the next tick; the commands that need it wait until their time is up.
            Err(error) => {
                warn!(service = D::JOURNAL, "the log's ends can't be read: {error}");
                self.wants_ends = true;
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
        self.held.clear();
        self.replies.clear();
        self.repairs = Repairs::default();
        (self.ends, self.wants_ends, self.fetching) = (None, false, None);
        self.may_copy = !self.copies.is_empty();
        // The new core counts from 0.
        self.counted = Tally::default();
        self.is_caught_up = false;
        self.caught_up_at = end.min(*self.limit.borrow());
    }

    /// Once the rows hold what the journal held at the start, only their indexes are missing. Earlier a query would be
    /// answered from old rows.
    fn finish_catching_up(&mut self) {
        if !self.is_caught_up && *self.shared.committed.borrow() >= self.caught_up_at {
            self.is_caught_up = true;
            self.writer.create_indexes();
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
            self.wants_ends |= step.wants_ends;
            for (ticket, outcome) in step.answers {
                self.answer(ticket, outcome);
            }
            self.fetch(step.records);
            if step.missing.is_empty() {
                break;
            }
            let loaded = self.store.load(&step.missing).await?;
            self.core.provide(loaded);
        }
        self.look_for_ends();
        self.finish_catching_up();
        self.go_on_switching().await?;
        self.write();
        self.count();
        if self.writer.is_idle() && !self.core.is_changed() && self.fetching.is_none() {
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

    /// One call answers every command that was asked before it.
    fn look_for_ends(&mut self) {
        if self.wants_ends && self.ends.is_none() {
            self.wants_ends = false;
            let (log, up_to) = (Arc::clone(&self.log), self.core.last_ticket());
            let mut partitions = vec![Partition::journal(D::JOURNAL)];
            partitions.extend(self.copies.iter().cloned());
            self.ends = Some(async move { (up_to, log.ends(&partitions).await) }.boxed());
        }
    }

    fn write(&mut self) {
        // At the limit somebody waits for them.
        let is_catching_up = self.core.next() < self.caught_up_at.min(*self.limit.borrow());
        let n_worth_it = match self.writer.n_under_way() {
            0 if is_catching_up => N_UNWRITTEN_MIN,
            0 => 0,
            1 if is_catching_up => N_UNWRITTEN_MANY,
            _ => return,
        };
        // While another generation takes over, it has to stand exactly where this one does.
        if self.switching.is_none()
            && self.core.n_unwritten() >= n_worth_it
            && let Some((change_set, changes)) = self.core.take_changes()
        {
            self.writer.write(change_set, changes, if is_catching_up { Pace::Mass } else { Pace::Steady });
        }
    }
}

/// Until the limit is raised.
async fn raised(limit: &mut watch::Receiver<u64>) {
    if limit.changed().await.is_err() {
        // Nobody can raise it any more.
        std::future::pending().await
    }
}

/// What comes of it; never anything, if there is nothing.
async fn if_any<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn next_batch(batch: Option<Result<Batch, ReadError>>) -> Result<Batch, LoopError> {
    let ended = || ReadError::Unavailable { reason: "reading ended".to_owned() };
    Ok(batch.ok_or_else(ended)??)
}
