//! Whether a record is what a broker found too large. A broker says that of a whole request: all records that were in it are told.
//! So the topic's configuration is looked at: what is above its limit is refused for good, and what is not may be appended again.
//!
//! Topics that take less than [`RECORD_BYTES_MAX`](crate::RECORD_BYTES_MAX) are refused at the start, so this is for those that were changed since.

use std::{collections::HashMap, sync::Arc};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;

use super::{Cluster, admin, on_thread};
use crate::{AppendError, Appending, NewRecord};

/// What a batch of one record has beside the record's own bytes, at most: 61 of the batch, and lengths before each part.
const OVERHEAD: usize = 200;

/// Whether the broker says that what it was sent is too large.
pub(super) fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Append by `append`, and settle what the broker found too large.
pub(super) fn settle(
    cluster: &Arc<Cluster>,
    records: Vec<NewRecord>,
    append: impl FnOnce(Vec<NewRecord>) -> Appending,
) -> Appending {
    let sizes: Vec<_> = records.iter().map(|record| (Arc::clone(&record.topic), record.size_bytes())).collect();
    let (cluster, appending) = (Arc::clone(cluster), append(records));
    Box::pin(async move {
        let mut results = appending.await;
        let mut limits: HashMap<Arc<str>, Option<usize>> = HashMap::new();
        for (result, (topic, size)) in results.iter_mut().zip(sizes) {
            let Err(AppendError::TooLarge { reason }) = result else { continue };
            if size > crate::RECORD_BYTES_MAX {
                continue;
            }
            let limit = match limits.get(&topic) {
                Some(limit) => *limit,
                None => *limits.entry(Arc::clone(&topic)).or_insert(limit_of(&cluster, &topic).await),
            };
            *result = Err(match limit {
                Some(limit) if size + OVERHEAD > limit => AppendError::TooLarge {
                    reason: format!("it has {size} bytes, and topic {topic} has max.message.bytes={limit}"),
                },
                Some(_) | None => AppendError::Unknown { reason: std::mem::take(reason) },
            });
        }
        results
    })
}

/// How large a request the topic takes, if Kafka tells.
async fn limit_of(cluster: &Arc<Cluster>, topic: &Arc<str>) -> Option<usize> {
    let (cluster, topic, runtime) = (Arc::clone(cluster), Arc::clone(topic), Handle::current());
    on_thread("kafka-limit", move || admin::largest_of(&cluster, &topic, &runtime)).await.ok().flatten()
}
