//! The state as it was: an aggregate's own records, fetched from the log and folded again.
//!
//! Deliberately absent: lists as they were. They would need every row of every moment.

use chrono::{DateTime, SecondsFormat, Utc};
use orderlog_core::{
    decider::{At, Decider, Millis, Ref},
    machine::Past,
};
use orderlog_eventlog::ReadError;
use orderlog_readmodel::StoreError;

use crate::replica::{Recorded, RecordedError, Replica};

/// So many records are fetched at first: for stock the newest is often enough.
const N_FIRST: u32 = 8;
/// And so many at a time after that.
const N_AT_A_TIME: u32 = 128;
/// More records than this are not folded for one question.
const N_MAX: usize = 100_000;

/// A moment in a journal's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Right after the record at this offset.
    Offset(u64),
    /// A time in milliseconds since the Unix epoch. Records have the time of their writer's clock, which may have been wrong, so
    /// times do not always ascend with offsets: the state at a time is that after the last record whose own time is not later.
    Time(Millis),
}

/// Why the past can't be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The journal has no such moment, or not yet.
    #[error("the journal {journal} has no such moment: {range}")]
    OutOfRange {
        journal: &'static str,
        /// What moments it has, in words.
        range: String,
    },
    /// More records than anybody should have to wait for.
    #[error("more than {N_MAX} records of {0} would have to be folded")]
    TooLong(&'static str),
    /// A record of it can't be read by this program.
    #[error("{journal}@{offset} can't be read")]
    Unreadable {
        journal: &'static str,
        offset: u64,
        #[source]
        source: RecordedError,
    },
    /// The rows can't be read.
    #[error(transparent)]
    Rows(#[from] StoreError),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl<D: Decider> Replica<D> {
    /// The offset of the last record that belongs to `moment`, once the rows hold everything up to there.
    ///
    /// # Errors
    /// [`PastError::OutOfRange`] for a time before that of every record, or an offset that is not taken yet.
    pub async fn locate(&self, moment: Moment) -> Result<u64, PastError> {
        let end = self.log().ends(&[Self::journal()]).await?.first().copied().unwrap_or(0);
        let needed = match moment {
            Moment::Offset(offset) if offset >= end => return Err(self.out_of_range(end).await?),
            Moment::Offset(offset) => offset + 1,
            Moment::Time(_) => end,
        };
        // Read first: what is written while this waits need not be in the answer.
        let is_past = matches!(moment, Moment::Time(time) if time < self.now_ms());
        self.has_committed(needed).await;
        let last = match moment {
            Moment::Offset(offset) => Some(offset),
            Moment::Time(time) if is_past => self.store().last_until(time).await?,
            // Nothing is newer than now, whatever the clocks of the writers said.
            Moment::Time(_) => end.checked_sub(1),
        };
        match last {
            Some(offset) => Ok(offset),
            None => Err(self.out_of_range(end).await?),
        }
    }

    /// The offset of the first record at or behind `moment`, from which on everything is to be replayed.
    ///
    /// # Errors
    /// [`PastError::OutOfRange`] for a moment that has not come yet, [`PastError::Log`] for a record that the log does not have.
    pub async fn first_from(&self, moment: Moment) -> Result<u64, PastError> {
        let end = self.log().ends(&[Self::journal()]).await?.first().copied().unwrap_or(0);
        match moment {
            // One past the last record: nothing is to be replayed again.
            Moment::Offset(offset) if offset == end => Ok(offset),
            Moment::Offset(offset) if offset > end => Err(self.out_of_range(end).await?),
            Moment::Offset(offset) => {
                // Whether it is there: a log may begin later.
                self.log().fetch(&Self::journal(), &[offset]).await?;
                Ok(offset)
            }
            Moment::Time(time) if time > self.now_ms() => Err(self.out_of_range(end).await?),
            Moment::Time(time) => {
                self.has_committed(end).await;
                Ok(self.store().first_since(time).await?.unwrap_or(end))
            }
        }
    }

    async fn out_of_range(&self, end: u64) -> Result<PastError, PastError> {
        let journal = D::JOURNAL;
        let range = match self.store().first().await? {
            Some(first) => format!(
                "it goes from {journal}@{} ({}) to {journal}@{} (now)",
                first.offset,
                DateTime::<Utc>::from_timestamp_millis(first.time_ms)
                    .unwrap_or_default()
                    .to_rfc3339_opts(SecondsFormat::Millis, true),
                end.saturating_sub(1)
            ),
            None => "it is empty".to_owned(),
        };
        Ok(PastError::OutOfRange { journal, range })
    }

    /// The state of `aggregate` right after the record at `offset`, folded from its own records; none if it did not exist.
    ///
    /// # Errors
    /// [`PastError`], if its records can't be read.
    pub async fn as_of(&self, aggregate: Ref, offset: u64) -> Result<Option<D::Entity>, PastError> {
        let (store, mut past) = (self.store(), Past::<D>::of(aggregate));
        let (mut before, mut n) = (Some(offset), 0);
        while let Some(up_to) = before {
            let limit = if n == 0 { N_FIRST } else { N_AT_A_TIME };
            let offsets = store.touching(&aggregate.key, up_to, limit).await?;
            n += offsets.len();
            if n > N_MAX {
                return Err(PastError::TooLong(D::JOURNAL));
            }
            for record in self.log().fetch(&Self::journal(), &offsets).await? {
                let unreadable = |source| PastError::Unreadable { journal: D::JOURNAL, offset: record.offset, source };
                if let Some(Recorded { offset, header, event }) = Recorded::<D>::decode(&record).map_err(unreadable)? {
                    past.push(At { offset, time_ms: header.time_ms }, event);
                }
            }
            let oldest = offsets.last().filter(|_| !past.is_complete());
            before = oldest.and_then(|oldest| oldest.checked_sub(1));
        }
        Ok(past.fold())
    }
}
