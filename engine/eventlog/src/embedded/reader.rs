//! Readings: the newest records come from memory (unless the reading is unbuffered) and older ones from the file. At the end they
//! wait for the next record.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::{sync::watch, task::JoinHandle};

use super::{history::History, topic::Topic};
use crate::{Batch, Partition, ReadError, Reading, Record};

/// The maximum number of records in a batch.
const BATCH_RECORDS: usize = 2048;
struct Cursor {
    topic: Arc<Topic>,
    partition: Partition,
    next: u64,
    end: watch::Receiver<u64>,
    history: History,
    /// The chunk at `next`, read ahead while the caller processes the previous one.
    ahead: Option<JoinHandle<Result<Vec<Record>, ReadError>>>,
}

/// Reads the records of `topic` from `offset`, without end.
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
        let may_be_recent = self.ahead.is_none() && !self.history.is_unbuffered();
        let recent = if may_be_recent { self.topic.recent(self.next, BATCH_RECORDS) } else { None };
        let records = match recent {
            Some(records) => records,
            None => self.older().await?,
        };
        self.next += records.len() as u64;
        Ok(records)
    }

    /// Waits until the log contains the next record.
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
                // Awaited in place, so that nothing is lost if this future is dropped here.
                let chunk = ahead.await.map_err(|error| ReadError::Unavailable { reason: error.to_string() });
                self.ahead = None;
                chunk??
            }
            None => self.history.chunk(&self.topic, self.next, BATCH_RECORDS).await?,
        };
        let after = self.next + records.len() as u64;
        if after < self.topic.end() && (self.history.is_unbuffered() || !self.topic.is_recent(after)) {
            let (topic, history) = (Arc::clone(&self.topic), self.history.clone());
            self.ahead = Some(tokio::spawn(async move { history.chunk(&topic, after, BATCH_RECORDS).await }));
        }
        Ok(records)
    }
}
