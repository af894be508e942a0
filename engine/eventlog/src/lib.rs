//! The append-only log under everything: one trait, three back-ends.
//!
//! [`EventLog`] is what the rest of orderlog knows of Kafka: topics made of partitions, each a totally ordered list of
//! records that are never changed. It knows bytes and headers and nothing of orders: what a record means, and which of two
//! racing records wins, is decided above it, in `domain`.
//!
//! - [`embedded`]: one SQLite file, nothing to install. The default.
//! - [`kafka`]: Apache Kafka, for more than one machine.
//! - [`simulated`]: memory, with faults on demand. For tests.
//!
//! Deliberately absent: transactions, conditional appends, compaction, deletion. Every back-end passes the same
//! [`conformance`] suite; adding one is adding one line there.

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

pub use position::{Mark, Position};

/// One totally ordered list of records: a topic and the index of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name as users see it, without any prefix of the deployment.
    pub topic: Arc<str>,
    /// From 0; a journal has only partition 0.
    pub index: u32,
}

impl Partition {
    /// Partition `index` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, index: u32) -> Self {
        Self { topic: topic.into(), index }
    }

    /// The only partition of a journal.
    pub fn journal(topic: impl Into<Arc<str>>) -> Self {
        Self::new(topic, 0)
    }
}

impl Partition {
    /// The name of a place: `orders@1042`, or `order.created/2@17` of another partition than the first.
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

/// A name and its bytes, beside a record's value.
pub type RecordHeader = (Cow<'static, str>, Bytes);

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: Arc<str>,
    /// The partition; `None` lets the log choose by key, always the same one for the same key.
    pub partition: Option<u32>,
    /// What orders the records of a public topic: the aggregate's id.
    pub key: Option<Bytes>,
    /// In this order, names may repeat.
    pub headers: Vec<RecordHeader>,
    pub value: Bytes,
}

/// So many bytes a record may have: key, headers and value. Every log takes that, on Kafka as long as topics are configured so
/// (which is checked at each start), and refuses more.
pub const RECORD_BYTES_MAX: usize = 900_000;

impl NewRecord {
    /// Its key, headers and value.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + headers + self.value.len()
    }

    /// An error if it is above [`RECORD_BYTES_MAX`].
    pub(crate) fn fits(&self) -> Result<(), AppendError> {
        match self.size_bytes() {
            0..=RECORD_BYTES_MAX => Ok(()),
            size => Err(AppendError::TooLarge {
                reason: format!("it has {size} bytes, and a record may have {RECORD_BYTES_MAX}"),
            }),
        }
    }
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in its partition, from 0. Offsets grow, but need not be contiguous in a partition that others write to.
    pub offset: u64,
    /// When the log took it, in milliseconds since the Unix epoch. For operators; nothing is decided by it.
    pub time_ms: i64,
    pub key: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
    pub value: Bytes,
}

impl Record {
    /// The bytes of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Records of one partition, in ascending order of offset, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose records these are.
    pub partition: Partition,
    pub records: Vec<Record>,
}

/// What a topic is for; decides the configuration it is created with and checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// The system of record: one partition, kept for ever.
    Journal,
    /// The published contract: kept for ever, as many partitions as the deployment likes (the embedded log: one).
    Public,
}

/// A topic that must exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: Arc<str>,
    pub kind: TopicKind,
}

/// Where a record has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Index of the topic's partition.
    pub partition: u32,
    pub offset: u64,
}

impl Landed {
    /// At this offset of a journal.
    pub const fn journal(offset: u64) -> Self {
        Self { partition: 0, offset }
    }
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It is not in the log and never will be: the log did not take it. Deciding again is safe.
    #[error("the log refused the record: {reason}")]
    Refused { reason: String },
    /// It is not in the log, and the log takes none of this size. Don't append it again.
    #[error("the record is too large: {reason}")]
    TooLarge {
        /// How large it is, and what is taken.
        reason: String,
    },
    /// It may or may not be in the log, now or later. Append the same record again, or read on until it is found.
    #[error("no acknowledgement, the record may or may not be in the log: {reason}")]
    Unknown { reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The log does not hold this offset: it starts later, or ends before it. Another log, an older one, or one that lost
    /// records; the reader's own state can't be trusted to belong to it.
    #[error("{partition} has no offset {wanted}: it holds {first} to {end}")]
    OutOfRange {
        partition: Partition,
        /// The offset asked for.
        wanted: u64,
        /// The first offset held.
        first: u64,
        /// One past the last offset held.
        end: u64,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist")]
    UnknownTopic { topic: Arc<str> },
    /// A record that is not what was written, or is missing among others. No other try helps.
    #[error("{} is damaged: {reason}", partition.at(*offset))]
    Damaged {
        partition: Partition,
        /// The first record that is not right.
        offset: u64,
        reason: String,
    },
    /// The log can't be read now. Worth another try later.
    #[error("the log can't be read: {reason}")]
    Unavailable { reason: String },
}

/// Why a topic is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The topic is configured in a way that loses or reorders records.
    #[error("topic {topic} has {setting}={found}, but must have {wanted}")]
    Drift {
        topic: Arc<str>,
        /// The setting as the log names it.
        setting: String,
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// Topics can't be created or looked at now.
    #[error("topics can't be prepared: {reason}")]
    Unavailable { reason: String },
}

/// Why a position was not kept or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another instance holds the lease now. Stop what ran under it.
    #[error("the lease is held by another instance")]
    Lost,
    /// The log does not answer. The position may or may not have been kept.
    #[error("the lease's positions can't be reached: {reason}")]
    Unavailable { reason: String },
}

/// The right of at most one live instance (as far as the log can tell) to do a group's work, and the positions it kept.
///
/// A hint for speed and fairness: a deposed holder may not know it yet, so nothing may be *wrong* when two hold it.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Whether this instance holds the lease, now and as it changes.
    fn held(&self) -> watch::Receiver<bool>;

    /// The positions kept for the group, one per partition asked for; `None` where nothing was kept.
    async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError>;

    /// Where the instance that last kept a position of the journal says that it is reached, if it says so: mostly the holder's.
    /// It may have died since.
    async fn holder(&self) -> Result<Option<String>, LeaseError>;

    /// Keep where to go on for each partition.
    async fn commit(&self, positions: &[(Partition, Position)]) -> Result<(), LeaseError>;
}

/// What becomes of an append: one result per record, in the order given.
pub type Appending = BoxFuture<'static, Vec<Result<Landed, AppendError>>>;

/// Records as they come: history first, then the live tail, without gap or duplicate at the seam. Waits when there is
/// nothing new. Passing troubles are retried inside; after an error the stream ends.
pub type Reading = BoxStream<'static, Result<Batch, ReadError>>;

/// An append-only log of topics.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Create the topics that are missing and check the others. Returns warnings: what could not be checked, and why.
    ///
    /// # Errors
    /// [`TopicError::Drift`] where a topic is proven to be configured in a way that loses records.
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError>;

    /// The partitions of an existing topic, ascending.
    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError>;

    /// Append records. They are handed to the log before this returns, so that calls made one after the other are attempted
    /// in that order (a failed one does not hold back the next); the future only waits for what becomes of them, and
    /// dropping it takes nothing back. `Ok` says where the record is and means that it is durable: it survives
    /// `kill -9`, and whatever loss the deployment is made to survive. Many callers share one write (group commit).
    fn append(&self, records: Vec<NewRecord>) -> Appending;

    /// Read each partition from its offset on. Batches of different partitions have no mutual order.
    fn read(&self, from: Vec<(Partition, u64)>) -> Reading;

    /// One past the last durable record of each partition, read from the log's authority, not from a local copy: every
    /// record acknowledged to anybody before the call is below it.
    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError>;

    /// The records at these offsets, in the order given; for a few, not for replay.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if one is not there.
    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError>;

    /// The records from `from` on and below `end`, which [`EventLog::ends`] told: at most `limit`, and fewer only if there are no more. It
    /// comes to an end even where there is nothing below `end` any more, such as behind the last record of somebody's transaction.
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

    /// The positions that a group has kept, one per partition asked for, without taking part in it; `None` where nothing was kept.
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`] if they can't be read now.
    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError>;

    /// The same log, for proofs: each record is read from where it is stored, also if a copy of it is in memory.
    fn stored(self: Arc<Self>) -> Arc<dyn EventLog>;

    /// Take part in `group`, whose work is that of `journal`. Positions can be kept for any partition of the log.
    async fn lead(&self, group: &str, journal: &str) -> Result<Arc<dyn Lease>, LeaseError>;

    /// Whether the log would take an append now. The embedded log tries one; of Kafka it is not known without an append.
    ///
    /// # Errors
    /// Why it would not.
    async fn takes_appends(&self) -> Result<(), String> {
        Ok(())
    }

    /// Let go of everything, before the process ends: groups are left, so that others take over at once, and files are closed, so
    /// that nothing of the log lies beside them. Appends that are not answered yet may fail, and so does all that is asked later.
    async fn close(&self);
}
