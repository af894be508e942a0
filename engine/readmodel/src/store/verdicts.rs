//! Reads verdicts, for the relay, for operators, and for a core that resumes from these rows.

use orderlog_core::{
    decider::Decider,
    key::{Key, RecordId},
    machine::{DiscardedRow, ParkedRow, SetAside, Verdict},
};
use sqlx::{Connection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Store, writing::stored};
use crate::error::StoreError;

/// The records of a range that were not accepted, from one consistent state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaccepted {
    /// The checkpoint: the first offset whose record is not in the rows.
    pub next: u64,
    /// Offset and verdict of each, ascending.
    pub verdicts: Vec<(u64, Verdict)>,
}

impl<D: Decider> Store<D> {
    /// Returns the records in `from..to` that were not accepted.
    pub async fn unaccepted(&self, from: u64, to: u64) -> Result<Unaccepted, StoreError> {
        if let Some(known) = self.newest.unaccepted(from, to) {
            return Ok(known);
        }
        // One statement, and so one consistent state. `verdict <> 0` is the condition of the index, without which SQLite would
        // scan all records of the range.
        let rows = sqlx::query(
            "select next, null from meta union all
             select * from (select offset, verdict from records where verdict <> 0 and offset >= ? and offset < ?
             order by offset)",
        )
        .bind(from.cast_signed())
        .bind(to.cast_signed())
        .fetch_all(&self.lists)
        .await
        .map_err(|error| self.origin.error("reading what was not accepted", error))?;
        let (meta, rows) = rows.split_first().ok_or_else(|| self.origin.damaged("there is no checkpoint"))?;
        let verdicts = rows.iter().map(|row| Ok((self.origin.count(row, 0)?, self.verdict(row, 1)?)));
        Ok(Unaccepted { next: self.origin.count(meta, 0)?, verdicts: verdicts.collect::<Result<_, StoreError>>()? })
    }

    /// Returns the offset and verdict of every record in `from..to` that is in the rows, ascending.
    pub async fn verdicts(&self, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError> {
        let rows = sqlx::query("select offset, verdict from records where offset >= ? and offset < ? order by offset")
            .bind(from.cast_signed())
            .bind(to.cast_signed())
            .fetch_all(&self.lists)
            .await
            .map_err(|error| self.origin.error("reading verdicts", error))?;
        rows.iter().map(|row| Ok((self.origin.count(row, 0)?, self.verdict(row, 1)?))).collect()
    }

    pub async fn record_id(&self, offset: u64) -> Result<Option<RecordId>, StoreError> {
        let Ok(offset) = i64::try_from(offset) else { return Ok(None) };
        let row = sqlx::query("select id from records where offset = ?").bind(offset).fetch_optional(&self.lists).await;
        let row = row.map_err(|error| self.origin.error("reading a record's id", error))?;
        row.map(|row| Ok(RecordId(Uuid::from_bytes(self.origin.bytes(&row, 0)?)))).transpose()
    }

    /// Returns up to `limit` parked rows, ascending from the offset `from`.
    pub async fn parked(&self, from: u64, limit: u32) -> Result<Vec<ParkedRow>, StoreError> {
        let rows = sqlx::query("select key, offset, reason from parked where offset >= ? order by offset, key limit ?")
            .bind(from.cast_signed())
            .bind(limit)
            .fetch_all(&self.lists)
            .await
            .map_err(|error| self.origin.error("reading what is parked", error))?;
        rows.iter()
            .map(|row| {
                let (key, offset) = (self.origin.key(row, 0)?, self.origin.count(row, 1)?);
                let reason = self.origin.get(row, 2).map_err(|error| error.at(|| format!("parked {offset}")))?;
                Ok(ParkedRow { key, offset, reason })
            })
            .collect()
    }

    /// Returns the offset of the first parked record that names this key, if there is one.
    pub async fn first_parked(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let first = sqlx::query_scalar::<_, Option<i64>>("select min(offset) from parked where key = ?");
        let first = first.bind(key.as_bytes().as_slice()).fetch_one(&self.lists).await;
        let first = first.map_err(|error| self.origin.error("reading what is parked", error))?;
        first.map(|first| self.origin.counted(first)).transpose()
    }

    /// Returns the number of parked records.
    pub async fn n_parked(&self) -> Result<u64, StoreError> {
        let n = sqlx::query_scalar::<_, i64>("select count(distinct offset) from parked").fetch_one(&self.lists).await;
        self.origin.counted(n.map_err(|error| self.origin.error("counting what is parked", error))?)
    }

    /// Returns the discarded records, ascending by offset.
    pub async fn discarded(&self) -> Result<Vec<DiscardedRow>, StoreError> {
        let rows = sqlx::query("select offset, discarded_by, time_ms, reason from discarded order by offset")
            .fetch_all(&self.lists)
            .await
            .map_err(|error| self.origin.error("reading what was discarded", error))?;
        rows.iter()
            .map(|row| {
                let (offset, by) = (self.origin.count(row, 0)?, self.origin.count(row, 1)?);
                let reason = self.origin.get(row, 3).map_err(|error| error.at(|| format!("discarded {offset}")))?;
                Ok(DiscardedRow { offset, by, time_ms: self.origin.get(row, 2)?, reason })
            })
            .collect()
    }

    /// Returns the parked and discarded records, which a core needs to resume from these rows.
    pub async fn set_aside(&self) -> Result<SetAside, StoreError> {
        let failed = |error| self.origin.error("reading what is set aside", error);
        let mut connection = self.lists.acquire().await.map_err(failed)?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        // The record's first key comes first, so that a discard of the record has the same first key.
        let parked = sqlx::query(
            "select parked.key, parked.offset, parked.reason, records.id from parked join records using (offset)
             order by parked.offset, parked.key <> records.about, parked.key",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
        // Not from `discarded`: a record that is known to be discarded before the discard is read only has the verdict.
        let discarded = sqlx::query_scalar::<_, i64>("select offset from records where verdict <> 0 and verdict = ?")
            .bind(stored(Verdict::Discarded))
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
        let row = |row: &SqliteRow| {
            let (key, offset) = (self.origin.key(row, 0)?, self.origin.count(row, 1)?);
            let id = RecordId(Uuid::from_bytes(self.origin.bytes(row, 3)?));
            let reason = self.origin.get(row, 2).map_err(|error| error.at(|| format!("parked {offset}")))?;
            Ok((ParkedRow { key, offset, reason }, id))
        };
        Ok(SetAside {
            parked: parked.iter().map(row).collect::<Result<_, StoreError>>()?,
            discarded: discarded.into_iter().map(|offset| self.origin.counted(offset)).collect::<Result<_, _>>()?,
        })
    }

    /// Returns a number that changes whenever rows of records that were folded before change. Consumers that follow the rows by
    /// offset must then start over.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        let revision = sqlx::query_scalar::<_, i64>("select revision from meta").fetch_one(&self.lists).await;
        self.origin.counted(revision.map_err(|error| self.origin.error("reading the revision", error))?)
    }
}
