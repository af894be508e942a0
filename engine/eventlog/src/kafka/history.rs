//! Reads a range of a partition. Unlike a reading this terminates, because librdkafka reports the end of a partition even if
//! transaction markers, which have offsets but are not records, follow the last record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use super::{
    Cluster, PATIENCE, Talk, index_of, is_final, is_loss,
    metadata::{self, UNKNOWN_FOR, ask_again},
    out_of_range,
    reader::SETTINGS,
    received::Received,
    to_raw,
};
use crate::{Partition, ReadError, Record};

/// A range of a partition.
pub(super) struct Part {
    pub partition: Partition,
    pub from: u64,
    /// Exclusive, and no greater than the end that the partition's leader returned.
    pub end: u64,
    pub limit: usize,
}

/// Reads the records. Blocks, and fails if no record arrives for [`PATIENCE`].
pub(super) fn read(cluster: &Arc<Cluster>, part: &Part) -> Result<Vec<Record>, ReadError> {
    let mut config = cluster.reading_client(SETTINGS);
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Talk> = config.create_with_context(Talk).map_err(|error| unavailable(&error))?;
    let topic = cluster.name(&part.partition.topic);
    let mut assigned = TopicPartitionList::with_capacity(1);
    assigned
        .add_partition_offset(&topic, index_of(&part.partition), Offset::Offset(to_raw(part.from)))
        .and_then(|()| consumer.assign(&assigned))
        .map_err(|error| unavailable(&error))?;
    let (mut received, mut n, mut next, mut heard) = (Received::default(), 0, part.from, Instant::now());
    while n < part.limit && next < part.end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let offset = u64::try_from(message.offset()).unwrap_or_default();
                if offset >= part.end {
                    break;
                }
                received.push(offset, &message);
                (n, next, heard) = (n + 1, offset + 1, Instant::now());
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                must_hold(&consumer, &topic, part, part.end - 1)?;
                break;
            }
            // librdkafka has stopped reading because the offset does not exist.
            Some(Err(error)) if is_loss(error.rdkafka_error_code()) => {
                must_hold(&consumer, &topic, part, next)?;
                return Err(unavailable(&error));
            }
            Some(Err(error)) if is_final(&error) => return Err(unavailable(&error)),
            Some(Err(error)) => tracing::debug!("reading a part of {} from Kafka: {error}", part.partition),
            None => {}
        }
        if heard.elapsed() >= PATIENCE {
            return Err(ReadError::Unavailable { reason: format!("no record within {PATIENCE:?}") });
        }
    }
    Ok(received.take())
}

/// Returns an error if the partition does not contain this offset.
fn must_hold(consumer: &BaseConsumer<Talk>, topic: &str, part: &Part, offset: u64) -> Result<(), ReadError> {
    let until = Instant::now() + PATIENCE;
    let ask = || metadata::range(consumer.client(), &part.partition, topic);
    let (first, end) = ask_again(ask, UNKNOWN_FOR, || Instant::now() >= until)
        .map_err(|unseen| unseen.read_error(&part.partition.topic))?;
    if (first..end).contains(&to_raw(offset)) {
        Ok(())
    } else {
        Err(out_of_range(&part.partition, offset, (first, end)))
    }
}

fn unavailable(error: &KafkaError) -> ReadError {
    ReadError::Unavailable { reason: error.to_string() }
}
