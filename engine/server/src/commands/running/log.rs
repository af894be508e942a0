//! The log of a running server, to be read: no other process can open an embedded one.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt, future, stream};
use orderlog_eventlog::{
    AppendError, Appending, Batch, EventLog, Lease, LeaseError, NewRecord, Partition, Position, ReadError, Reading,
    Record, TopicError, TopicSpec,
};
use orderlog_runtime::archive::{
    Records,
    frames::{self, FrameError},
};

use super::Running;
use crate::commands::exit::{Exit, of as exit_of};

/// The pause before the server is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The reason why nothing can be written.
const READ_ONLY: &str = "the log of a running server can only be read from here";

pub struct ServerLog(pub Arc<Running>);

impl ServerLog {
    async fn end(&self, partition: &Partition) -> Result<u64, ReadError> {
        self.0.get(&format!("/admin/records/{partition}/end")).await.map_err(|error| unread(&partition.topic, &error))
    }

    async fn records(&self, partition: &Partition, from: u64) -> Result<Records, ReadError> {
        let bytes = self.0.stream(&format!("/admin/records/{partition}?from={from}")).await;
        Ok(records_in(bytes.map_err(|error| unread(&partition.topic, &error))?, partition.clone()))
    }

    /// Reads a partition from `next` on, by one response after the other.
    fn follow(&self, partition: Partition, next: u64) -> Reading {
        struct Place {
            log: ServerLog,
            partition: Partition,
            next: u64,
            open: Option<Records>,
        }
        let place = Place { log: Self(Arc::clone(&self.0)), partition, next, open: None };
        stream::unfold(place, |mut place| async move {
            loop {
                if place.open.is_none() {
                    place.open = place.log.records(&place.partition, place.next).await.ok();
                }
                let some = match &mut place.open {
                    Some(open) => open.next().await,
                    None => None,
                };
                match some {
                    Some(Ok(records)) => {
                        let Some(last) = records.last() else { continue };
                        place.next = last.offset + 1;
                        return Some((Ok(Batch { partition: place.partition.clone(), records }), place));
                    }
                    Some(Err(damaged @ ReadError::Damaged { .. })) => return Some((Err(damaged), place)),
                    // The response is complete, or the server does not answer now.
                    Some(Err(_)) | None => {
                        place.open = None;
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
            }
        })
        .boxed()
    }
}

/// Decodes records of `partition` as a server sends them.
pub fn records_in(bytes: impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static, partition: Partition) -> Records {
    let mut rest = BytesMut::new();
    let not_taken = move |error: FrameError| match error {
        FrameError::Damaged { offset, reason } => ReadError::Damaged { partition: partition.clone(), offset, reason },
        FrameError::Bad => broken_off(&error.into()),
    };
    bytes
        .map(move |some| {
            rest.extend_from_slice(&some.map_err(|error| broken_off(&error))?);
            let mut records = Vec::new();
            while let Some(record) = frames::take_record(&mut rest).map_err(&not_taken)? {
                records.push(record);
            }
            Ok(records)
        })
        .boxed()
}

pub fn broken_off(error: &anyhow::Error) -> ReadError {
    ReadError::Unavailable { reason: format!("the server's answer broke off: {error:#}") }
}

/// The error for a request for `topic` that was not successful.
fn unread(topic: &Arc<str>, error: &anyhow::Error) -> ReadError {
    if exit_of(error) == Exit::Refused {
        ReadError::UnknownTopic { topic: Arc::clone(topic) }
    } else {
        broken_off(error)
    }
}

#[async_trait]
impl EventLog for ServerLog {
    async fn prepare(&self, _topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        Err(TopicError::Unavailable { reason: READ_ONLY.to_owned() })
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        let topic: Arc<str> = topic.into();
        let found = self.0.get::<Vec<u32>>(&format!("/admin/log/{topic}")).await;
        let indexes = found.map_err(|error| unread(&topic, &error))?;
        Ok(indexes.into_iter().map(|index| Partition::new(Arc::clone(&topic), index)).collect())
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        let refused = Err(AppendError::Refused { reason: READ_ONLY.to_owned() });
        future::ready(vec![refused; records.len()]).boxed()
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        stream::select_all(from.into_iter().map(|(partition, next)| self.follow(partition, next))).boxed()
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        future::try_join_all(partitions.iter().map(|partition| self.end(partition))).await
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        let end = self.end(partition).await?;
        let one = async |wanted: u64| {
            let none = || ReadError::OutOfRange { partition: partition.clone(), wanted, first: 0, end };
            if wanted >= end {
                return Err(none());
            }
            let mut records = self.records(partition, wanted).await?;
            let first = records.next().await.ok_or_else(none)??;
            first.into_iter().next().filter(|record| record.offset == wanted).ok_or_else(none)
        };
        let mut found = Vec::with_capacity(offsets.len());
        for offset in offsets {
            found.push(one(*offset).await?);
        }
        Ok(found)
    }

    async fn positions(&self, _group: &str, _: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        Err(LeaseError::Unavailable { reason: READ_ONLY.to_owned() })
    }

    /// Servers offer the embedded log only.
    fn has_foreign_writers(&self) -> bool {
        false
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        self
    }

    async fn lead(&self, _group: &str, _journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        Err(LeaseError::Unavailable { reason: READ_ONLY.to_owned() })
    }

    async fn close(&self) {}
}
