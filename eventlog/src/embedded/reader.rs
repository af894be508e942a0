//! Reading: the newest records from memory, older ones from the file, then waiting for the end to move.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteRow};
use tokio::{sync::watch, task::JoinHandle};

use super::{stored, topic::Topic};
use crate::{Batch, Partition, ReadError, Reading, Record};

/// How many records a batch has at most.
const BATCH_RECORDS: usize = 2048;
/// How often the file is asked again before reading gives up.
const ATTEMPTS: u32 = 5;
/// The first pause between two attempts; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

type Row = (i64, Vec<u8>, Vec<u8>);

/// What is in the file.
#[derive(Clone)]
pub(super) struct History {
    readers: SqlitePool,
}

impl History {
    pub(super) fn new(readers: SqlitePool) -> Self {
        Self { readers }
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
    }

    /// The durable records from `from` on, which must be below the topic's end: at least one, at most `limit`.
    pub(super) async fn chunk(&self, topic: &Topic, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.try_chunk(topic, from, limit).await {
                Ok(records) => return Ok(records),
                Err(error) => tracing::warn!(%error, topic = %topic.name, from, "reading the log's file again"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.try_chunk(topic, from, limit).await
    }

    async fn try_chunk(&self, topic: &Topic, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let unavailable = |error: sqlx::Error| ReadError::Unavailable { reason: error.to_string() };
        let damaged = |offset, reason| {
            let partition = Partition::journal(Arc::clone(&topic.name));
            ReadError::Damaged { partition, offset, reason }
        };
        // The file may already hold the next commit, whose records are not shown before the end has moved: a reader that saw
        // them would stand beyond the end.
        let shown = usize::try_from(topic.end().saturating_sub(from)).unwrap_or(usize::MAX);
        let limit = limit.min(shown);
        // Safe: fixed text with a number in it.
        let mut rows = sqlx::query(AssertSqlSafe(Arc::clone(&topic.select)))
            .bind(from.cast_signed())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch(&self.readers);
        let mut records = Vec::with_capacity(limit);
        let mut expected = from;
        while let Some(row) = rows.next().await {
            let (offset, head, value) =
                <Row as sqlx::FromRow<SqliteRow>>::from_row(&row.map_err(unavailable)?).map_err(unavailable)?;
            if u64::try_from(offset) != Ok(expected) {
                return Err(damaged(expected, format!("it is missing, the next one is {offset}")));
            }
            records.push(stored::decode(expected, head, value).map_err(|error| damaged(expected, error.to_string()))?);
            expected += 1;
        }
        if records.is_empty() {
            return Err(damaged(from, "it is missing".to_owned()));
        }
        Ok(records)
    }
}

struct Cursor {
    topic: Arc<Topic>,
    partition: Partition,
    next: u64,
    end: watch::Receiver<u64>,
    history: History,
    /// The chunk at `next`, being read while the caller works on the one before it.
    ahead: Option<JoinHandle<Result<Vec<Record>, ReadError>>>,
}

/// The records of `topic` from `offset` on, for ever.
pub(super) fn read(topic: Arc<Topic>, partition: Partition, offset: u64, history: History) -> Reading {
    let end = topic.watch_end();
    let cursor = Cursor { topic, partition, next: offset, end, history, ahead: None };
    stream::unfold(Some(cursor), |cursor| async move {
        let mut cursor = cursor?;
        match cursor.records().await {
            Ok(records) => {
                let batch = Batch { partition: cursor.partition.clone(), records };
                Some((Ok(batch), Some(cursor)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl Cursor {
    async fn records(&mut self) -> Result<Vec<Record>, ReadError> {
        self.wait_for_next().await?;
        let recent = if self.ahead.is_none() { self.topic.recent(self.next, BATCH_RECORDS) } else { None };
        let records = match recent {
            Some(records) => records,
            None => self.older().await?,
        };
        self.next += records.len() as u64;
        Ok(records)
    }

    /// Until the log holds the next record.
    async fn wait_for_next(&mut self) -> Result<(), ReadError> {
        let end = *self.end.borrow();
        if self.next > end {
            let partition = self.partition.clone();
            return Err(ReadError::OutOfRange { partition, wanted: self.next, first: 0, end });
        }
        let next = self.next;
        let moved = self.end.wait_for(|end| *end > next).await;
        moved.map(drop).map_err(|_| ReadError::Unavailable { reason: "the log is closed".into() })
    }

    async fn older(&mut self) -> Result<Vec<Record>, ReadError> {
        let records = match &mut self.ahead {
            Some(ahead) => {
                // Awaited in place: a reading dropped here and polled no more loses nothing.
                let chunk = ahead.await.map_err(|error| ReadError::Unavailable { reason: error.to_string() });
                self.ahead = None;
                chunk??
            }
            None => self.history.chunk(&self.topic, self.next, BATCH_RECORDS).await?,
        };
        let after = self.next + records.len() as u64;
        if after < self.topic.end() && !self.topic.is_recent(after) {
            let (topic, history) = (Arc::clone(&self.topic), self.history.clone());
            self.ahead = Some(tokio::spawn(async move { history.chunk(&topic, after, BATCH_RECORDS).await }));
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;
    use crate::{TopicKind, embedded::topic::create_table};

    /// What readers see of the file between a commit and its publication.
    #[tokio::test]
    async fn records_that_are_committed_but_not_published_yet_are_not_shown() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        create_table(&mut pool.acquire().await.unwrap(), 1).await.unwrap();
        for offset in 0..5 {
            let record = Record { offset, time_ms: 0, key: None, headers: Vec::new(), value: "x".into() };
            sqlx::query("insert into topic_1 (offset, head, value) values (?, ?, ?)")
                .bind(offset as i64)
                .bind(stored::encode_head(&record))
                .bind(record.value.as_ref())
                .execute(&pool)
                .await
                .unwrap();
        }
        let topic = Topic::new(1, "t".into(), TopicKind::Journal, 3);
        let shown = History::new(pool).chunk(&topic, 1, 10).await.unwrap();
        assert_eq!(shown.iter().map(|record| record.offset).collect::<Vec<_>>(), [1, 2]);
    }
}
