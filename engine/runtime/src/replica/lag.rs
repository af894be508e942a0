//! How far a replica's rows are behind its journal, in records and in time.
//!
//! The lag in time is not the age of the last record in the rows: an idle journal is not behind. It is how long there has been a
//! record that the rows lack, measured by polling the end of the journal once a second.

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

/// The polling interval.
const EVERY: Duration = Duration::from_secs(1);
/// How long the log may take to return the end of the journal.
const PATIENCE: Duration = Duration::from_secs(5);
/// The number of ends to remember: one hour's worth.
const N_SEEN_MAX: usize = 3_600;

/// How far the rows are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// One past the last record in the rows.
    pub position: u64,
    /// One past the last record of the journal at the last poll.
    pub end: u64,
    /// How long the rows have lacked a record, in milliseconds; 0 if they lack none.
    pub ms: u64,
}

/// The result of the last poll.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    end: AtomicU64,
    /// When the oldest record that is not in the rows was first seen; 0 if none is missing.
    since: AtomicI64,
}

impl Lag {
    /// Returns the lag of rows at `position`.
    pub fn behind(&self, position: u64, now: Millis) -> Behind {
        let (end, since) = (self.end.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed));
        let ms = if since == 0 || position >= end { 0 } else { (now - since).max(0).unsigned_abs() };
        Behind { position, end: end.max(position), ms }
    }
}

/// Ends of a journal that the rows have not reached, each with the time when it was first seen.
#[derive(Debug, Default)]
struct Seen(VecDeque<(u64, Millis)>);

impl Seen {
    /// Records that the journal ends at `end` while the rows are at `position`. Returns since when the rows have lacked a record.
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

/// Polls until the replica stops.
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
            // Readiness polls the log itself and reports the failure. The last known lag keeps growing.
            Ok(Err(_)) | Err(_) => {
                debug!(service = D::JOURNAL, "the log does not report where {} ends", D::JOURNAL);
                continue;
            }
        };
        let position = *replica.committed().borrow();
        if std::mem::take(&mut is_first) && end > position {
            // The record may have been missing for long before this process started.
            let since = written_ms(&replica, position).await.unwrap_or_else(|| replica.now_ms());
            seen.look(position, position + 1, since);
        }
        let since = seen.look(position, end, replica.now_ms());
        let lag = replica.lag();
        lag.end.store(end, Ordering::Relaxed);
        lag.since.store(since.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Returns when the log appended the record at `offset`.
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
