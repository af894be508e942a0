//! Finds which record was too large for a broker. A broker rejects a whole request, so every record in it fails. Records above the
//! topic's configured limit fail with [`AppendError::TooLarge`]; the others may be appended again.
//!
//! Topics that accept less than [`RECORD_BYTES_MAX`](crate::RECORD_BYTES_MAX) are refused at startup, so this only applies to topics
//! that were changed since.

use std::{collections::HashMap, sync::Arc};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::runtime::Handle;

use super::{Cluster, admin, on_thread};
use crate::{AppendError, Appending, NewRecord};

/// The maximum overhead of a batch with one record, in bytes: 61 for the batch, and the length of each part.
const OVERHEAD: usize = 200;

/// Returns whether the broker rejected a request as too large.
pub(super) fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Calls `append`, and checks the records that the broker rejected as too large.
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

/// Returns the maximum size of a request to the topic in bytes, if Kafka shows it.
async fn limit_of(cluster: &Arc<Cluster>, topic: &Arc<str>) -> Option<usize> {
    let (cluster, topic, runtime) = (Arc::clone(cluster), Arc::clone(topic), Handle::current());
    on_thread("kafka-limit", move || admin::largest_of(&cluster, &topic, &runtime)).await.ok().flatten()
}
