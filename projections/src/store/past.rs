//! When records were written, and which of them touch an aggregate.

use orderlog_domain::{decider::Millis, key::Key};
use sqlx::Row;

use super::Store;
use crate::{error::StoreError, tables::Tables};

/// A record: where it stands, and the journal's clock there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Its offset.
    pub offset: u64,
    /// The newest time of a record up to and with it.
    pub clock_ms: Millis,
}

impl<D: Tables> Store<D> {
    /// The first and the last record in the rows; none in empty ones.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn span(&self) -> Result<Option<(Instant, Instant)>, StoreError> {
        let Some(first) = self.instant_from(0).await? else { return Ok(None) };
        let last =
            self.instant("select offset, clock_ms from records where offset >= ? order by offset desc limit 1", 0);
        Ok(last.await?.map(|last| (first, last)))
    }

    /// The last record at which the journal's clock did not show more than `time_ms`; none if the first is younger.
    ///
    /// # Errors
    /// If records can't be read.
    pub async fn offset_at(&self, time_ms: Millis) -> Result<Option<u64>, StoreError> {
        let Some((first, last)) = self.span().await? else { return Ok(None) };
        if first.clock_ms > time_ms {
            return Ok(None);
        }
        // The clock never goes back, so no index is needed: the record at `low` is not younger, all from `high` on are.
        let (mut low, mut high) = (first.offset, last.offset + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            // Offsets may be missing, so this may lie behind the middle.
            match self.instant_from(middle).await?.filter(|found| found.clock_ms <= time_ms) {
                Some(found) => low = found.offset,
                None => high = middle,
            }
        }
        Ok(Some(low))
    }

    async fn instant_from(&self, offset: u64) -> Result<Option<Instant>, StoreError> {
        self.instant("select offset, clock_ms from records where offset >= ? order by offset limit 1", offset).await
    }

    async fn instant(&self, text: &'static str, offset: u64) -> Result<Option<Instant>, StoreError> {
        let row = sqlx::query(text).bind(offset.cast_signed()).fetch_optional(&self.lists).await;
        let row = row.map_err(|error| self.origin.error("reading the journal's clock", error))?;
        let read = |row| Ok(Instant { offset: self.origin.count(&row, 0)?, clock_ms: self.origin.get(&row, 1)? });
        row.map(read).transpose()
    }

    /// The offsets of the accepted records that touch `aggregate`, from `up_to` on backwards, at most `limit`.
    ///
    /// # Errors
    /// If they can't be read.
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

    /// The offset of the first accepted record that touches `aggregate`.
    ///
    /// # Errors
    /// If it can't be read.
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
        Ok(first.map(i64::cast_unsigned))
    }
}
