//! The log on Apache Kafka, through librdkafka.
//!
//! - `producer`: one idempotent producer shared by all appends, replaced after a fatal error.
//! - `reader`: a consumer and a thread per reading, assigned to explicit offsets.
//! - `ends`: one shared thread that asks for the ends of partitions.
//! - `points`: one shared thread that fetches single records.
//! - `groups`: one thread that reads the positions of groups that this process is not a member of.
//! - `history`: reads a range of a partition.
//! - `lease`: a consumer group whose only purpose is to assign the journal to one member.
//! - `admin`: creates topics, and refuses those that are configured to lose records.
//! - `inspector`: looks at topics again while they are in use.
//! - `plan`: the topics as they are created.
//! - `metadata`: topic metadata from the brokers.
//! - `settings`: common client settings, and those that a configuration may not change.
//! - `size`: finds the record that a broker rejected as too large.
//! - `talk`: forwards librdkafka's logs and errors.
//! - `traffic`: counts requests to the brokers.
//!
//! librdkafka's calls block, so each module has its own threads. Nothing here blocks an async task, and no task or thread
//! that waits for Kafka delays the end of the process.
//!
//! Deliberately absent: transactions (the order of the log decides, see `docs/decisions/0001`), consumer groups for
//! reading (positions are stored in the read model), a schema registry. One limit of Kafka remains: a leader that is
//! partitioned from the cluster may answer `ends` with an outdated offset, for the seconds until it notices.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    FutureExt,
    future::{join_all, try_join_all},
};
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
    Appending, EventLog, Landed, Lease, LeaseError, NewRecord, Partition, Position, ReadError, Reading, Record,
    TopicError, TopicSpec, TopicState, Traffic,
};

mod admin;
mod ends;
mod groups;
mod history;
mod inspector;
mod lease;
mod metadata;
mod plan;
mod points;
mod producer;
mod reader;
mod received;
mod settings;
mod size;
mod tails;
mod talk;
mod traffic;

pub use plan::PlannedTopic;

/// The version of librdkafka.
pub fn library_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// How to connect to Kafka and create topics.
#[derive(Clone)]
pub struct KafkaConfig {
    /// The bootstrap brokers: `host:port`, separated by commas.
    pub brokers: String,
    /// Prepended to every topic and group name on the brokers, so that several deployments can share them. Names in this crate do
    /// not include it. May be empty.
    pub topic_prefix: String,
    /// The number of partitions of a new public topic.
    pub public_partitions: i32,
    /// The number of replicas of a new topic; -1 is the brokers' default. With 3 or more, `min.insync.replicas` is set to 2, so
    /// that an acknowledged record survives the loss of one broker and appends go on. With fewer, or -1, that setting is left to
    /// the brokers' default. `prepare` warns of every topic that does not survive the loss of a broker.
    pub replication: i16,
    /// Whether missing topics are created. Otherwise they are an error.
    pub creates_topics: bool,
    /// The address at which others reach this process, at most 1,024 bytes. [`Lease::holder`] returns it while this process holds
    /// a lease.
    pub reached_at: Option<String>,
    /// More librdkafka settings, such as those for SASL. Settings that the log's guarantees depend on are refused.
    pub extra: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// Returns the default configuration for these brokers.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic_prefix: String::new(),
            public_partitions: 3,
            replication: -1,
            creates_topics: true,
            reached_at: None,
            extra: BTreeMap::new(),
        }
    }

    /// Returns the name of a topic or group on the brokers.
    fn on_brokers(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the names of the extra settings, because their values may be secret.
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("public_partitions", &self.public_partitions)
            .field("replication", &self.replication)
            .field("creates_topics", &self.creates_topics)
            .field("reached_at", &self.reached_at)
            .field("extra", &self.extra.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Why the clients could not be created. Unreachable brokers are not an error here, since they may come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("no Kafka broker is named")]
    NoBrokers,
    /// The log's guarantees depend on this setting.
    #[error("the Kafka setting {name} can't be changed")]
    Reserved {
        /// librdkafka's name of the setting.
        name: String,
    },
    #[error("the Kafka settings are not accepted: {reason}")]
    Refused { reason: String },
    #[error("a thread can't be started: {reason}")]
    Thread { reason: String },
}

impl ConnectError {
    /// Leaves out the value of the setting, which librdkafka's message contains and which may be a password.
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

/// No broker answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Kafka does not answer at {brokers}: {reason}")]
pub struct Unreachable {
    pub brokers: String,
    pub reason: String,
}

pub struct KafkaLog {
    cluster: Arc<Cluster>,
    producer: producer::Producer,
    ends: ends::Ends,
    points: points::Points,
    groups: groups::Groups,
    inspector: Arc<inspector::Inspector>,
    /// Topics known to exist. Topics are never deleted, so entries do not expire.
    known: Mutex<HashSet<Arc<str>>>,
    members: Mutex<Vec<lease::Member>>,
}

impl KafkaLog {
    /// Creates the clients. They connect on first use; [`EventLog::prepare`] fails if Kafka does not answer.
    pub fn connect(config: KafkaConfig) -> Result<Arc<Self>, ConnectError> {
        settings::check(&config)?;
        let cluster = Arc::new(Cluster { config, tails: tails::Tails::default(), said: Said::default() });
        Ok(Arc::new(Self {
            producer: producer::Producer::start(&cluster)?,
            ends: ends::Ends::start(&cluster)?,
            points: points::Points::start(&cluster)?,
            groups: groups::Groups::start(&cluster)?,
            inspector: Arc::default(),
            known: Mutex::default(),
            members: Mutex::default(),
            cluster,
        }))
    }

    /// Waits until a broker answers.
    ///
    /// # Errors
    /// [`Unreachable`] if none does within a few seconds.
    pub async fn reach(&self) -> Result<(), Unreachable> {
        let cluster = Arc::clone(&self.cluster);
        let reached = on_thread("kafka-reach", move || metadata::reach(&cluster)).await;
        let failed = |reason| Unreachable { brokers: self.cluster.config.brokers.clone(), reason };
        reached.unwrap_or_else(Err).map_err(failed)
    }

    /// Returns an error with the name of a topic that does not exist, if there is one.
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

    async fn inspect(&self, topics: &[TopicSpec]) -> Result<Vec<TopicState>, TopicError> {
        let (cluster, inspector) = (Arc::clone(&self.cluster), Arc::clone(&self.inspector));
        let (topics, runtime) = (topics.to_vec(), Handle::current());
        on_thread("kafka-inspect", move || inspector.inspect(&cluster, &topics, &runtime))
            .await
            .unwrap_or_else(|reason| Err(TopicError::Unavailable { reason }))
    }

    fn has_foreign_writers(&self) -> bool {
        true
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
        let topics: Vec<Arc<str>> = records.iter().map(|record| Arc::clone(&record.topic)).collect();
        let cluster = Arc::clone(&self.cluster);
        let appending = size::settle(&self.cluster, records, |records| self.producer.append(&self.cluster, records));
        let noted = appending.inspect(move |results| {
            for (topic, result) in topics.into_iter().zip(results) {
                if let Ok(Landed { partition, offset }) = result {
                    cluster.tails.note(&Partition::new(topic, *partition), offset + 1);
                }
            }
        });
        noted.boxed()
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        reader::read(&self.cluster, from)
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.all_exist(partitions).await?;
        let ends = self.ends.ask(partitions).await?;
        let ends = partitions.iter().zip(ends).map(async |(partition, end)| {
            // A look costs a request, so not for all partitions of topics that this process does not use.
            let is_worth_it = partitions.len() == 1 || self.cluster.tails.is_known(partition);
            if is_worth_it && end > 0 {
                self.cluster.tails.settle(&self.cluster, partition, end).await
            } else {
                Ok(end)
            }
        });
        try_join_all(ends).await
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        self.all_exist(std::slice::from_ref(partition)).await?;
        let records = self.points.fetch(partition, offsets).await?;
        if let Some(last) = records.iter().map(|record| record.offset).max() {
            self.cluster.tails.note(partition, last + 1);
        }
        Ok(records)
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

    fn traffic(&self) -> Option<Traffic> {
        Some(self.producer.traffic())
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

/// The state shared by all clients of a log.
struct Cluster {
    config: KafkaConfig,
    tails: tails::Tails,
    /// Why brokers can't be reached, according to the producer. Only a polled client learns it, and the producer is always polled.
    said: Said,
}

impl Cluster {
    /// Returns the name of a topic or group on the brokers.
    fn name(&self, name: &str) -> String {
        self.config.on_brokers(name)
    }

    /// Returns the configuration of a client: the common settings, the configured extra ones and then `settings`.
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

    /// Returns the configuration of a client that reads from explicit offsets. librdkafka requires a group id to assign
    /// partitions; this group is never joined and stores no positions.
    fn reading_client(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut client = self.client(&[CONSUMER, settings]);
        client.set("group.id", self.name("orderlog-reader"));
        client
    }
}

/// Returns whether the error means that a topic or partition does not exist.
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

/// Returns whether the error means that an offset no longer exists: an outdated replica became the leader, or records or the whole
/// topic were deleted. librdkafka stops reading the partition and does not report which one it is.
fn is_loss(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
    is_unknown_topic(code) || matches!(code, Some(AutoOffsetReset | OffsetOutOfRange | LogTruncation))
}

/// Errors that must not be retried. After a record that it can't decode, librdkafka requests the same one forever, or skips it.
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

/// Converts an offset for librdkafka, saturating at `i64::MAX`.
fn to_raw(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// Converts a partition's index for librdkafka, saturating at `i32::MAX`.
fn index_of(partition: &Partition) -> i32 {
    i32::try_from(partition.index).unwrap_or(i32::MAX)
}

/// Returns the error for an offset outside of `first..end`.
fn out_of_range(partition: &Partition, wanted: u64, (first, end): (i64, i64)) -> ReadError {
    let offset = |raw: i64| u64::try_from(raw).unwrap_or_default();
    ReadError::OutOfRange { partition: partition.clone(), wanted, first: offset(first), end: offset(end) }
}

/// Runs blocking work on a new thread. Unlike the runtime's threads, it does not delay the end of the process while a broker does
/// not answer.
async fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, receiver) = oneshot::channel();
    spawn(name, move || drop(sender.send(work())))?;
    receiver.await.map_err(|_| format!("the thread {name} has ended"))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| error.to_string())
}

/// The timeout of one request to a broker, after which it is repeated.
const ONE_CALL: Duration = Duration::from_secs(3);

/// How long to repeat requests before giving up.
const PATIENCE: Duration = Duration::from_secs(10);
