//! The log on Apache Kafka, through librdkafka.
//!
//! - `producer`: one idempotent producer that all appends share, replaced when it fails for good.
//! - `reader`: a consumer and a thread per reading, assigned to explicit offsets.
//! - `ends` and `points`: one thread each that asks for ends, and fetches single records, for everybody.
//! - `groups`: one thread that asks for positions of groups in which this process takes no part.
//! - `history`: a part of a partition, up to where it ends.
//! - `lease`: a consumer group whose only purpose is to have one member that is assigned the journal.
//! - `admin`: creates topics, and refuses those that are configured to lose records.
//! - `metadata`: what the brokers say about topics, for all of these.
//! - `settings`: what all of these have in common, and what a configuration may not change.
//! - `size`: whether a record is what a broker found too large.
//! - `talk`: where what librdkafka has to say goes.
//!
//! librdkafka's calls block, so each kind has threads of its own; nothing here blocks an async task, and no task or thread
//! of this process that waits for Kafka keeps it from ending.
//!
//! Deliberately absent: transactions (the order of the log decides, see `docs/decisions/0001`), consumer groups for
//! reading (positions are kept with the rows), a schema registry. What Kafka itself leaves open stays open: a leader that
//! was cut off and does not know it may, for the seconds until it does, answer `ends` from before it was cut off.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::Producer as _,
};
use tokio::{runtime::Handle, sync::oneshot};

use self::{
    metadata::Unseen,
    settings::{COMMON, CONSUMER},
    talk::{Said, Talk, say, say_error},
};
use crate::{
    Appending, EventLog, Lease, LeaseError, NewRecord, Partition, Position, ReadError, Reading, Record, TopicError,
    TopicKind, TopicSpec,
};

mod admin;
mod ends;
mod groups;
mod history;
mod lease;
mod metadata;
mod points;
mod producer;
mod reader;
mod received;
mod settings;
mod size;
mod talk;

/// Where Kafka is and how topics are made there.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas: the brokers asked first. They name the others.
    pub brokers: String,
    /// Put before every topic's and group's name on the brokers, so that several deployments can share them. Not part of
    /// the names in this crate. Empty: the names are the same.
    pub topic_prefix: String,
    /// How many partitions a public topic is created with.
    pub public_partitions: i32,
    /// How many copies a topic is created with; -1 leaves it to the brokers' default. With 3 or more, an append is acknowledged
    /// when 2 of them have it (`min.insync.replicas=2`), so that one broker may be lost; with fewer, or -1, that is left to the
    /// brokers' default too. Topics that don't survive it, however they were made, are told of by `prepare`.
    pub replication: i16,
    /// Where this process says that others reach it, at most 1,024 bytes: what [`Lease::holder`] tells while it holds a lease.
    pub reached_at: Option<String>,
    /// More settings in librdkafka's own words, such as those for SASL. What the log sets itself, because its guarantees rest on
    /// it, is refused.
    pub extra: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// The defaults, for these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: String::new(),
            public_partitions: 3,
            replication: -1,
            reached_at: None,
            extra: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the names of the extra settings: their values may be secret.
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("public_partitions", &self.public_partitions)
            .field("replication", &self.replication)
            .field("reached_at", &self.reached_at)
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Why the clients could not be made. Brokers that do not answer are no such reason: they may come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing says where Kafka is.
    #[error("no Kafka broker is named")]
    NoBrokers,
    /// A setting that the log's guarantees rest on.
    #[error("the Kafka setting {name} can't be changed")]
    Reserved {
        /// As librdkafka names it.
        name: String,
    },
    /// librdkafka does not accept the settings.
    #[error("the Kafka settings are not accepted: {reason}")]
    Refused { reason: String },
    /// A thread could not be started.
    #[error("a thread can't be started: {reason}")]
    Thread { reason: String },
}

impl ConnectError {
    /// Without the value of a setting, which librdkafka repeats: it may be a password.
    fn refused(error: &KafkaError) -> Self {
        let reason = match error {
            KafkaError::ClientConfig(_, _, name, _) => {
                format!("there is no setting {name}, or it can't have that value")
            }
            error => error.to_string(),
        };
        Self::Refused { reason }
    }
}

/// An [`EventLog`] on Kafka brokers.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    producer: producer::Producer,
    ends: ends::Ends,
    points: points::Points,
    groups: groups::Groups,
    /// Topics that were seen to exist. Topics are never deleted, so this needs no expiry.
    known: Mutex<HashSet<Arc<str>>>,
    members: Mutex<Vec<lease::Member>>,
}

impl KafkaLog {
    /// Make the clients. They connect when they are used: [`EventLog::prepare`] tells whether Kafka answers.
    ///
    /// # Errors
    /// [`ConnectError`] if the configuration can't be used.
    pub fn connect(config: KafkaConfig) -> Result<Arc<Self>, ConnectError> {
        settings::check(&config)?;
        let cluster = Arc::new(Cluster { config, said: Said::default() });
        Ok(Arc::new(Self {
            producer: producer::Producer::start(&cluster)?,
            ends: ends::Ends::start(&cluster)?,
            points: points::Points::start(&cluster)?,
            groups: groups::Groups::start(&cluster)?,
            known: Mutex::default(),
            members: Mutex::default(),
            cluster,
        }))
    }

    /// An error naming the first of these topics that does not exist.
    async fn all_exist(&self, partitions: &[Partition]) -> Result<(), ReadError> {
        let topics: HashSet<&Arc<str>> = partitions.iter().map(|partition| &partition.topic).collect();
        for topic in topics {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(topic);
            if !known {
                self.partitions(topic).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        let (cluster, topics, runtime) = (Arc::clone(&self.cluster), topics.to_vec(), Handle::current());
        on_thread("kafka-admin", move || admin::prepare(&cluster, &topics, &runtime))
            .await
            .unwrap_or_else(|reason| Err(TopicError::Unavailable { reason }))
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        let topic: Arc<str> = topic.into();
        let (client, name) = (self.producer.client(), self.cluster.name(&topic));
        let count = on_thread("kafka-metadata", move || metadata::partition_count(client.client(), &name))
            .await
            .unwrap_or_else(|reason| Err(Unseen::Trouble(reason)))
            .map_err(|unseen| unseen.read_error(&topic))?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&topic));
        Ok((0..count).map(|index| Partition::new(Arc::clone(&topic), index)).collect())
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        size::settle(&self.cluster, records, |records| self.producer.append(&self.cluster, records))
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        reader::read(&self.cluster, from)
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.all_exist(partitions).await?;
        self.ends.ask(partitions).await
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        self.all_exist(std::slice::from_ref(partition)).await?;
        self.points.fetch(partition, offsets).await
    }

    async fn history(
        &self,
        partition: &Partition,
        from: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        if from >= end || limit == 0 {
            return Ok(Vec::new());
        }
        self.all_exist(std::slice::from_ref(partition)).await?;
        let (cluster, part) =
            (Arc::clone(&self.cluster), history::Part { partition: partition.clone(), from, end, limit });
        on_thread("kafka-history", move || history::read(&cluster, &part))
            .await
            .unwrap_or_else(|reason| Err(ReadError::Unavailable { reason }))
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        self
    }

    async fn lead(&self, group: &str, journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        let (lease, member) = lease::KafkaLease::join(&self.cluster, group, journal)?;
        self.members.lock().unwrap_or_else(PoisonError::into_inner).push(member);
        Ok(Arc::new(lease))
    }

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.groups.positions(group, partitions).await
    }

    async fn close(&self) {
        let members = mem::take(&mut *self.members.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(members.into_iter().map(lease::Member::leave)).await;
    }
}

/// What all clients of one log have in common.
struct Cluster {
    config: KafkaConfig,
    /// Why brokers can't be reached, as the producer has heard: only a client that is polled hears it, and that one always is.
    said: Said,
}

impl Cluster {
    /// A topic's or group's name on the brokers.
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.config.topic_prefix)
    }

    /// The configuration of a client that has these settings beside the common ones.
    fn client(&self, settings: &[&[(&str, &str)]]) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Info).set("bootstrap.servers", &self.config.brokers);
        for (name, value) in COMMON {
            client.set(*name, *value);
        }
        for (name, value) in &self.config.extra {
            client.set(name, value);
        }
        for (name, value) in settings.iter().copied().flatten() {
            client.set(*name, *value);
        }
        client
    }

    /// The configuration of a client that reads explicit offsets. librdkafka assigns partitions only to a member of a
    /// group: this one is never joined, and keeps nothing.
    fn reading_client(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut client = self.client(&[CONSUMER, settings]);
        client.set("group.id", self.name("orderlog-reader"));
        client
    }

    /// How many partitions a topic of this kind is created with.
    fn partitions_of(&self, kind: TopicKind) -> i32 {
        match kind {
            TopicKind::Journal => 1,
            TopicKind::Public => self.config.public_partitions,
        }
    }
}

/// Whether the error says that a topic or partition does not exist.
fn is_unknown_topic(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopicId
                | RDKafkaErrorCode::InvalidTopic
        )
    )
}

/// Whether the error says that an offset is not there: an older copy became the leader, records were deleted, or the whole topic
/// was. Reading of the partition has stopped; which one, librdkafka does not say.
fn is_loss(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
    is_unknown_topic(code) || matches!(code, Some(AutoOffsetReset | OffsetOutOfRange | LogTruncation))
}

/// Errors that asking or reading on does not help against. After a record that it can't decode, librdkafka asks for the same one
/// for ever, or goes on behind it.
const FINAL: &[RDKafkaErrorCode] = &[
    RDKafkaErrorCode::TopicAuthorizationFailed,
    RDKafkaErrorCode::ClusterAuthorizationFailed,
    RDKafkaErrorCode::SaslAuthenticationFailed,
    RDKafkaErrorCode::Fatal,
    RDKafkaErrorCode::BadMessage,
    RDKafkaErrorCode::InvalidMessage,
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::BadCompression,
    RDKafkaErrorCode::UnsupportedCompressionType,
    RDKafkaErrorCode::NotImplemented,
];

fn is_final(error: &KafkaError) -> bool {
    let is_listed = error.rdkafka_error_code().is_some_and(|code| FINAL.contains(&code));
    is_listed || matches!(error, KafkaError::MessageConsumptionFatal(_))
}

/// An offset as librdkafka counts them; nothing is above its largest one.
fn to_raw(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// A partition's index as librdkafka counts them.
fn index_of(partition: &Partition) -> i32 {
    i32::try_from(partition.index).unwrap_or(i32::MAX)
}

/// The error for an offset that is not between these two.
fn out_of_range(partition: &Partition, wanted: u64, (first, end): (i64, i64)) -> ReadError {
    let offset = |raw: i64| u64::try_from(raw).unwrap_or_default();
    ReadError::OutOfRange { partition: partition.clone(), wanted, first: offset(first), end: offset(end) }
}

/// Run `work`, which blocks, on a thread of its own: unlike the runtime's, it does not keep the process from ending while a
/// broker does not answer.
async fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, receiver) = oneshot::channel();
    spawn(name, move || drop(sender.send(work())))?;
    receiver.await.map_err(|_| format!("the thread {name} has ended"))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| error.to_string())
}

/// How long one question to a broker may take before it is asked again.
const ONE_CALL: Duration = Duration::from_secs(3);

/// How long to go on asking before giving up.
const PATIENCE: Duration = Duration::from_secs(10);
