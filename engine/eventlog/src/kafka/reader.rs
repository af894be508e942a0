//! Readings. Each has its own consumer and thread, which ends when the reading is dropped.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use tokio::sync::mpsc;

use super::{
    Cluster, Talk, index_of, is_final, is_loss,
    metadata::{self, UNKNOWN_FOR, ask_again},
    out_of_range,
    received::Received,
    spawn, to_raw,
};
use crate::{Batch, Partition, ReadError, Reading};

/// Settings for a fast replay with bounded memory, and a tail without delay.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "100"),
    // How long fetching pauses while the queue is full. With the default of a second, a replay stalls.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.message.max.bytes", "4194304"),
    ("fetch.max.bytes", "8388608"),
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "8192"),
];

/// How long the thread waits for a record before it checks whether the reading was dropped.
const TICK: Duration = Duration::from_millis(100);

/// The number of batches read ahead of the caller.
const AHEAD: usize = 4;

type Sender = mpsc::Sender<Result<Batch, ReadError>>;

pub(super) fn read(cluster: &Arc<Cluster>, from: Vec<(Partition, u64)>) -> Reading {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let cluster = Arc::clone(cluster);
    let started = spawn("kafka-reader", move || {
        let mut sources: Vec<Source> =
            from.into_iter().map(|(partition, next)| Source::new(&cluster, partition, next)).collect();
        let Err(ended) = run(&cluster, &mut sources, &sender);
        if let Ended::Failed(error) = ended {
            // The reading may have just been dropped.
            let _ = sender.blocking_send(Err(error));
        }
    });
    if let Err(reason) = started {
        return stream::iter([Err(ReadError::Unavailable { reason })]).boxed();
    }
    // A reading ends only with an error, even if the thread panicked.
    let batches = stream::unfold(Some(receiver), async |receiver| {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Ok(batch)) => Some((Ok(batch), Some(receiver))),
            Some(Err(error)) => Some((Err(error), None)),
            None => Some((Err(ReadError::Unavailable { reason: "the reading thread has ended".to_owned() }), None)),
        }
    });
    batches.boxed()
}

/// Why a thread stops reading.
enum Ended {
    Unread,
    Failed(ReadError),
}

/// Uninhabited: reading never ends successfully.
enum Never {}

/// A partition and the progress of reading it.
struct Source {
    partition: Partition,
    topic: String,
    index: i32,
    /// The next offset to read. There may be no record at it.
    next: u64,
    received: Received,
}

impl Source {
    fn new(cluster: &Cluster, partition: Partition, next: u64) -> Self {
        let (topic, index) = (cluster.name(&partition.topic), index_of(&partition));
        Self { partition, topic, index, next, received: Received::default() }
    }
}

fn run(cluster: &Cluster, sources: &mut [Source], sender: &Sender) -> Result<Never, Ended> {
    let consumer: BaseConsumer<Talk> =
        cluster.reading_client(SETTINGS).create_with_context(Talk).map_err(|error| unavailable(&error))?;
    check_all(&consumer, sources, sender)?;
    assign(&consumer, sources)?;
    // Records of a partition come in runs, so look at the last partition first.
    let mut last = 0;
    loop {
        match consumer.poll(TICK) {
            Some(Ok(message)) => take(sources, &mut last, &message),
            Some(Err(error)) => recover(&consumer, sources, sender, &error)?,
            None if sender.is_closed() => return Err(Ended::Unread),
            None => {}
        }
        // Add the records that are already queued.
        while !sources.get(last).is_none_or(|source| source.received.is_full()) {
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => take(sources, &mut last, &message),
                Some(Err(error)) => {
                    recover(&consumer, sources, sender, &error)?;
                    break;
                }
                None => break,
            }
        }
        hand_over(cluster, sources, sender)?;
    }
}

fn take(sources: &mut [Source], last: &mut usize, message: &BorrowedMessage<'_>) {
    if sources.len() > 1 {
        let (topic, index) = (message.topic(), message.partition());
        let is_it = |source: &Source| source.index == index && source.topic == topic;
        if !sources.get(*last).is_some_and(is_it) {
            let Some(found) = sources.iter().position(is_it) else {
                return;
            };
            *last = found;
        }
    }
    let (Some(source), Ok(offset)) = (sources.get_mut(*last), u64::try_from(message.offset())) else {
        return;
    };
    // Skip records that librdkafka has fetched again.
    if offset >= source.next {
        source.received.push(offset, message);
        source.next = offset + 1;
    }
}

fn hand_over(cluster: &Cluster, sources: &mut [Source], sender: &Sender) -> Result<(), Ended> {
    for source in sources.iter_mut().filter(|source| !source.received.is_empty()) {
        let batch = Batch { partition: source.partition.clone(), records: source.received.take() };
        cluster.tails.note(&batch.partition, source.next);
        sender.blocking_send(Ok(batch)).map_err(|_| Ended::Unread)?;
    }
    Ok(())
}

fn assign(consumer: &BaseConsumer<Talk>, sources: &[Source]) -> Result<(), Ended> {
    let mut from = TopicPartitionList::with_capacity(sources.len());
    for source in sources {
        from.add_partition_offset(&source.topic, source.index, Offset::Offset(to_raw(source.next)))
            .map_err(|error| unavailable(&error))?;
    }
    consumer.assign(&from).map_err(|error| unavailable(&error))
}

/// Handles an error. librdkafka reports all of its errors, and retries after most of them.
fn recover(
    consumer: &BaseConsumer<Talk>,
    sources: &[Source],
    sender: &Sender,
    error: &KafkaError,
) -> Result<(), Ended> {
    if is_loss(error.rdkafka_error_code()) {
        check_all(consumer, sources, sender)?;
        // Even if the offsets exist, they may hold different records now.
        let reason = format!("Kafka lost records that were read, or the whole topic: {error}");
        return Err(Ended::Failed(ReadError::Unavailable { reason }));
    }
    if is_final(error) {
        return Err(unavailable(error));
    }
    tracing::debug!("reading from Kafka: {error}");
    if sender.is_closed() { Err(Ended::Unread) } else { Ok(()) }
}

/// Checks that every offset to read from exists, or is the end of its partition.
fn check_all(consumer: &BaseConsumer<Talk>, sources: &[Source], sender: &Sender) -> Result<(), Ended> {
    for source in sources {
        check(consumer, source, sender).map_err(Ended::Failed)?;
    }
    Ok(())
}

fn check(consumer: &BaseConsumer<Talk>, source: &Source, sender: &Sender) -> Result<(), ReadError> {
    let Source { partition, topic, next, .. } = source;
    let ask = || metadata::range(consumer.client(), partition, topic);
    let (first, end) =
        ask_again(ask, UNKNOWN_FOR, || sender.is_closed()).map_err(|unseen| unseen.read_error(&partition.topic))?;
    if (first..=end).contains(&to_raw(*next)) { Ok(()) } else { Err(out_of_range(partition, *next, (first, end))) }
}

fn unavailable(error: &KafkaError) -> Ended {
    Ended::Failed(ReadError::Unavailable { reason: error.to_string() })
}
