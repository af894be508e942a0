//! What this service has consumed of other services' public events. A rejection must not ignore events that are already on the
//! topics, and a response must reflect the records that its caller has seen elsewhere.
//!
//! A record of another journal is reflected once
//! 1. the relay of that journal has passed it, so that its events are on the topics;
//! 2. this service's reactor, on any instance, has passed the ends that these topics had after step 1;
//! 3. the rows of this instance hold this service's journal up to the end that it had after step 2. Facts that each instance
//!    copies for itself are in its rows up to the ends of step 2.
//!
//! A record that a third service derives from it belongs to that service and has a position of its own.
//!
//! All waiting callers share each query to the log. It runs at most once per [`LOOK_EVERY`], and only while a caller waits.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use orderlog_core::{
    decider::{Decider, Millis},
    planted::Bug,
    public::PublicEvent,
};
use orderlog_eventlog::{EventLog, Lease, Partition, Position};
use tokio::time::Instant;
use tracing::warn;

use crate::{assembly, consumed::Consumed, environment::Environment, marks};

/// How long a rejection waits for events that are not published yet.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(1);
/// The minimum interval between two queries of the same kind.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The pause before positions that could not be verified are checked again.
const PROVE_AGAIN: Duration = Duration::from_secs(1);

/// The journals whose events `D` consumes, each with the topics consumed.
pub fn sources<D: Decider>() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let is_consumed = |topic: &str| D::REACTS_TO.contains(&topic) || D::COPIES.contains(&topic);
    let mut sources: Vec<(_, Vec<_>)> = Vec::new();
    for &(topic, journal) in D::Heard::TOPICS.iter().filter(|(topic, _)| is_consumed(topic)) {
        match sources.iter_mut().find(|(known, _)| *known == journal) {
            Some((_, topics)) => topics.push(topic),
            None => sources.push((journal, vec![topic])),
        }
    }
    sources.into_iter()
}

/// What is still missing before a record of another journal is reflected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// The relay of its journal has not passed it: it lags, or waits at a parked record.
    Publication,
    /// The reactor has not reacted to all published events.
    Reaction,
    /// The rows of this instance lag behind what the reactor appended, or what was published to be copied.
    Rows,
    /// The log does not answer; its error message.
    Log(String),
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publication => f.write_str("its events are not published yet"),
            Self::Reaction => f.write_str("not all events before it have been reacted to"),
            Self::Rows => f.write_str("the rows are behind"),
            Self::Log(reason) => f.write_str(reason),
        }
    }
}

/// What the rows of an instance must contain for a record of another journal to be reflected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TakenIn {
    /// This service's journal below this offset.
    pub journal_end: u64,
    /// Copied facts below these offsets.
    pub copied: Vec<(Partition, u64)>,
}

/// The public events of other services that a service consumes, and its progress.
pub struct News {
    log: Arc<dyn EventLog>,
    lease: Arc<dyn Lease>,
    journal: Partition,
    sources: Vec<Source>,
    consumed: Consumed,
    /// The topics that the reactor reads.
    reacts_to: &'static [&'static str],
    /// The topics that each instance copies.
    copies: &'static [&'static str],
    looks: Shared<Arc<Look>>,
    /// Verifies the reactor's positions.
    proof: Proof,
}

/// A snapshot of a reactor's progress: ends were queried first, then the reactor's positions, then the end of the journal.
struct Look {
    /// The ends of the partitions that the reactor reads.
    ends: Vec<(Partition, u64)>,
    /// The ends of the partitions that are copied.
    copied_ends: Vec<(Partition, u64)>,
    /// The reactor's positions, in the order of `ends`. A later look may have more.
    reacted: Vec<u64>,
    journal_end: u64,
}

impl News {
    pub(super) fn of<D: Decider>(log: Arc<dyn EventLog>, lease: Arc<dyn Lease>, consumed: Consumed) -> Self {
        let sources = sources::<D>().map(|(journal, topics)| Source::new(journal, topics)).collect();
        let journal = Partition::journal(D::JOURNAL);
        let (looks, proof) = (Shared::default(), Proof::default());
        let (reacts_to, copies) = (D::REACTS_TO, D::COPIES);
        Self { log, lease, journal, sources, consumed, reacts_to, copies, looks, proof }
    }

    /// Verifies once that the positions of the reactor and of the relays belong to this log, so that no request has to wait for it.
    pub(super) async fn prove(&self) {
        let is_proven = |proof: &Proof| proof.is_done.load(Ordering::Relaxed);
        loop {
            if !is_proven(&self.proof) {
                drop(self.look().await);
            }
            for source in self.sources.iter().filter(|source| !is_proven(&source.proof)) {
                drop(source.relay_position(self.log.as_ref()).await);
            }
            if is_proven(&self.proof) && self.sources.iter().all(|source| is_proven(&source.proof)) {
                return;
            }
            tokio::time::sleep(PROVE_AGAIN).await;
        }
    }

    /// Waits until everything that the publishers of these topics have accepted so far is published, for one second at most, and then
    /// until the reactor has reacted to what is published. Returns whether it had before the deadline.
    pub async fn are_in(&self, topics: &[&str], deadline: Millis, environment: &dyn Environment) -> bool {
        // The remaining time is measured with a monotonic clock. The wall clock only determines how much was left at the start.
        let left = u64::try_from(deadline - environment.now_ms()).unwrap_or(0);
        let mut lacks = Lacks::Publication;
        let taking_in = async {
            // A relay that lags, or waits at a parked record, must not turn every rejection into an error.
            drop(tokio::time::timeout(PUBLISHED_WITHIN, self.are_published(topics, &mut lacks)).await);
            self.have_reacted(|partition| topics.contains(&partition.topic.as_ref()), &mut lacks).await
        };
        let are_in = tokio::time::timeout(Duration::from_millis(left), taking_in).await.is_ok();
        if !are_in {
            warn!("{} does not know whether all public events are processed: {lacks}", self.journal.topic);
        }
        are_in
    }

    /// Waits until the relays of these topics' publishers have passed the records that their journals hold now.
    async fn are_published(&self, topics: &[&str], lacks: &mut Lacks) {
        for source in self.sources.iter().filter(|source| source.topics.iter().any(|topic| topics.contains(topic))) {
            if let Some(last) = source.last(self.log.as_ref(), lacks).await {
                source.published(self.log.as_ref(), last, lacks).await;
            }
        }
    }

    /// Waits until this service's journal and the topics contain everything that follows from the record of `journal` at `offset`, and keeps
    /// `lacks` up to date meanwhile. Never returns for a journal that is not consumed.
    pub(super) async fn taken_in(&self, journal: &str, offset: u64, lacks: &mut Lacks) -> TakenIn {
        let Some(source) = self.sources.iter().find(|source| source.journal == journal) else {
            return std::future::pending().await;
        };
        if let Some(taken) = source.known(offset) {
            return taken;
        }
        let published = source.published(self.log.as_ref(), offset, lacks).await;
        let is_its = |partition: &Partition| source.topics.contains(&partition.topic.as_ref());
        let (published_up_to, journal_end) = self.have_reacted(is_its, lacks).await;
        let copied = published_up_to.copied_ends.iter().filter(|(partition, _)| is_its(partition)).cloned().collect();
        source.remember(published, TakenIn { journal_end, copied })
    }

    /// Waits until the reactor has passed the current ends of these topics. Returns the look that found these ends, and where this
    /// service's journal ended after that.
    async fn have_reacted(&self, is_meant: impl Fn(&Partition) -> bool, lacks: &mut Lacks) -> (Arc<Look>, u64) {
        let (mut number, first) = self.look_after(self.looks.n_begun(), lacks).await;
        let mut look = Arc::clone(&first);
        let has_passed = |look: &Look| {
            let reached = first.ends.iter().zip(&look.reacted);
            reached.filter(|((partition, _), _)| is_meant(partition)).all(|((_, end), next)| next >= end)
        };
        while !has_passed(&look) {
            *lacks = Lacks::Reaction;
            (number, look) = self.look_after(number, lacks).await;
        }
        (Arc::clone(&first), look.journal_end)
    }

    /// Returns a look that began after the first `number` looks.
    async fn look_after(&self, mut number: u64, lacks: &mut Lacks) -> (u64, Arc<Look>) {
        loop {
            let answer = self.looks.after(number, self.look()).await;
            number = answer.number;
            match answer.found {
                Ok(look) => return (number, look),
                Err(reason) => *lacks = Lacks::Log(reason),
            }
        }
    }

    async fn look(&self) -> Result<Arc<Look>, String> {
        let (reacted, copied) = (self.consumed.of(self.reacts_to), self.consumed.of(self.copies));
        let ends = self.log.ends(&[&reacted[..], &copied].concat()).await.map_err(|error| error.to_string())?;
        let kept = self.lease.committed(&reacted).await.map_err(|error| error.to_string())?;
        let (ends, copied_ends) = ends.split_at_checked(reacted.len()).unwrap_or_default();
        let (ends, copied_ends) = (at(reacted, ends), at(copied, copied_ends));
        let reacted = if self.proof.holds(self.log.as_ref(), &kept).await? {
            kept.iter().map(next).collect()
        } else {
            vec![0; kept.len()]
        };
        let own = self.log.ends(std::slice::from_ref(&self.journal)).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(Look { ends, copied_ends, reacted, journal_end: own.first().copied().unwrap_or(0) }))
    }
}

/// Another service whose events are consumed.
struct Source {
    journal: &'static str,
    topics: Vec<&'static str>,
    relay: Shared<u64>,
    /// Verifies the relay's positions.
    proof: Proof,
    /// Every record below this offset is reflected by rows that contain that much.
    known: Mutex<Option<(u64, TakenIn)>>,
}

impl Source {
    fn new(journal: &'static str, topics: Vec<&'static str>) -> Self {
        Self { journal, topics, relay: Shared::default(), proof: Proof::default(), known: Mutex::default() }
    }

    fn known(&self, offset: u64) -> Option<TakenIn> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(below, _)| offset < *below).map(|(_, taken)| taken.clone())
    }

    /// Remembers that every record below this offset is reflected.
    fn remember(&self, below: u64, taken: TakenIn) -> TakenIn {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(known, _)| *known < below) {
            *known = Some((below, taken.clone()));
        }
        taken
    }

    /// Returns the offset of the journal's last record; `None` if the journal is empty.
    async fn last(&self, log: &dyn EventLog, lacks: &mut Lacks) -> Option<u64> {
        loop {
            match log.ends(&[Partition::journal(self.journal)]).await {
                Ok(ends) => return ends.first().and_then(|end| end.checked_sub(1)),
                Err(error) => *lacks = Lacks::Log(error.to_string()),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the relay has passed `offset`. Returns its position.
    async fn published(&self, log: &dyn EventLog, offset: u64, lacks: &mut Lacks) -> u64 {
        let mut number = self.relay.n_begun();
        loop {
            let answer = self.relay.after(number, self.relay_position(log)).await;
            number = answer.number;
            match answer.found {
                Ok(position) if position > offset => return position,
                Ok(_) => *lacks = Lacks::Publication,
                Err(reason) => *lacks = Lacks::Log(reason),
            }
        }
    }

    async fn relay_position(&self, log: &dyn EventLog) -> Result<u64, String> {
        let journal = [Partition::journal(self.journal)];
        let kept =
            log.positions(&assembly::group_of(self.journal), &journal).await.map_err(|error| error.to_string())?;
        Ok(if self.proof.holds(log, &kept).await? { kept.first().map_or(0, next) } else { 0 })
    }
}

/// Verifies that a group's positions belong to this log. Once they do, the task that saves them has started on this log.
#[derive(Default)]
struct Proof {
    is_done: AtomicBool,
    /// Held while the marks are looked up, so that callers that arrive meanwhile do not look for the same ones.
    looking: tokio::sync::Mutex<()>,
}

impl Proof {
    /// Whether these positions belong to this log. Positions saved on another log mean nothing here, until the task that saves them starts
    /// and detects that.
    async fn holds(&self, log: &dyn EventLog, positions: &[Option<Position>]) -> Result<bool, String> {
        if self.is_done.load(Ordering::Relaxed) || Bug::TrustAnyPosition.is_loose() {
            return Ok(true);
        }
        let _looking = self.looking.lock().await;
        // Another caller may have finished it meanwhile.
        if self.is_done.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let positions: Vec<Position> = positions.iter().flatten().cloned().collect();
        let proven = marks::stand(log, &positions).await.map_err(|error| error.to_string())?;
        if proven.contains(&false) {
            return Ok(false);
        }
        self.is_done.store(true, Ordering::Relaxed);
        Ok(true)
    }
}

fn at(partitions: Vec<Partition>, offsets: &[u64]) -> Vec<(Partition, u64)> {
    partitions.into_iter().zip(offsets.iter().copied()).collect()
}

fn next(position: &Option<Position>) -> u64 {
    position.as_ref().map_or(0, |position| position.next)
}

/// A query to the log that all waiting callers share. An answer is valid for every caller that asked before the query began.
struct Shared<T> {
    n_begun: AtomicU64,
    last: tokio::sync::Mutex<Option<Answer<T>>>,
}

/// An answer of the log, with the number of its query.
#[derive(Clone)]
struct Answer<T> {
    number: u64,
    begun: Instant,
    found: Result<T, String>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { n_begun: AtomicU64::new(0), last: tokio::sync::Mutex::default() }
    }
}

impl<T: Clone> Shared<T> {
    fn n_begun(&self) -> u64 {
        self.n_begun.load(Ordering::SeqCst)
    }

    /// Returns the answer to a query that began after the first `number` queries: another caller's, or that of `ask`.
    async fn after(&self, number: u64, ask: impl Future<Output = Result<T, String>>) -> Answer<T> {
        let mut last = self.last.lock().await;
        if let Some(answer) = last.as_ref() {
            if answer.number > number {
                return answer.clone();
            }
            tokio::time::sleep_until(answer.begun + LOOK_EVERY).await;
        }
        let (number, begun) = (self.n_begun.fetch_add(1, Ordering::SeqCst) + 1, Instant::now());
        let answer = Answer { number, begun, found: ask.await };
        last.insert(answer).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    #[tokio::test]
    async fn all_who_wait_share_one_question_and_never_one_that_began_before_theirs() {
        let (shared, n_asked) = (Shared::<u64>::default(), AtomicU64::new(0));
        let ask = || async {
            tokio::task::yield_now().await;
            Ok(n_asked.fetch_add(1, Ordering::SeqCst))
        };
        let now = shared.n_begun();
        let answers = join_all((0..1_000).map(|_| shared.after(now, ask()))).await;
        assert!(answers.iter().all(|answer| answer.found == Ok(0)));
        // A query in progress began too early for callers that arrive now.
        let late = async {
            while shared.n_begun() < 2 {
                tokio::task::yield_now().await;
            }
            shared.after(shared.n_begun(), ask()).await
        };
        let (early, late) = tokio::join!(shared.after(1, ask()), late);
        assert_eq!((early.found, late.found), (Ok(1), Ok(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_fails_is_not_asked_more_often_than_one_that_answers() {
        let (shared, n_asked) = (Shared::<u64>::default(), AtomicU64::new(0));
        let wait = async || {
            let mut number = 0;
            loop {
                let ask = async {
                    n_asked.fetch_add(1, Ordering::SeqCst);
                    Err("it is down".to_owned())
                };
                number = shared.after(number, ask).await.number;
            }
        };
        let waiting = join_all((0..100).map(|_| wait()));
        assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.map(|_: Vec<()>| ()).is_err());
        assert!(n_asked.load(Ordering::SeqCst) <= 101, "{n_asked:?}");
    }
}
