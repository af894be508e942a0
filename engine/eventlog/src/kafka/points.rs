//! Fetches single records by their offsets, with one consumer on one thread. Questions that wait are answered together: a new
//! holder of a lease looks for dozens of records, and each request alone would cost it a tenth of a second.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
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
    Cluster, ConnectError, ONE_CALL, PATIENCE, Talk, index_of, is_final, is_loss,
    metadata::{self, UNKNOWN_FOR, Unseen},
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
];

/// Seek to the next offset if it is further away than this, instead of reading the records in between.
const NEAR: u64 = 200;
/// If nothing arrives for this long, check whether the records that are missing exist.
const SILENCE: Duration = Duration::from_millis(100);

/// A handle on the thread that fetches.
pub(super) struct Points {
    questions: mpsc::Sender<Question>,
}

struct Question {
    partition: Partition,
    offsets: BTreeSet<u64>,
    asked: Instant,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<BTreeMap<u64, Record>, ReadError>;

impl Points {
    pub(super) fn start(cluster: &Arc<Cluster>) -> Result<Self, ConnectError> {
        let (questions, receiver) = mpsc::channel::<Question>();
        let cluster = Arc::clone(cluster);
        let run = move || {
            // Created on first use, because fetching is rare.
            let mut consumer = None;
            while let Ok(first) = receiver.recv() {
                // The caller may have stopped waiting, now or during the request.
                let open = iter::once(first).chain(receiver.try_iter()).filter(|question| !question.answer.is_closed());
                answer(&cluster, &mut consumer, open.collect());
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

fn answer(cluster: &Cluster, consumer: &mut Option<BaseConsumer<Talk>>, questions: Vec<Question>) {
    let Some(last_asked) = questions.iter().map(|question| question.asked).max() else { return };
    let consumer = match consumer {
        Some(consumer) => Ok(&*consumer),
        None => cluster.reading_client(SETTINGS).create_with_context(Talk).map(|new| &*consumer.insert(new)),
    };
    let places = consumer.map_err(|error| unavailable(&error)).and_then(|consumer| {
        let (places, begun, deadline) = (places(cluster, &questions), Instant::now(), last_asked + PATIENCE);
        let mut round = Round { consumer, places, begun, deadline };
        let collected = round.collect();
        // Unassign so that nothing more is fetched. The next round assigns again in any case.
        if let Err(error) = consumer.unassign() {
            tracing::debug!("the point reader keeps its assignment: {error}");
        }
        collected.map(|()| round.places)
    });
    for Question { partition, offsets, answer, .. } in questions {
        let found = places.as_ref().map_err(Clone::clone).and_then(|places| {
            let place = places.iter().find(|place| place.partition == partition);
            offsets
                .iter()
                .map(|offset| Ok((*offset, place.map_or_else(no_record, |place| place.found(*offset))?)))
                .collect()
        });
        // The caller may have stopped waiting.
        let _ = answer.send(found);
    }
}

/// The partitions that these questions are about.
fn places(cluster: &Cluster, questions: &[Question]) -> Vec<Place> {
    let mut wanted: BTreeMap<&Partition, BTreeSet<u64>> = BTreeMap::new();
    for question in questions {
        wanted.entry(&question.partition).or_default().extend(&question.offsets);
    }
    let place = |(partition, left): (&Partition, _)| Place {
        partition: partition.clone(),
        topic: cluster.name(&partition.topic),
        left,
        found: BTreeMap::new(),
    };
    wanted.into_iter().map(place).collect()
}

/// A partition, and the records that are wanted of it.
struct Place {
    partition: Partition,
    topic: String,
    left: BTreeSet<u64>,
    found: BTreeMap<u64, Result<Record, ReadError>>,
}

impl Place {
    fn next(&self) -> Option<u64> {
        self.left.first().copied()
    }

    /// Settles the next offset.
    fn settle(&mut self, result: Result<Record, ReadError>) {
        if let Some(offset) = self.left.pop_first() {
            self.found.insert(offset, result);
        }
    }

    /// Settles the next offsets as long as they are outside of this range.
    fn settle_outside(&mut self, (first, end): (i64, i64)) {
        while let Some(next) = self.next().filter(|next| !(first..end).contains(&to_raw(*next))) {
            self.settle(Err(out_of_range(&self.partition, next, (first, end))));
        }
    }

    /// The partition's first offset and one past its last.
    fn range(&self, consumer: &BaseConsumer<Talk>) -> Result<(i64, i64), Unseen> {
        metadata::range(consumer.client(), &self.partition, &self.topic)
    }

    fn found(&self, offset: u64) -> Result<Record, ReadError> {
        self.found.get(&offset).cloned().unwrap_or_else(no_record)
    }

    fn is_of(&self, message: &BorrowedMessage<'_>) -> bool {
        message.partition() == index_of(&self.partition) && message.topic() == self.topic
    }
}

/// All partitions that a consumer fetches from at a time.
struct Round<'a> {
    consumer: &'a BaseConsumer<Talk>,
    places: Vec<Place>,
    begun: Instant,
    deadline: Instant,
}

impl Round<'_> {
    /// Collects what the places want, until the deadline.
    ///
    /// # Errors
    /// [`ReadError`], if nothing more can be fetched.
    fn collect(&mut self) -> Result<(), ReadError> {
        self.make_known();
        self.assign()?;
        while self.places.iter().any(|place| place.next().is_some()) && Instant::now() < self.deadline {
            match self.consumer.poll(SILENCE) {
                Some(Ok(message)) => self.take(&message)?,
                // librdkafka has stopped reading a partition, and does not report which one.
                Some(Err(error)) if is_loss(error.rdkafka_error_code()) => {
                    self.check();
                    self.assign()?;
                }
                Some(Err(error)) if is_final(&error) => return Err(unavailable(&error)),
                Some(Err(error)) => tracing::debug!("fetching from Kafka: {error}"),
                None => self.check(),
            }
        }
        Ok(())
    }

    /// Asks for the metadata of each topic. Otherwise librdkafka would look for the leaders of unknown topics once a second.
    fn make_known(&self) {
        let topics: BTreeSet<&str> = self.places.iter().map(|place| place.topic.as_str()).collect();
        for topic in topics {
            let patience = self.deadline.saturating_duration_since(Instant::now()).min(ONE_CALL);
            if !patience.is_zero()
                && let Err(Unseen::Trouble(reason)) = metadata::look(self.consumer.client(), topic, patience)
            {
                tracing::debug!("fetching from Kafka: {reason}");
            }
        }
    }

    fn assign(&self) -> Result<(), ReadError> {
        let mut from = TopicPartitionList::with_capacity(self.places.len());
        for place in &self.places {
            if let Some(next) = place.next() {
                from.add_partition_offset(&place.topic, index_of(&place.partition), Offset::Offset(to_raw(next)))
                    .map_err(|error| unavailable(&error))?;
            }
        }
        self.consumer.assign(&from).map_err(|error| unavailable(&error))
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<(), ReadError> {
        // Records fetched for an earlier round may still be queued.
        let Some(place) = self.places.iter_mut().find(|place| place.is_of(message)) else { return Ok(()) };
        let offset = u64::try_from(message.offset()).unwrap_or_default();
        while let Some(missing) = place.next().filter(|next| *next < offset) {
            place.settle(Err(match place.range(self.consumer) {
                Ok(range) => out_of_range(&place.partition, missing, range),
                Err(unseen) => unseen.read_error(&place.partition.topic),
            }));
        }
        if place.next() == Some(offset) {
            place.settle(Ok(copy(offset, message)));
        }
        let Some(next) = place.next().filter(|next| next - offset > NEAR) else { return Ok(()) };
        let (index, to) = (index_of(&place.partition), Offset::Offset(to_raw(next)));
        if self.consumer.seek(&place.topic, index, to, ONE_CALL).is_ok() { Ok(()) } else { self.assign() }
    }

    /// Settles records that their partitions do not contain. For a moment after a failover, a leader may not return records that it has.
    fn check(&mut self) {
        for place in self.places.iter_mut().filter(|place| place.next().is_some()) {
            match place.range(self.consumer) {
                Ok(range) => place.settle_outside(range),
                Err(Unseen::Missing) if self.begun.elapsed() < UNKNOWN_FOR => {}
                Err(Unseen::Trouble(reason)) => tracing::debug!("fetching from Kafka: {reason}"),
                Err(unseen @ (Unseen::Missing | Unseen::Refused(_))) => {
                    while place.next().is_some() {
                        place.settle(Err(unseen.read_error(&place.partition.topic)));
                    }
                }
            }
        }
    }
}

fn copy(offset: u64, message: &BorrowedMessage<'_>) -> Record {
    let mut received = Received::default();
    received.push(offset, message);
    received.take().pop().expect("one record was pushed")
}

fn no_record() -> Result<Record, ReadError> {
    Err(ReadError::Unavailable { reason: format!("no record within {PATIENCE:?}") })
}

fn unavailable(error: &KafkaError) -> ReadError {
    ReadError::Unavailable { reason: error.to_string() }
}
