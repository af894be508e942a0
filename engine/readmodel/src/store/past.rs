//! Looks up records by time and by aggregate.

use orderlog_core::{
    decider::{Decider, Millis},
    key::Key,
};
use sqlx::Row;

use super::Store;
use crate::{error::StoreError, schema::RECORDS_PER_PERIOD};

/// The offset and time of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    pub offset: u64,
    /// In milliseconds since the Unix epoch, by the clock of the record's writer.
    pub time_ms: Millis,
}

impl<D: Decider> Store<D> {
    /// Returns the first record in the rows, or `None` if they are empty.
    pub async fn first(&self) -> Result<Option<Instant>, StoreError> {
        let row = sqlx::query("select offset, time_ms from records order by offset limit 1");
        let row = row.fetch_optional(&self.lists).await;
        let row = row.map_err(|error| self.origin.error("reading the first record", error))?;
        let read = |row| Ok(Instant { offset: self.origin.count(&row, 0)?, time_ms: self.origin.get(&row, 1)? });
        row.map(read).transpose()
    }

    /// Returns the offset of the last record whose time is not after `time_ms`, or `None` if all are.
    pub async fn last_until(&self, time_ms: Millis) -> Result<Option<u64>, StoreError> {
        self.offset_by_time(
            "select block from periods where earliest_ms <= ? order by block desc limit 1",
            "select offset from records where time_ms <= ? and offset between ? and ? order by offset desc limit 1",
            time_ms,
        )
        .await
    }

    /// Returns the offset of the first record whose time is not before `time_ms`, or `None` if all are.
    pub async fn first_since(&self, time_ms: Millis) -> Result<Option<u64>, StoreError> {
        self.offset_by_time(
            "select block from periods where latest_ms >= ? order by block limit 1",
            "select offset from records where time_ms >= ? and offset between ? and ? order by offset limit 1",
            time_ms,
        )
        .await
    }

    /// Finds a block with `in_periods`, then an offset in it with `in_block`.
    async fn offset_by_time(
        &self,
        in_periods: &'static str,
        in_block: &'static str,
        time_ms: Millis,
    ) -> Result<Option<u64>, StoreError> {
        let failed = |error| self.origin.error("looking up a time", error);
        let mut moment = self.lists.begin().await.map_err(failed)?;
        let block = sqlx::query(in_periods).bind(time_ms).fetch_optional(&mut *moment).await.map_err(failed)?;
        let Some(block) = block else { return Ok(None) };
        let first = self.origin.count(&block, 0)? * RECORDS_PER_PERIOD;
        let last = first + RECORDS_PER_PERIOD - 1;
        let found = sqlx::query(in_block).bind(time_ms).bind(first.cast_signed()).bind(last.cast_signed());
        let found = found.fetch_optional(&mut *moment).await.map_err(failed)?;
        found.map(|row| self.origin.count(&row, 0)).transpose()
    }

    /// Returns the offsets of up to `limit` accepted records that touch `aggregate`, descending from `up_to`.
    pub async fn touching(&self, aggregate: &Key, up_to: u64, limit: u32) -> Result<Vec<u64>, StoreError> {
        let rows = sqlx::query(
            "select offset from records where about = ?1 and offset <= ?2 and verdict = 0
             union all select offset from touched where key = ?1 and offset <= ?2
             order by offset desc limit ?3",
        )
        .bind(aggregate.as_bytes().as_slice())
        .bind(up_to.cast_signed())
        .bind(limit)
        .fetch_all(&self.lists)
        .await
        .map_err(|error| self.origin.error("reading a history", error))?;
        rows.iter().map(|row| self.origin.count(row, 0)).collect()
    }

    /// Returns the offset of the first accepted record that touches `aggregate`.
    pub async fn first_touching(&self, aggregate: &Key) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query(
            "select min(offset) from (select min(offset) as offset from records where about = ?1 and verdict = 0
             union all select min(offset) from touched where key = ?1)",
        )
        .bind(aggregate.as_bytes().as_slice())
        .fetch_one(&self.lists)
        .await
        .map_err(|error| self.origin.error("reading a history", error))?;
        let first: Option<i64> = row.try_get(0).map_err(|error| self.origin.damaged(error.to_string()))?;
        first.map(|first| self.origin.counted(first)).transpose()
    }
}
