//! Log records as operators see them: JSON documents, identical from a running server and from a stopped server's
//! files.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesOrdered},
};
use orderlog_core::{
    decoding::{self, DecodeError},
    header::{Header, Stored},
    machine::{DISCARD, Discard, GENESIS, Verdict},
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Record, TopicKind, TopicSpec};
use orderlog_http::names::ServiceName;
use orderlog_readmodel::StoreError;
use orderlog_runtime::{envelope, projection::Projection};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::registry::{AnyService, Registry};

/// A topic, and how much it holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopicSummary {
    pub topic: String,
    /// `journal` or `public`.
    pub kind: String,
    pub n_partitions: usize,
    /// Counted by offsets, so that gaps left by other programs count too.
    pub n_records: u64,
    /// Of keys, headers and values; `None` if the log does not know.
    pub bytes: Option<u64>,
    /// In milliseconds since the Unix epoch; `None` if there are no records.
    pub first_time_ms: Option<i64>,
    pub last_time_ms: Option<i64>,
}

/// How many topics are looked at concurrently. On Kafka each partition of them needs a consumer meanwhile.
const N_AT_ONCE: usize = 4;

/// Records of one partition, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// At most as many as requested.
    pub records: Vec<Inspected>,
    /// The offset at which the next chunk begins.
    pub next: u64,
    /// One past the partition's last record.
    pub end: u64,
}

/// A record of a journal or of a public topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    /// When it was decided (public topics: appended), in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// `accepted`, `void`, `parked` or `discarded`; `None` for public topics and for records that the read model does
    /// not yet contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The name of its event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The ordering key: an aggregate's key, or the public event's subject.
    pub key: String,
    /// Its other headers.
    pub headers: Map<String, Value>,
    /// The event; if it is not JSON, the bytes as text.
    pub value: Value,
    /// Why its header can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How it differs from a record that orderlog writes to a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// Whether another program wrote it to a journal, so that it is void.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    /// Headers that orderlog does not write to a journal, or that it did not write the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Reads records for operators.
#[derive(Clone)]
pub struct Inspector {
    registry: &'static Registry,
    log: Arc<dyn EventLog>,
    verdicts: Arc<dyn Verdicts>,
}

/// Provides the verdicts on a journal's records.
#[async_trait]
pub trait Verdicts: Send + Sync {
    /// The known verdicts on records from `from` up to but excluding `to`, ascending.
    async fn verdicts(&self, of: &dyn AnyService, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError>;
}

impl Inspector {
    /// Inspects `log`; `verdicts` provides which records are void.
    pub fn new(registry: &'static Registry, log: Arc<dyn EventLog>, verdicts: Arc<dyn Verdicts>) -> Self {
        Self { registry, log, verdicts }
    }

    pub async fn close(self) {
        let Self { registry: _, log, verdicts } = self;
        drop(verdicts);
        log.close().await;
    }

    pub async fn partitions(&self, topic: &str) -> Result<Vec<u32>, ReadError> {
        Ok(self.log.partitions(topic).await?.into_iter().map(|partition| partition.index).collect())
    }

    /// All topics of the registry. One that does not exist yet has no partitions.
    pub async fn topics(&self) -> Result<Vec<TopicSummary>, ReadError> {
        let topics = self.registry.topics();
        stream::iter(topics).map(|topic| self.summary(topic)).buffered(N_AT_ONCE).try_collect().await
    }

    async fn summary(&self, TopicSpec { name, kind }: TopicSpec) -> Result<TopicSummary, ReadError> {
        let partitions = match self.log.partitions(&name).await {
            Err(ReadError::UnknownTopic { .. }) => Vec::new(),
            partitions => partitions?,
        };
        let ends = self.log.ends(&partitions).await?;
        let filled = partitions.iter().zip(ends).filter(|(_, end)| *end > 0);
        let extents = filled.map(|(place, end)| self.extent(place, end)).collect::<FuturesOrdered<_>>();
        let extents: Vec<_> = extents.try_collect().await?;
        Ok(TopicSummary {
            topic: name.to_string(),
            kind: match kind {
                TopicKind::Journal => "journal",
                TopicKind::Public => "public",
            }
            .to_owned(),
            n_partitions: partitions.len(),
            n_records: extents.iter().map(|extent| extent.n_records).sum(),
            bytes: if partitions.is_empty() { None } else { self.log.size_bytes(&name).await? },
            first_time_ms: extents.iter().filter_map(|extent| extent.first_ms).min(),
            last_time_ms: extents.iter().filter_map(|extent| extent.last_ms).max(),
        })
    }

    async fn extent(&self, place: &Partition, end: u64) -> Result<Extent, ReadError> {
        let first = match self.log.history(place, 0, end, 1).await {
            // Kafka has deleted older ones.
            Err(ReadError::OutOfRange { first, .. }) => self.log.history(place, first, end, 1).await?,
            records => records?,
        };
        let Some(first) = first.first() else { return Ok(Extent::default()) };
        // The last offset may be a transaction's marker.
        let last = self.log.history(place, end.saturating_sub(2).max(first.offset), end, 2).await?;
        let time = |record: &Record| inspected(place, stored_in_any(record), false, (record, None)).time_ms;
        Ok(Extent { n_records: end - first.offset, first_ms: Some(time(first)), last_ms: last.last().map(time) })
    }

    /// At most `limit` records from `from` on; empty at the end.
    pub async fn chunk(&self, topic: &str, partition: u32, from: u64, limit: usize) -> anyhow::Result<Chunk> {
        let place = Partition::new(topic, partition);
        let end = self.log.ends(std::slice::from_ref(&place)).await?.first().copied().unwrap_or(0);
        if from > end {
            return Err(ReadError::OutOfRange { partition: place, wanted: from, first: 0, end }.into());
        }
        let records = self.log.history(&place, from, end, limit).await?;
        // Fewer than `limit` means these are all; after the last one there may be offsets without records.
        let behind = records.last().map_or(from, |last| last.offset + 1);
        let next = if records.len() < limit { end } else { behind };
        let journal = self.registry.find(topic);
        let verdicts = match journal {
            Some(journal) if !records.is_empty() => self.verdicts.verdicts(journal, from, next).await?,
            Some(_) | None => Vec::new(),
        };
        let verdict = |offset| verdicts.binary_search_by_key(&offset, |it| it.0).ok().map(|found| verdicts[found].1);
        let inspected = |record: &Record| {
            let stored = match journal {
                Some(_) => envelope::stored(self.log.as_ref(), record),
                None => stored_in_any(record),
            };
            inspected(&place, stored, journal.is_some(), (record, verdict(record.offset)))
        };
        let records = records.iter().filter(|record| journal.is_none() || !envelope::is_gap(record)).map(inspected);
        Ok(Chunk { records: records.collect(), next, end })
    }
}

/// The extent of a partition.
#[derive(Default)]
struct Extent {
    n_records: u64,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
}

/// The header of a record in any topic: records of public topics have none.
fn stored_in_any(record: &Record) -> Stored<'_> {
    Stored::of(|name| record.header(name), true)
}

fn inspected(
    place: &Partition,
    stored: Stored<'_>,
    is_journal: bool,
    (record, verdict): (&Record, Option<Verdict>),
) -> Inspected {
    let (kind, key, time_ms, headers, error) = match stored.decode() {
        Ok(Some(header)) => of_journal(&header),
        Ok(None) => of_public(record),
        Err(error) => (String::new(), String::new(), record.time_ms, Map::new(), Some(error.to_string())),
    };
    let value = serde_json::from_slice(&record.value);
    Inspected {
        topic: place.topic.to_string(),
        partition: place.index,
        offset: record.offset,
        time_ms,
        verdict: verdict.map(|verdict| {
            match verdict {
                Verdict::Accepted => "accepted",
                Verdict::Void => "void",
                Verdict::Parked => "parked",
                Verdict::Discarded => "discarded",
            }
            .to_owned()
        }),
        kind,
        key,
        headers,
        foreign: is_journal && stored == Stored::Foreign,
        value: value.unwrap_or_else(|_| String::from_utf8_lossy(&record.value).into_owned().into()),
        error,
        difference: if is_journal { envelope::difference(record) } else { None },
        warning: if is_journal { envelope::warning(record) } else { None },
    }
}

type Described = (String, String, i64, Map<String, Value>, Option<String>);

fn of_journal(header: &Header) -> Described {
    let id = |id: Option<uuid::Uuid>| id.map_or(Value::Null, |id| id.to_string().into());
    let expects = header.expects.iter().map(
        |expect| serde_json::json!({ "key": String::from(expect.key), "last": id(expect.last.map(|last| last.0)) }),
    );
    let mut headers = Map::new();
    headers.insert("id".to_owned(), header.id.to_string().into());
    headers.insert("writer".to_owned(), header.writer.to_string().into());
    headers.insert("expects".to_owned(), expects.collect());
    headers.insert("command".to_owned(), header.command.map_or(Value::Null, |it| String::from(it.key).into()));
    headers.insert("cause".to_owned(), id(header.origin.cause));
    headers.insert("correlation".to_owned(), id(header.origin.correlation));
    headers.insert("traceparent".to_owned(), header.origin.trace.clone().into());
    headers.retain(|_, value| !value.is_null());
    let about = header.expects.first().map(|expect| String::from(expect.key)).unwrap_or_default();
    (header.kind.clone(), about, header.time_ms, headers, None)
}

fn of_public(record: &Record) -> Described {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Map<String, Value> =
        record.headers.iter().map(|(name, value)| (name.to_string(), text(value).into())).collect();
    let kind = headers.get("ce_type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = record.key.as_ref().map(|key| text(key)).unwrap_or_default();
    (kind, key, record.time_ms, headers, None)
}

/// Why this program can't decode `record` as an event of its journal, without any value of it; `None` if it can.
pub fn unreadable(journal: &dyn AnyService, record: &Inspected) -> Option<String> {
    let name = Some(record.kind.as_str()).filter(|kind| decoding::is_identifier(kind)).unwrap_or("the record");
    let undecodable = |error: DecodeError| format!("{name} can't be decoded: {error}");
    if record.foreign {
        return None;
    }
    record.error.clone().or_else(|| match record.kind.as_str() {
        GENESIS => None,
        DISCARD => decoding::from_value::<Discard>(&record.value).err().map(undecodable),
        kind => match journal.kind_of(&record.value) {
            Ok(event) if event == kind => None,
            Ok(event) => Some(format!("its header says {name}, its payload is {event}")),
            Err(error) => Some(undecodable(error)),
        },
    })
}

/// Read models that are open in this process.
pub type Projections = Arc<[(ServiceName, Arc<dyn Projection>)]>;

/// The verdicts in read models that are open in this process.
pub struct InRows(pub Projections);

#[async_trait]
impl Verdicts for InRows {
    async fn verdicts(&self, of: &dyn AnyService, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError> {
        match self.0.iter().find(|(service, _)| *service == of.name()) {
            Some((_, projection)) => projection.verdicts(from, to).await,
            // Another process has it.
            None => Ok(Vec::new()),
        }
    }
}

/// The verdicts in the read models of a data folder that no process uses.
pub struct InFolder(std::path::PathBuf);

impl InFolder {
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }
}

#[async_trait]
impl Verdicts for InFolder {
    async fn verdicts(&self, of: &dyn AnyService, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError> {
        of.verdicts_in(&self.0, from, to).await
    }
}
