//! Where the records of a partition end. The brokers' end is higher if transaction markers, which have offsets but are not records,
//! follow the last record. A reader that waited for that end would wait until the next record.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Cluster,
    history::{self, Part},
    on_thread,
};
use crate::{Partition, ReadError};

/// How long a reading in this process may take to deliver the last record, before the partition's tail is looked at.
const GRACE: Duration = Duration::from_millis(200);

/// The known tails of partitions.
#[derive(Default)]
pub(super) struct Tails(watch::Sender<HashMap<Partition, Tail>>);

#[derive(Clone, Copy)]
struct Tail {
    /// The brokers' end.
    end: u64,
    /// One past the last record below it.
    records: u64,
}

impl Tails {
    /// Notes that there is a record right below `end`.
    pub(super) fn note(&self, partition: &Partition, end: u64) {
        self.insert(partition, Tail { end, records: end });
    }

    fn insert(&self, partition: &Partition, tail: Tail) {
        self.0.send_if_modified(|tails| {
            let is_news = tails.get(partition).is_none_or(|known| known.end < tail.end);
            if is_news {
                tails.insert(partition.clone(), tail);
            }
            is_news
        });
    }

    pub(super) fn is_known(&self, partition: &Partition) -> bool {
        self.0.borrow().contains_key(partition)
    }

    /// Returns one past the last record below the brokers' `end`.
    pub(super) async fn settle(
        &self,
        cluster: &Arc<Cluster>,
        partition: &Partition,
        end: u64,
    ) -> Result<u64, ReadError> {
        let mut tails = self.0.subscribe();
        if self.is_known(partition) {
            let is_there = tails.wait_for(|tails| tails.get(partition).is_some_and(|tail| tail.end >= end));
            // Without an answer in time, nothing in this process reads that far.
            drop(tokio::time::timeout(GRACE, is_there).await);
        }
        let known = self.0.borrow().get(partition).copied();
        let floor = match known {
            Some(tail) if tail.end == end => return Ok(tail.records),
            // Read in the meantime.
            Some(tail) if tail.end > end => return Ok(tail.records.min(end)),
            Some(tail) => tail.records,
            None => 0,
        };
        let records = look(cluster, partition, floor, end).await?;
        self.insert(partition, Tail { end, records });
        Ok(records)
    }
}

/// Looks for the last record below `end`, further back each time.
async fn look(cluster: &Arc<Cluster>, partition: &Partition, floor: u64, end: u64) -> Result<u64, ReadError> {
    let mut n_back = 1;
    loop {
        let from = end.saturating_sub(n_back).max(floor);
        // A new leader may hide its last records for a moment, so nothing is only believed the second time.
        for _ in 0..2 {
            let (cluster, part) =
                (Arc::clone(cluster), Part { partition: partition.clone(), from, end, limit: usize::MAX });
            let found = on_thread("kafka-tails", move || history::read(&cluster, &part)).await;
            match found.unwrap_or_else(|reason| Err(ReadError::Unavailable { reason })) {
                Ok(found) => {
                    if let Some(last) = found.last() {
                        return Ok(last.offset + 1);
                    }
                }
                // Trimmed: what was there can't be known.
                Err(ReadError::OutOfRange { .. }) => return Ok(end),
                Err(error) => return Err(error),
            }
        }
        if from == floor {
            return Ok(floor);
        }
        n_back *= 8;
    }
}
