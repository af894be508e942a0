//! Appends with one idempotent producer shared by all callers, so that librdkafka can put records of several callers into one
//! request.
//!
//! Records never time out (`message.timeout.ms=0`). A queued record either gets its offset, or the producer fails fatally. Then the
//! outcome of every record in flight is unknown, and a new producer replaces the failed one.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Statistics,
    client::ClientContext,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{DeliveryResult, Header, Message, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig},
};
use tokio::sync::oneshot;

use super::{Cluster, ConnectError, PATIENCE, Said, say, say_error, size::is_too_large, spawn, traffic};
use crate::{AppendError, Appending, Landed, NewRecord, RecordHeader, Traffic};

/// Settings of the producer.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("allow.auto.create.topics", "false"),
    // Never time out, because a record that timed out here could still arrive.
    ("message.timeout.ms", "0"),
    ("request.timeout.ms", "10000"),
    // Callers batch already, so lingering would only add latency.
    ("linger.ms", "0"),
    // The default of Java producers, so that other programs can compute a key's partition.
    ("partitioner", "murmur2_random"),
    // Unlimited, because callers bound the records in flight and a full queue would break their order.
    ("queue.buffering.max.messages", "0"),
    ("queue.buffering.max.kbytes", "2147483647"),
    ("retry.backoff.ms", "20"),
    // How often requests are counted, see `traffic`.
    ("statistics.interval.ms", "5000"),
];

/// The poll timeout of the producer's thread, and so the longest delay before a failed producer is replaced.
const TICK: Duration = Duration::from_millis(50);

type Client = BaseProducer<Deliveries>;

pub(super) struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    said: Said,
    counts: traffic::Counts,
    current: RwLock<Arc<Client>>,
}

impl Shared {
    fn current(&self) -> Arc<Client> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Producer {
    pub(super) fn start(cluster: &Cluster) -> Result<Self, ConnectError> {
        let config = cluster.client(&[SETTINGS]);
        let (said, counts) = (cluster.said.clone(), traffic::Counts::default());
        let client = create(&config, &said, &counts).map_err(|error| ConnectError::refused(&error))?;
        let shared = Arc::new(Shared { config, said, counts, current: RwLock::new(Arc::clone(&client)) });
        let weak = Arc::downgrade(&shared);
        spawn("kafka-producer", move || serve(&weak, client)).map_err(|reason| ConnectError::Thread { reason })?;
        Ok(Self { shared })
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.shared.counts.get()
    }

    /// Returns the current client, for metadata requests.
    pub(super) fn client(&self) -> Arc<Client> {
        self.shared.current()
    }

    /// Queues the records immediately, in this order. The future waits for their results.
    pub(super) fn append(&self, cluster: &Cluster, records: Vec<NewRecord>) -> Appending {
        let client = self.shared.current();
        let count = records.len();
        let (answers, answered) = Answers::expect(count);
        for (index, record) in records.into_iter().enumerate() {
            let ticket = Ticket::new(&answers, index);
            match record.fits() {
                Ok(()) => hand_over(&client, &cluster.name(&record.topic), &record, ticket),
                Err(error) => ticket.settle(Err(error)),
            }
        }
        Box::pin(async move {
            let lost = || AppendError::Unknown { reason: "the producer has ended".to_owned() };
            answered.await.unwrap_or_else(|_| vec![Err(lost()); count])
        })
    }
}

fn hand_over(client: &Client, topic: &str, record: &NewRecord, ticket: Ticket) {
    let mut to = BaseRecord::with_opaque_to(topic, Box::new(ticket)).payload(&record.value[..]);
    if let Some(partition) = record.partition {
        to = to.partition(i32::try_from(partition).unwrap_or(i32::MAX));
    }
    if let Some(key) = &record.key {
        to = to.key(&key[..]);
    }
    if !record.headers.is_empty() {
        to = to.headers(headers(&record.headers));
    }
    if let Err((error, back)) = client.send(to) {
        // The record was not queued, so it is certainly not in the log.
        back.delivery_opaque.settle(Err(AppendError::Refused { reason: error.to_string() }));
    }
}

fn headers(headers: &[RecordHeader]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (name, value)| {
        all.insert(Header { key: name, value: Some(&value[..]) })
    })
}

fn create(config: &ClientConfig, said: &Said, counts: &traffic::Counts) -> Result<Arc<Client>, KafkaError> {
    let context = Deliveries { said: said.clone(), counts: counts.clone(), counted: Mutex::default() };
    config.create_with_context(context).map(Arc::new)
}

/// Runs the callbacks of the current producer and replaces it when it fails, until the [`Producer`] is dropped.
fn serve(shared: &Weak<Shared>, mut client: Arc<Client>) {
    loop {
        client.poll(TICK);
        let Some(shared) = shared.upgrade() else {
            // Write the queued records, even if no caller waits for them.
            finish(&client, PATIENCE);
            return;
        };
        // Callbacks report the cause of a fatal error, but not that it is fatal.
        if let Some((_, cause)) = client.client().fatal_error() {
            match create(&shared.config, &shared.said, &shared.counts) {
                Ok(next) => {
                    tracing::warn!("the Kafka producer has failed and is replaced: {cause}");
                    *shared.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
                    retire(std::mem::replace(&mut client, next));
                }
                Err(error) => {
                    tracing::error!("the Kafka producer has failed, and no new one can be made: {error}");
                    std::thread::sleep(PATIENCE / 10);
                }
            }
        }
    }
}

/// Answers the records that a failed producer still holds, on another thread.
fn retire(failed: Arc<Client>) {
    let retiring = move || {
        failed.purge(PurgeConfig::default().queue().inflight());
        finish(&failed, PATIENCE);
    };
    if let Err(reason) = spawn("kafka-producer-retired", retiring) {
        // The failed producer was dropped instead, which purges it as well.
        tracing::warn!("no thread for the failed Kafka producer: {reason}");
    }
}

fn finish(client: &Client, patience: Duration) {
    let deadline = Instant::now() + patience;
    while client.in_flight_count() > 0 && Instant::now() < deadline {
        client.poll(Duration::from_millis(10));
    }
}

/// The results of the records of one call.
struct Answers(Mutex<Open>);

struct Open {
    results: Vec<Option<Result<Landed, AppendError>>>,
    left: usize,
    caller: Option<oneshot::Sender<Vec<Result<Landed, AppendError>>>>,
}

impl Answers {
    fn expect(count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<Result<Landed, AppendError>>>) {
        let (sender, receiver) = oneshot::channel();
        let mut open = Open { results: vec![None; count], left: count, caller: Some(sender) };
        if count == 0 {
            open.answer();
        }
        (Arc::new(Self(Mutex::new(open))), receiver)
    }
}

impl Open {
    fn answer(&mut self) {
        let results = self.results.drain(..).flatten().collect();
        if let Some(caller) = self.caller.take() {
            // The caller may have stopped waiting.
            let _ = caller.send(results);
        }
    }
}

/// Attached to a record in librdkafka, to route its result. Dropping it answers with [`AppendError::Unknown`].
pub(super) struct Ticket {
    answers: Arc<Answers>,
    index: usize,
    settled: bool,
}

impl Ticket {
    fn new(answers: &Arc<Answers>, index: usize) -> Self {
        Self { answers: Arc::clone(answers), index, settled: false }
    }

    fn settle(mut self, result: Result<Landed, AppendError>) {
        self.put(result);
    }

    fn put(&mut self, result: Result<Landed, AppendError>) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let mut open = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.results[self.index] = Some(result);
        open.left -= 1;
        if open.left == 0 {
            open.answer();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.put(Err(AppendError::Unknown { reason: "the producer dropped the record".to_owned() }));
    }
}

pub(super) struct Deliveries {
    said: Said,
    counts: traffic::Counts,
    /// What `counts` already includes of this client.
    counted: Mutex<Traffic>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.said.heard(message);
        }
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        say_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let now = traffic::of(&statistics);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        self.counts.add(now, std::mem::replace(&mut counted, now));
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let unknown = |reason: String| AppendError::Unknown { reason };
        let result = match report {
            // Without an offset, the record is a duplicate: an earlier attempt was stored, but its acknowledgement was lost.
            Ok(message) => match (u32::try_from(message.partition()), u64::try_from(message.offset())) {
                (Ok(partition), Ok(offset)) => Ok(Landed { partition, offset }),
                _ => Err(unknown("acknowledged without an offset".to_owned())),
            },
            // The error is only about the last attempt; an earlier one may have been stored. Even an unknown topic proves
            // nothing, because a broker that has just started reports it for topics that it does not know yet.
            Err((error, _)) if is_too_large(error) => Err(AppendError::TooLarge { reason: error.to_string() }),
            Err((error, _)) => Err(unknown(error.to_string())),
        };
        ticket.settle(result);
    }
}
