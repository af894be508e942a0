//! Past states of an aggregate, folded again from its own records, which are fetched from the log.
//!
//! Past states of lists are not available. They would need every row at every moment.

use chrono::{DateTime, SecondsFormat, Utc};
use orderlog_core::{
    decider::{At, Decider, Millis, Ref},
    machine::Past,
};
use orderlog_eventlog::ReadError;
use orderlog_readmodel::StoreError;

use crate::replica::{Recorded, RecordedError, Replica};

/// The number of records fetched first. For stock the newest is often sufficient.
const N_FIRST: u32 = 8;
/// The number of records fetched at a time after that.
const N_AT_A_TIME: u32 = 128;
/// The maximum number of records folded for one query.
const N_MAX: usize = 100_000;

/// A moment in a journal's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Right after the record at this offset.
    Offset(u64),
    /// A time in milliseconds since the Unix epoch. Records have the time of their writer's clock, which may have been wrong, so
    /// times do not always ascend with offsets. The state at a time is that after the last record whose own time is not later.
    Time(Millis),
}

/// Why a past state is not available.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error("the journal {journal} has no such moment: {range}")]
    OutOfRange {
        journal: &'static str,
        /// The moments that it has, in words.
        range: String,
    },
    #[error("more than {N_MAX} records of {0} would have to be folded")]
    TooLong(&'static str),
    /// This version cannot decode one of the records.
    #[error("{journal}@{offset} can't be read")]
    Unreadable {
        journal: &'static str,
        offset: u64,
        #[source]
        source: RecordedError,
    },
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl<D: Decider> Replica<D> {
    /// Returns the offset of the last record at or before `moment`, once the rows contain everything up to it.
    ///
    /// # Errors
    /// [`PastError::OutOfRange`] for a time before that of every record, or for an offset at or beyond the journal's end.
    pub async fn locate(&self, moment: Moment) -> Result<u64, PastError> {
        let end = self.log().ends(&[Self::journal()]).await?.first().copied().unwrap_or(0);
        let needed = match moment {
            Moment::Offset(offset) if offset >= end => return Err(self.out_of_range(end).await?),
            Moment::Offset(offset) => offset + 1,
            Moment::Time(_) => end,
        };
        // The end was read first: records appended while this waits need not be in the answer.
        let is_past = matches!(moment, Moment::Time(time) if time < self.now_ms());
        self.has_committed(needed).await;
        let last = match moment {
            Moment::Offset(offset) => Some(offset),
            Moment::Time(time) if is_past => self.store().last_until(time).await?,
            // Nothing is newer than now, whatever the writers' clocks said.
            Moment::Time(_) => end.checked_sub(1),
        };
        match last {
            Some(offset) => Ok(offset),
            None => Err(self.out_of_range(end).await?),
        }
    }

    /// Returns the offset of the first record at or after `moment`, from which to replay everything.
    ///
    /// # Errors
    /// [`PastError::OutOfRange`] for a moment in the future, [`PastError::Log`] for a record that the log does not have.
    pub async fn first_from(&self, moment: Moment) -> Result<u64, PastError> {
        let end = self.log().ends(&[Self::journal()]).await?.first().copied().unwrap_or(0);
        match moment {
            // One past the last record: nothing is replayed.
            Moment::Offset(offset) if offset == end => Ok(offset),
            Moment::Offset(offset) if offset > end => Err(self.out_of_range(end).await?),
            Moment::Offset(offset) => {
                // Check that it exists, since a log may start at a later offset.
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

    /// Returns the state of `aggregate` right after the record at `offset`; `None` if it did not exist.
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
