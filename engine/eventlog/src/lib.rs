//! The append-only log that orderlog is built on: one trait, three back-ends.
//!
//! [`EventLog`] is the only view of Kafka that the rest of orderlog has: topics made of partitions, each a totally ordered list
//! of immutable records. It handles bytes and headers without interpreting them. `orderlog_core` gives records their meaning and
//! decides which of two racing ones wins.
//!
//! - [`embedded`]: one SQLite file, nothing to install. The default.
//! - [`kafka`]: Apache Kafka, for more than one machine.
//! - [`simulated`]: in memory, with fault injection. For tests.
//!
//! Deliberately absent: transactions, conditional appends, compaction, deletion. Every back-end passes the same
//! [`conformance`] suite; a new back-end runs it with one line.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::sync::watch;

pub mod conformance;
pub mod embedded;
pub mod kafka;
mod names;
mod position;
pub mod simulated;
mod topic_state;

pub use position::{Mark, Position};
pub use topic_state::{TopicFault, TopicState};

/// One totally ordered list of records: a topic and the index of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name as users see it, without the deployment's prefix.
    pub topic: Arc<str>,
    /// Zero-based. A journal has only partition 0.
    pub index: u32,
}

impl Partition {
    pub fn new(topic: impl Into<Arc<str>>, index: u32) -> Self {
        Self { topic: topic.into(), index }
    }

    /// The only partition of a journal.
    pub fn journal(topic: impl Into<Arc<str>>) -> Self {
        Self::new(topic, 0)
    }
}

impl Partition {
    /// Formats an offset of this partition: `orders@1042`, or `order.created/2@17` if it is not partition 0.
    pub fn at(&self, offset: u64) -> String {
        match self.index {
            0 => format!("{}@{offset}", self.topic),
            _ => format!("{self}@{offset}"),
        }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// The name and value of a header.
pub type RecordHeader = (Cow<'static, str>, Bytes);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: Arc<str>,
    /// `None` lets the log choose by key; equal keys go to the same partition.
    pub partition: Option<u32>,
    /// In a public topic, the aggregate's id: records with the same key stay in order.
    pub key: Option<Bytes>,
    /// Order is preserved, and names may repeat.
    pub headers: Vec<RecordHeader>,
    pub value: Bytes,
}

/// The maximum size of a record in bytes: key, headers and value. Every log accepts records up to this size and rejects larger
/// ones. On Kafka this depends on the topic configuration, which is checked at each start.
pub const RECORD_BYTES_MAX: usize = 900_000;

impl NewRecord {
    /// The size of the key, headers and value.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + headers + self.value.len()
    }

    /// Returns an error if the record is larger than [`RECORD_BYTES_MAX`].
    pub(crate) fn fits(&self) -> Result<(), AppendError> {
        match self.size_bytes() {
            0..=RECORD_BYTES_MAX => Ok(()),
            size => Err(AppendError::TooLarge {
                reason: format!("it has {size} bytes, and a record may have {RECORD_BYTES_MAX}"),
            }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Zero-based and ascending within the partition. There may be gaps in a partition that other programs write to.
    pub offset: u64,
    /// When the log received the record, in milliseconds since the Unix epoch. For operators only; no decision depends on it.
    pub time_ms: i64,
    pub key: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
    pub value: Bytes,
}

impl Record {
    /// Returns the value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Records of one partition in ascending order of offset. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub partition: Partition,
    pub records: Vec<Record>,
}

/// The purpose of a topic, which determines the configuration it is created with and checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// The system of record: one partition, kept forever.
    Journal,
    /// The published contract: kept forever. The deployment chooses the number of partitions (the embedded log has one).
    Public,
}

/// A topic that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: Arc<str>,
    pub kind: TopicKind,
}

/// The location of an appended record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Index of the partition.
    pub partition: u32,
    pub offset: u64,
}

impl Landed {
    /// The location at `offset` in a journal.
    pub const fn journal(offset: u64) -> Self {
        Self { partition: 0, offset }
    }
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The record is not in the log and never will be. It is safe to decide again.
    #[error("the log refused the record: {reason}")]
    Refused { reason: String },
    /// The record is not in the log, which accepts none of this size. Don't append it again.
    #[error("the record is too large: {reason}")]
    TooLarge {
        /// The record's size and the limit.
        reason: String,
    },
    /// The record may be in the log, or may still get there. Append the same record again, or read on until it is found.
    #[error("no acknowledgement, the record may or may not be in the log: {reason}")]
    Unknown { reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The log does not contain this offset: it starts after it or ends before it. It is a different or older log, or has lost
    /// records, so the reader must not assume that its own state belongs to this log.
    #[error("{partition} has no offset {wanted}: it holds {first} to {end}")]
    OutOfRange {
        partition: Partition,
        /// The requested offset.
        wanted: u64,
        /// The first offset in the partition.
        first: u64,
        /// One past the last offset in the partition.
        end: u64,
    },
    #[error("topic {topic} does not exist")]
    UnknownTopic { topic: Arc<str> },
    /// A record differs from what was written, or is missing between others. Retrying does not help.
    #[error("{} is damaged: {reason}", partition.at(*offset))]
    Damaged {
        partition: Partition,
        /// The first damaged or missing record.
        offset: u64,
        reason: String,
    },
    /// The log can't be read now. Retry later.
    #[error("the log can't be read: {reason}")]
    Unavailable { reason: String },
}

/// Why topics could not be prepared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The topic is configured in a way that loses or reorders records.
    #[error("topic {topic} has {setting}={found}, but must have {wanted}")]
    Drift {
        topic: Arc<str>,
        /// The setting as the log names it.
        setting: String,
        found: String,
        /// The required value.
        wanted: String,
    },
    /// They are missing, and this process creates none.
    #[error("these topics do not exist: {}", topics.join(", "))]
    Missing {
        /// Their names on the brokers.
        topics: Vec<String>,
    },
    #[error("topics can't be prepared: {reason}")]
    Unavailable { reason: String },
}

/// Why a position could not be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another instance holds the lease now. Stop the work that it protects.
    #[error("the lease is held by another instance")]
    Lost,
    /// The log does not answer. The position may or may not have been stored.
    #[error("the lease's positions can't be reached: {reason}")]
    Unavailable { reason: String },
}

/// The right of one live instance (as far as the log can tell) to do a group's work, and the group's positions.
///
/// It only saves duplicate work. A deposed holder may not know it yet, so the result must be correct even if two instances hold it.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Watches whether this instance holds the lease.
    fn held(&self) -> watch::Receiver<bool>;

    /// Returns the group's position in each of `partitions`, or `None` if it has none.
    async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError>;

    /// Returns the address announced by the instance that last stored a position of the journal, if it announced one. This is
    /// usually the holder, but it may have died since.
    async fn holder(&self) -> Result<Option<String>, LeaseError>;

    /// Returns whether a position is deleted unless it is stored again from time to time. Kafka deletes one that is older than
    /// `offsets.retention.minutes`, even while its group has members, unless they subscribe to its topic.
    fn positions_expire(&self) -> bool {
        false
    }

    /// Stores the position to resume from in each partition.
    async fn commit(&self, positions: &[(Partition, Position)]) -> Result<(), LeaseError>;
}

/// Requests to the log's servers since the start, by the clients that append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub requests: u64,
    /// Requests that failed or timed out.
    pub errors: u64,
    /// The longest time for which a server throttled the client, in the last few seconds.
    pub throttled_ms: u64,
}

/// The pending outcome of an append: one result per record, in the order given.
pub type Appending = BoxFuture<'static, Vec<Result<Landed, AppendError>>>;

/// A stream of records: history first, then the live tail, without a gap or duplicate in between. Waits when there is nothing
/// new. Retries transient failures; ends after the first error.
pub type Reading = BoxStream<'static, Result<Batch, ReadError>>;

/// An append-only log of topics.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Creates missing topics and checks all of them. Returns warnings about topics whose settings could not be checked, or for
    /// which losing a broker can lose records or stop appends.
    ///
    /// # Errors
    /// [`TopicError::Drift`] if a topic's configuration loses or reorders records.
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError>;

    /// Looks again at topics that were prepared, and changes nothing.
    ///
    /// # Errors
    /// [`TopicError::Unavailable`] if the log does not answer.
    async fn inspect(&self, topics: &[TopicSpec]) -> Result<Vec<TopicState>, TopicError> {
        let mut states = Vec::with_capacity(topics.len());
        for spec in topics {
            states.push(match self.partitions(&spec.name).await {
                Ok(partitions) => TopicState::beginning_at(spec, vec![0; partitions.len()]),
                Err(ReadError::UnknownTopic { .. }) => TopicState::missing(spec),
                Err(error) => return Err(TopicError::Unavailable { reason: error.to_string() }),
            });
        }
        Ok(states)
    }

    /// Whether programs other than orderlog can append to the topics.
    fn has_foreign_writers(&self) -> bool;

    /// Returns the partitions of an existing topic in ascending order.
    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError>;

    /// Appends records. They are queued before this returns, so consecutive calls are attempted in order; a failed call does not
    /// hold back the next. The future only waits for the outcome; dropping it cancels nothing. `Ok` contains the record's
    /// location and means that the record is durable: it survives `kill -9` and any loss the deployment is configured to
    /// survive. Concurrent callers share one write (group commit).
    fn append(&self, records: Vec<NewRecord>) -> Appending;

    /// Reads each partition from its offset. There is no order between batches of different partitions.
    fn read(&self, from: Vec<(Partition, u64)>) -> Reading;

    /// Returns one past the last durable record of each partition. The answer comes from the authority and not from a local copy, so
    /// every record acknowledged to any client before the call is below it.
    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError>;

    /// Returns the records at these offsets, in the order given. Meant for a few records, not for replay.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if one of them does not exist.
    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError>;

    /// Returns up to `limit` records from `from` to below `end`, which [`EventLog::ends`] returned; fewer only if there are no more.
    /// Terminates even if no record is left below `end`, such as when a transaction marker is the last entry.
    async fn history(
        &self,
        partition: &Partition,
        from: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let mut records: Vec<Record> = Vec::new();
        if from < end {
            let mut reading = self.read(vec![(partition.clone(), from)]);
            while records.len() < limit && records.last().is_none_or(|last| last.offset + 1 < end) {
                let Some(batch) = reading.next().await else { break };
                records.extend(batch?.records);
            }
            records.retain(|record| record.offset < end);
            records.truncate(limit);
        }
        Ok(records)
    }

    /// Returns how many bytes the records of a topic take: keys, headers and values. `None` if the log does not know.
    async fn size_bytes(&self, _topic: &str) -> Result<Option<u64>, ReadError> {
        Ok(None)
    }

    /// Returns the requests to the log's servers; `None` if it has none.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Returns a group's position in each of `partitions`, or `None` if it has none, without joining the group.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`] if they can't be read now.
    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError>;

    /// Returns a handle on the same log for verification: it reads every record from storage, even if memory holds a copy.
    fn stored(self: Arc<Self>) -> Arc<dyn EventLog>;

    /// Joins `group`, which processes `journal`. The group can store positions of any partition of the log.
    async fn lead(&self, group: &str, journal: &str) -> Result<Arc<dyn Lease>, LeaseError>;

    /// Checks whether the log would accept an append now. The embedded log tries one and rolls it back. On Kafka only an actual
    /// append can show this, so there the result is always `Ok`.
    ///
    /// # Errors
    /// The reason why it would not.
    async fn takes_appends(&self) -> Result<(), String> {
        Ok(())
    }

    /// Releases everything before the process ends. Leaves groups, so that other instances take over immediately, and closes
    /// files, so that no write-ahead log remains beside them. Pending appends may fail, and so does every later call.
    async fn close(&self);
}
