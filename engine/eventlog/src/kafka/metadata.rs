//! Topic and partition metadata, requested from the brokers each time. librdkafka's cache can be a minute old, and for as long it
//! reports a partition that had no leader when it was created as unknown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    client::{Client, ClientContext},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{CONSUMER, Cluster, ONE_CALL, PATIENCE, Talk, index_of, is_final, is_unknown_topic, talk};
use crate::{Partition, ReadError};

/// How long the first answer may take.
const REACHED_WITHIN: Duration = Duration::from_secs(5);
/// How long a topic may look missing before that is an error. Not every broker knows a new topic immediately.
pub(super) const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// The number of partitions and replicas of a topic.
pub(super) struct Shape {
    pub partitions: u32,
    pub copies: usize,
}

/// Why a topic or partition can't be described.
pub(super) enum Unseen {
    /// The broker does not know it.
    Missing,
    /// Retrying does not help.
    Refused(String),
    Trouble(String),
}

impl Unseen {
    fn new(error: &KafkaError) -> Self {
        if is_unknown_topic(error.rdkafka_error_code()) {
            Self::Missing
        } else if is_final(error) {
            Self::Refused(error.to_string())
        } else {
            Self::Trouble(error.to_string())
        }
    }

    /// Returns the corresponding error for reading the topic.
    pub(super) fn read_error(&self, topic: &Arc<str>) -> ReadError {
        match self {
            Self::Missing => ReadError::UnknownTopic { topic: Arc::clone(topic) },
            Self::Refused(reason) | Self::Trouble(reason) => ReadError::Unavailable { reason: reason.clone() },
        }
    }
}

/// Calls `ask` until it succeeds. Gives up on [`Unseen::Refused`], on [`Unseen::Missing`] after `missing_for`, and on
/// [`Unseen::Trouble`] once `time_is_up`.
pub(super) fn ask_again<T>(
    ask: impl Fn() -> Result<T, Unseen>,
    missing_for: Duration,
    time_is_up: impl Fn() -> bool,
) -> Result<T, Unseen> {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(Unseen::Missing) if started.elapsed() < missing_for => {}
            Err(Unseen::Trouble(reason)) if !time_is_up() => tracing::debug!("asking Kafka again: {reason}"),
            Err(unseen) => return Err(unseen),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for the first answer of a broker; otherwise returns the reason.
pub(super) fn reach(cluster: &Cluster) -> Result<(), String> {
    let client: BaseConsumer<Talk> =
        cluster.client(&[CONSUMER]).create_with_context(Talk).map_err(|error| error.to_string())?;
    if client.client().fetch_cluster_id(REACHED_WITHIN).is_some() {
        talk::is_reached();
        return Ok(());
    }
    let reason = cluster.said.reason().unwrap_or_else(|| format!("no answer within {} s", REACHED_WITHIN.as_secs()));
    // What follows counts librdkafka's attempts.
    Err(reason.split(" (after ").next().unwrap_or_default().to_owned())
}

/// Describes a topic by its name on the brokers. Fails if one of its partitions has no leader.
pub(super) fn look<C: ClientContext>(client: &Client<C>, name: &str, patience: Duration) -> Result<Shape, Unseen> {
    let metadata = client.fetch_metadata(Some(name), patience).map_err(|error| Unseen::new(&error))?;
    let topic = metadata.topics().iter().find(|topic| topic.name() == name).ok_or(Unseen::Missing)?;
    if let Some(error) = topic.error() {
        return Err(Unseen::new(&KafkaError::MetadataFetch(RDKafkaErrorCode::from(error))));
    }
    let partitions = topic.partitions();
    if partitions.is_empty() || partitions.iter().any(|partition| partition.leader() < 0) {
        return Err(Unseen::Trouble(format!("a partition of {name} has no leader")));
    }
    let copies = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
    let count = u32::try_from(partitions.len()).map_err(|error| Unseen::Trouble(error.to_string()))?;
    Ok(Shape { partitions: count, copies })
}

/// Returns the number of partitions of a topic.
pub(super) fn partition_count<C: ClientContext>(client: &Client<C>, name: &str) -> Result<u32, Unseen> {
    let started = Instant::now();
    let shape = ask_again(|| look(client, name, ONE_CALL), UNKNOWN_FOR, || started.elapsed() >= PATIENCE)?;
    Ok(shape.partitions)
}

/// Returns the first offset of a partition and one past its last, as reported by its leader.
pub(super) fn range<C: ClientContext>(
    client: &Client<C>,
    partition: &Partition,
    name: &str,
) -> Result<(i64, i64), Unseen> {
    client
        .fetch_watermarks(name, index_of(partition), ONE_CALL)
        .map_err(|error| explain(client, partition, name, &error, ONE_CALL))
}

/// Finds the cause of an error about a partition, whose topic is called `name` on the brokers. librdkafka also reports a partition as
/// unknown if it has no leader or is not authorized.
pub(super) fn explain<C: ClientContext>(
    client: &Client<C>,
    partition: &Partition,
    name: &str,
    error: &KafkaError,
    patience: Duration,
) -> Unseen {
    let code = error.rdkafka_error_code();
    if !is_unknown_topic(code) && code != Some(RDKafkaErrorCode::LeaderNotAvailable) {
        return Unseen::new(error);
    }
    match look(client, name, patience) {
        Ok(shape) if shape.partitions <= partition.index => Unseen::Missing,
        Ok(_) => Unseen::Trouble(error.to_string()),
        Err(unseen) => unseen,
    }
}
