//! Fetches single records by their offsets, with one consumer on one thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use tokio::sync::oneshot;

use super::{
    Cluster, ConnectError, PATIENCE, Talk, index_of, is_final, is_loss,
    metadata::{self, UNKNOWN_FOR, ask_again},
    out_of_range,
    received::Received,
    spawn, to_raw,
};
use crate::{Partition, ReadError, Record};

/// Settings for a few records rather than many.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "10"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.message.max.bytes", "65536"),
    // Stop fetching as soon as something is there.
    ("queued.min.messages", "1"),
    ("queued.max.messages.kbytes", "4096"),
    // Reports that an offset will not arrive.
    ("enable.partition.eof", "true"),
];

/// Seek to the next offset if it is further away than this, instead of reading the records in between.
const NEAR: u64 = 200;

/// A handle on the thread that fetches.
pub(super) struct Points {
    questions: mpsc::Sender<Question>,
}

struct Question {
    partition: Partition,
    offsets: BTreeSet<u64>,
    asked: Instant,
    answer: oneshot::Sender<Result<BTreeMap<u64, Record>, ReadError>>,
}

impl Points {
    pub(super) fn start(cluster: &Arc<Cluster>) -> Result<Self, ConnectError> {
        let (questions, receiver) = mpsc::channel::<Question>();
        let cluster = Arc::clone(cluster);
        let run = move || {
            // Created on first use, because fetching is rare.
            let mut consumer = None;
            while let Ok(question) = receiver.recv() {
                // The caller may have stopped waiting, now or during the request.
                if !question.answer.is_closed() {
                    let found = fetch(&cluster, &mut consumer, &question);
                    let _ = question.answer.send(found);
                }
            }
        };
        spawn("kafka-points", run).map_err(|reason| ConnectError::Thread { reason })?;
        Ok(Self { questions })
    }

    pub(super) async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        let (answer, answered) = oneshot::channel();
        let ended = || ReadError::Unavailable { reason: "the thread that fetches records has ended".to_owned() };
        let offsets_once = offsets.iter().copied().collect();
        let question = Question { partition: partition.clone(), offsets: offsets_once, asked: Instant::now(), answer };
        self.questions.send(question).map_err(|_| ended())?;
        let found = answered.await.unwrap_or_else(|_| Err(ended()))?;
        offsets.iter().map(|offset| found.get(offset).cloned().ok_or_else(ended)).collect()
    }
}

fn fetch(
    cluster: &Cluster,
    consumer: &mut Option<BaseConsumer<Talk>>,
    question: &Question,
) -> Result<BTreeMap<u64, Record>, ReadError> {
    let consumer = match consumer {
        Some(consumer) => consumer,
        None => consumer
            .insert(cluster.reading_client(SETTINGS).create_with_context(Talk).map_err(|error| unavailable(&error))?),
    };
    let place = Place {
        consumer,
        partition: &question.partition,
        topic: cluster.name(&question.partition.topic),
        deadline: question.asked + PATIENCE,
    };
    let found = place.collect(&question.offsets);
    // Unassign so that nothing more is fetched. The next fetch assigns again in any case.
    if let Err(error) = consumer.unassign() {
        tracing::debug!("the point reader keeps its assignment: {error}");
    }
    found
}

/// The partition that a consumer fetches from.
struct Place<'a> {
    consumer: &'a BaseConsumer<Talk>,
    partition: &'a Partition,
    topic: String,
    deadline: Instant,
}

impl Place<'_> {
    fn collect(&self, offsets: &BTreeSet<u64>) -> Result<BTreeMap<u64, Record>, ReadError> {
        let mut found = BTreeMap::new();
        let mut next = None;
        for &wanted in offsets {
            if next.is_none_or(|next| wanted - next > NEAR) {
                self.go_to(wanted)?;
            }
            found.insert(wanted, self.wait_for(wanted)?);
            next = Some(wanted + 1);
        }
        Ok(found)
    }

    fn go_to(&self, offset: u64) -> Result<(), ReadError> {
        let mut from = TopicPartitionList::with_capacity(1);
        from.add_partition_offset(&self.topic, index_of(self.partition), Offset::Offset(to_raw(offset)))
            .and_then(|()| self.consumer.assign(&from))
            .map_err(|error| unavailable(&error))
    }

    /// Polls until this record arrives.
    fn wait_for(&self, wanted: u64) -> Result<Record, ReadError> {
        while Instant::now() < self.deadline {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let offset = u64::try_from(message.offset()).unwrap_or_default();
                    // Records fetched for an earlier question may still be queued.
                    let here = message.partition() == index_of(self.partition) && message.topic() == self.topic;
                    if !here || offset < wanted {
                        continue;
                    }
                    if offset > wanted {
                        return Err(out_of_range(self.partition, wanted, self.range()?));
                    }
                    return Ok(copy(offset, &message));
                }
                Some(Err(error)) => self.consider(wanted, &error)?,
                None => {}
            }
        }
        Err(ReadError::Unavailable { reason: format!("no record within {PATIENCE:?}") })
    }

    fn consider(&self, wanted: u64, error: &KafkaError) -> Result<(), ReadError> {
        match error {
            KafkaError::PartitionEOF(index) if *index == index_of(self.partition) => self.must_hold(wanted),
            // librdkafka has stopped reading the partition.
            _ if is_loss(error.rdkafka_error_code()) => {
                self.must_hold(wanted)?;
                self.go_to(wanted)
            }
            _ if is_final(error) => Err(unavailable(error)),
            _ => {
                tracing::debug!("fetching from Kafka: {error}");
                Ok(())
            }
        }
    }

    /// Returns an error if the partition does not contain this offset. For a moment after a failover, the leader may not return records
    /// that it has.
    fn must_hold(&self, wanted: u64) -> Result<(), ReadError> {
        let (first, end) = self.range()?;
        if (first..end).contains(&to_raw(wanted)) {
            Ok(())
        } else {
            Err(out_of_range(self.partition, wanted, (first, end)))
        }
    }

    fn range(&self) -> Result<(i64, i64), ReadError> {
        let ask = || metadata::range(self.consumer, self.partition, &self.topic);
        ask_again(ask, UNKNOWN_FOR, || Instant::now() >= self.deadline)
            .map_err(|unseen| unseen.read_error(&self.partition.topic))
    }
}

fn copy(offset: u64, message: &BorrowedMessage<'_>) -> Record {
    let mut received = Received::default();
    received.push(offset, message);
    received.take().pop().expect("one record was pushed")
}

fn unavailable(error: &KafkaError) -> ReadError {
    ReadError::Unavailable { reason: error.to_string() }
}
