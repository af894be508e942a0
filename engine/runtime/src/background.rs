//! Background tasks: work that one instance of a service, the holder of the journal's lease, does for all of them.
//!
//! The lease is only a hint. Two instances that both believe they hold it do the same work twice, which every task tolerates:
//! duplicates of public events have the same id, and reactions and deliveries the same idempotency key.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use orderlog_core::{
    decider::{Decider, Millis},
    planted::Bug,
};
use orderlog_eventlog::{Lease, LeaseError, Mark, Partition, Position, ReadError};
use orderlog_readmodel::{Rows, StoreError};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info, warn};

use crate::{marks, measures::Measures, replica::Replica};

/// The pause before a failed task is restarted.
const AGAIN: Duration = Duration::from_secs(1);
/// A restarted task that runs this long is considered healthy.
const WELL_AFTER: Duration = Duration::from_secs(3);
/// The pause between two commits. After a longer pause a position is saved immediately, since callers may wait for it. A crash repeats
/// this much work, which is harmless.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// How often a position that does not change is saved again, on a log where positions expire.
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// The maximum number of marks of a position, one for each partition recently written to. With an address of 1,024 bytes they fit into
/// the metadata that Kafka stores with a position. On a log copied at a single moment, the marks of the last batch suffice.
const N_MARKS_MAX: usize = 40;

/// Why a background task stopped.
pub trait Failure: Display {
    /// The record that has to be repaired before the task can continue. Until then the service works, but for what the task does.
    fn waits_for(&self) -> Option<Unreadable> {
        None
    }
}

impl Failure for StoreError {}

/// A record of a journal that this program can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub journal: &'static str,
    pub offset: u64,
    /// When the log received it.
    pub written_ms: Millis,
}

impl Unreadable {
    /// Returns how long ago the log received it.
    pub fn age(self, now: Millis) -> Duration {
        Duration::from_millis((now - self.written_ms).max(0).unsigned_abs())
    }
}

impl Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.journal, self.offset)
    }
}

/// A problem of a background task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub service: &'static str,
    pub task: &'static str,
    pub why: String,
    pub waits_for: Option<Unreadable>,
    /// When the task failed for the first time since it last worked.
    pub since: Instant,
}

/// Problems of this process's background tasks, by service and task.
#[derive(Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<(&'static str, &'static str), Trouble>>>);

impl Troubles {
    pub fn all(&self) -> Vec<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn clear(&self, service: &'static str, task: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(service, task));
    }

    /// Returns whether this is another problem than before.
    fn set(&self, service: &'static str, task: &'static str, failure: &impl Failure) -> bool {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = troubles.get(&(service, task));
        let since = known.map_or_else(Instant::now, |known| known.since);
        let trouble = Trouble { service, task, why: failure.to_string(), waits_for: failure.waits_for(), since };
        let is_new = known != Some(&trouble);
        troubles.insert((service, task), trouble);
        is_new
    }
}

/// Runs `work` whenever the lease is held, and restarts it after each failure, until background tasks are asked to end. The value
/// returned with a result is kept until the end of the task is reported.
pub async fn perform<E, W, K>(
    (lease, ending): (&dyn Lease, &watch::Receiver<bool>),
    troubles: &Troubles,
    (service, task): (&'static str, &'static str),
    work: impl Fn() -> W,
) where
    E: Failure,
    W: Future<Output = (Result<(), E>, K)>,
{
    let mut held = lease.held();
    while held.wait_for(|held| *held).await.is_ok() && !*ending.borrow() {
        debug!(service, task, "{service} {task} begins");
        let mut until_lost = lease.held();
        let going_on = async {
            tokio::time::sleep(WELL_AFTER).await;
            troubles.clear(service, task);
            std::future::pending().await
        };
        let (outcome, kept) = tokio::select! {
            biased;
            _ = until_lost.wait_for(|held| !held) => (Ok(()), None),
            never = going_on => never,
            (outcome, kept) = work() => (outcome, Some(kept)),
        };
        match outcome {
            Ok(()) if *ending.borrow() => return debug!(service, task, "{service} {task} ends: the process stops"),
            Ok(()) => {
                troubles.clear(service, task);
                info!(service, task, "{service} {task} ends: the lease moved on");
            }
            Err(failure) => {
                if troubles.set(service, task, &failure) {
                    warn!(service, task, "{service} {task} stopped and will try again: {failure}");
                }
            }
        }
        drop(kept);
        tokio::time::sleep(AGAIN).await;
    }
}

/// A background task's progress through its input, committed periodically.
pub struct Progress {
    lease: Arc<dyn Lease>,
    measures: Arc<Measures>,
    task: &'static str,
    /// All positions, without those that are not saved yet.
    saved: BTreeMap<Partition, Position>,
    done: BTreeMap<Partition, Position>,
    output_marks: OutputMarks,
    due: Option<Instant>,
    /// When a position was last saved.
    kept: Option<Instant>,
    /// When to save all positions again.
    renew: Option<Instant>,
    ending: watch::Receiver<bool>,
}

impl Progress {
    /// Resumes from the group's position. If that is beyond the end of the log, or depends on records that the log does not contain, the
    /// log was restored from an older state, and other records may have taken those offsets. Then the task restarts from the beginning,
    /// since repeating work is harmless and skipping it is not.
    ///
    /// # Errors
    /// [`LeaseError`] if this cannot be determined.
    pub async fn load<D: Decider, R: Rows<D>>(
        replica: &Replica<D, R>,
        lease: Arc<dyn Lease>,
        task: &'static str,
        partitions: Vec<Partition>,
    ) -> Result<(Self, Vec<(Partition, u64)>), LeaseError> {
        let committed = lease.committed(&partitions).await?;
        let unavailable = |error: ReadError| LeaseError::Unavailable { reason: error.to_string() };
        let ends = replica.log().ends(&partitions).await.map_err(unavailable)?;
        if lease.positions_expire() && *replica.committed().borrow() > 1 {
            warn_of_lost((D::JOURNAL, task), &partitions, &committed, &ends);
        }
        let committed: Vec<Position> = committed.into_iter().map(Option::unwrap_or_default).collect();
        let proven = marks::stand(replica.log().as_ref(), &committed).await.map_err(unavailable)?;
        let (mut begun, mut output_marks) = (Vec::new(), OutputMarks::default());
        for (((partition, mut kept), end), is_proven) in partitions.into_iter().zip(committed).zip(ends).zip(proven) {
            if kept.next == 0 && Bug::BeginAtTheEnd.is_loose() {
                kept.next = end;
            }
            if kept.next > end || !(is_proven || Bug::TrustAnyPosition.is_loose()) {
                let next = kept.next;
                warn!("a group was at {next} of {partition}, which ends at {end}, on another log: it starts over");
                kept = Position::default();
                lease.commit(&[(partition.clone(), kept.clone())]).await?;
            }
            kept.marks.retain(|mark| {
                let is_below = mark.partition == partition;
                if !is_below {
                    output_marks.add(mark.clone());
                }
                is_below
            });
            begun.push((partition, kept));
        }
        let from: Vec<_> = begun.iter().map(|(partition, kept)| (partition.clone(), kept.next)).collect();
        let measures = Arc::clone(replica.measures());
        measures.stands(task, &begun);
        let renew = lease.positions_expire().then(|| Instant::now() + RENEW_EVERY);
        let (saved, done, ending) = (begun.into_iter().collect(), BTreeMap::new(), replica.ending());
        Ok((Self { lease, measures, task, saved, done, output_marks, due: None, kept: None, renew, ending }, from))
    }

    /// Marks this record, and everything before it in its partition, as finished.
    pub fn done(&mut self, last: Mark) {
        self.done.insert(last.partition.clone(), Position { next: last.offset + 1, marks: vec![last] });
        self.commit_soon();
    }

    /// Saves the group's position once more, so that others learn where the work is done now.
    pub fn confirm(&mut self) {
        for (partition, position) in &self.saved {
            self.done.entry(partition.clone()).or_insert_with(|| position.clone());
        }
        self.commit_soon();
    }

    fn commit_soon(&mut self) {
        let next = self.kept.map(|kept| kept + COMMIT_EVERY);
        self.due.get_or_insert_with(|| next.unwrap_or_else(Instant::now));
    }

    /// Adds a record that resulted from the input that will be finished next.
    pub fn add_output(&mut self, record: Mark) {
        self.output_marks.add(record);
    }

    /// Waits until a commit is due or background tasks are asked to end. Pending forever if there is nothing to commit.
    pub async fn due(&self) {
        let due = async {
            match [self.due, self.renew].into_iter().flatten().min() {
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

    /// Saves the task's progress. Returns whether the task may continue.
    ///
    /// # Errors
    /// [`LeaseError`]: the progress was not saved, and the task must not continue.
    pub async fn commit(&mut self) -> Result<ControlFlow<()>, LeaseError> {
        let (is_to_end, now) = (*self.ending.borrow(), Instant::now());
        if let Some(renew) = self.renew.as_mut().filter(|renew| **renew <= now) {
            *renew = now + RENEW_EVERY;
            self.confirm();
        }
        let mut done: Vec<_> = std::mem::take(&mut self.done).into_iter().collect();
        (self.due, self.kept) = (None, Some(now));
        self.measures.stands(self.task, &done);
        if !done.is_empty() {
            self.saved.extend(done.iter().cloned());
            done.iter_mut().for_each(|(_, position)| position.marks.extend_from_slice(&self.output_marks.0));
            self.lease.commit(&done).await?;
        }
        Ok(if is_to_end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Logs the partitions in which a task has no position although they have records.
fn warn_of_lost((service, task): (&str, &str), partitions: &[Partition], committed: &[Option<Position>], ends: &[u64]) {
    let found = partitions.iter().zip(committed).zip(ends);
    let lost = found.filter(|((_, position), end)| position.is_none() && **end > 0);
    let names = lost.map(|((partition, _), _)| partition.to_string()).collect::<Vec<_>>().join(", ");
    if !names.is_empty() {
        warn!(
            service,
            task,
            "{service} {task} has no stored position in {names}: it starts from the beginning, and what it did before is repeated \
             under the same ids"
        );
    }
}

/// The last record in each partition that resulted from the task's work, newest last.
#[derive(Default)]
struct OutputMarks(Vec<Mark>);

impl OutputMarks {
    fn add(&mut self, mark: Mark) {
        let known = self.0.iter().position(|known| known.partition == mark.partition);
        let known = known.map(|at| self.0.remove(at)).filter(|known| known.offset > mark.offset);
        self.0.push(known.unwrap_or(mark));
        if self.0.len() >= N_MARKS_MAX {
            self.0.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use orderlog_eventlog::{EventLog, simulated::SimulatedLog};

    use super::*;

    impl Failure for &str {}

    /// Returns how often a task starts that ends like this as soon as the process is asked to stop, and how long its end takes.
    async fn end_as_the_process_stops(outcome: Result<(), &'static str>) -> (usize, Duration) {
        let lease = SimulatedLog::new().lead("orderlog.orders", "orders").await.unwrap();
        let (ending, troubles) = (watch::Sender::new(false), Troubles::default());
        let (n_begun, begun) = (AtomicUsize::new(0), Instant::now());
        let work = || {
            n_begun.fetch_add(1, Ordering::Relaxed);
            ending.send_replace(true);
            std::future::ready((outcome, ()))
        };
        let ends = ending.subscribe();
        let performing = perform((lease.as_ref(), &ends), &troubles, ("orders", "relay"), work);
        tokio::time::timeout(Duration::from_secs(60), performing).await.expect("it ends");
        (n_begun.load(Ordering::Relaxed), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_ends_at_once_when_the_process_stops_and_one_that_fails_then_does_not_begin_again() {
        assert_eq!(end_as_the_process_stops(Ok(())).await, (1, Duration::ZERO));
        let (n_begun, _) = end_as_the_process_stops(Err("the log is gone")).await;
        assert_eq!(n_begun, 1);
    }

    fn mark(topic: &str, offset: u64) -> Mark {
        Mark { partition: Partition::new(topic, 0), offset, print: offset }
    }

    #[test]
    fn a_trouble_is_reported_until_it_is_over() {
        let troubles = Troubles::default();
        assert!(troubles.set("orders", "relay", &"the log is gone"));
        assert!(troubles.set("billing", "relay", &"it is parked"));
        assert!(!troubles.set("billing", "relay", &"it is parked"), "it is the same problem");
        let reported = || troubles.all().into_iter().map(|it| (it.service, it.why)).collect::<Vec<_>>();
        let parked = ("billing", "it is parked".to_owned());
        assert_eq!(reported(), [parked.clone(), ("orders", "the log is gone".to_owned())]);
        troubles.clear("orders", "relay");
        assert_eq!(reported(), [parked]);
    }

    #[test]
    fn of_each_partition_the_furthest_record_counts_and_partitions_without_news_are_forgotten() {
        let mut output_marks = OutputMarks::default();
        for record in [mark("a", 5), mark("b", 1), mark("a", 3), mark("b", 2)] {
            output_marks.add(record);
        }
        assert_eq!(output_marks.0, [mark("a", 5), mark("b", 2)], "reactions end in any order");
        let replacing = Mark { print: 7, ..mark("b", 2) };
        output_marks.add(replacing.clone());
        assert_eq!(
            output_marks.0,
            [mark("a", 5), replacing],
            "an older log was restored, and another record is there now"
        );
        for n in 0..2 * N_MARKS_MAX {
            output_marks.add(mark(&n.to_string(), 0));
            assert!(output_marks.0.len() < N_MARKS_MAX, "a position also has a mark of the record before it");
        }
        assert_eq!(output_marks.0.last(), Some(&mark(&(2 * N_MARKS_MAX - 1).to_string(), 0)));
    }
}
