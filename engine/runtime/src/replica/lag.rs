//! How far a replica's rows are behind its journal, in records and in time.
//!
//! Time is not the age of the last record in the rows: a journal in which nothing happens is not behind. It is for how long
//! there has been a record that is not in the rows, as seen by looking where the journal ends, once a second.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use orderlog_core::decider::{Decider, Millis};
use orderlog_readmodel::Rows;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::{Replica, State};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How long the log may take to say where the journal ends.
const PATIENCE: Duration = Duration::from_secs(5);
/// More ends than this are not remembered: an hour.
const N_SEEN_MAX: usize = 3_600;

/// How far the rows are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// One past the last record in the rows.
    pub position: u64,
    /// One past the last record of the journal, when it was last looked.
    pub end: u64,
    /// For how long a record has not been in the rows, in milliseconds; 0 if none is missing.
    pub ms: u64,
}

/// What was last seen.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    end: AtomicU64,
    /// When the oldest record that is not in the rows was there already; 0: none is missing.
    since: AtomicI64,
}

impl Lag {
    /// As the rows stand at `position`.
    pub fn behind(&self, position: u64, now: Millis) -> Behind {
        let (end, since) = (self.end.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed));
        let ms = if since == 0 || position >= end { 0 } else { (now - since).max(0).unsigned_abs() };
        Behind { position, end: end.max(position), ms }
    }
}

/// Ends of a journal, and when each was seen first; only those that the rows have not reached.
#[derive(Debug, Default)]
struct Seen(VecDeque<(u64, Millis)>);

impl Seen {
    /// The journal ends at `end` and the rows stand at `position`. Since when there has been a record that they lack.
    fn look(&mut self, position: u64, end: u64, now: Millis) -> Option<Millis> {
        while self.0.front().is_some_and(|(end, _)| *end <= position) {
            self.0.pop_front();
        }
        let is_new = self.0.back().is_none_or(|(last, _)| *last < end);
        if end > position && is_new && self.0.len() < N_SEEN_MAX {
            self.0.push_back((end, now));
        }
        self.0.front().map(|(_, since)| *since)
    }
}

/// Look until the replica stops.
pub(crate) async fn watch<D: Decider, R: Rows<D>>(replica: Replica<D, R>) {
    let (mut seen, mut is_first) = (Seen::default(), true);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !matches!(*replica.state().borrow(), State::Stopped(_)) {
        ticks.tick().await;
        let journal = [Replica::<D, R>::journal()];
        let looking = tokio::time::timeout(PATIENCE, replica.log().ends(&journal));
        let end = match looking.await.map(|ends| ends.map(|ends| ends.first().copied().unwrap_or(0))) {
            Ok(Ok(end)) => end,
            // Readiness asks for itself, and says so; the last that was seen goes on getting older.
            Ok(Err(_)) | Err(_) => {
                debug!(service = D::JOURNAL, "the log does not say where {} ends", D::JOURNAL);
                continue;
            }
        };
        let position = *replica.committed().borrow();
        if std::mem::take(&mut is_first) && end > position {
            // It may have been missing for long before this process began.
            let since = written_ms(&replica, position).await.unwrap_or_else(|| replica.now_ms());
            seen.look(position, position + 1, since);
        }
        let since = seen.look(position, end, replica.now_ms());
        let lag = replica.lag();
        lag.end.store(end, Ordering::Relaxed);
        lag.since.store(since.unwrap_or(0), Ordering::Relaxed);
    }
}

/// When the log took the record at `offset`.
async fn written_ms<D: Decider, R: Rows<D>>(replica: &Replica<D, R>, offset: u64) -> Option<Millis> {
    let records = replica.log().fetch(&Replica::<D>::journal(), &[offset]).await.ok()?;
    records.first().map(|record| record.time_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_behind_for_as_long_as_a_record_is_missing() {
        let mut seen = Seen::default();
        assert_eq!(seen.look(5, 5, 0), None);
        assert_eq!(seen.look(5, 5, 100_000), None, "a quiet journal is not behind");
        assert_eq!(seen.look(5, 6, 101_000), Some(101_000));
        assert_eq!(seen.look(5, 9, 102_000), Some(101_000));
        assert_eq!(seen.look(6, 12, 103_000), Some(102_000), "those up to 9 were there then");
        assert_eq!(seen.look(12, 12, 104_000), None);
    }

    #[test]
    fn rows_that_keep_up_with_a_busy_journal_are_hardly_behind() {
        let mut seen = Seen::default();
        for second in 1..100_u32 {
            let (now, end) = (Millis::from(second) * 1_000, u64::from(second) * 1_000);
            assert_eq!(seen.look(end - 10, end, now), Some(now));
        }
    }
}
