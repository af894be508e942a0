//! Checks that public topics agree with the journal: for each accepted record that the relay has passed, they must contain the events
//! that the relay publishes for it, in the journal's order for each key.
//!
//! Records of a topic that no journal record explains are not reported. They may belong to a history that a restore removed.

use std::sync::Arc;

use orderlog_core::{
    decider::Decider,
    public::{Envelope, PublicEvent},
};
use orderlog_eventlog::{EventLog, NewRecord, Partition, ReadError, Record, TopicKind, TopicSpec};
use orderlog_readmodel::{Differing, ExpectedEvent, FaultyEvent, FoundEvent, PublicationFault, Publications, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::RebuildError;
use crate::{
    aside,
    assembly::group_of,
    cloudevents,
    envelope::Envelopes,
    marks, relay,
    replica::{Recorded, Replica},
};

/// The maximum number of records in memory.
const N_AT_A_TIME: usize = 2_000;
/// The number of differing events fetched at a time for a second check.
const N_DIFFERING: u32 = 100;
/// The header with the event's id.
const ID: &str = "ce_id";
/// The header with the version of the value's schema.
const SCHEMA: &str = "ce_dataschema";
/// The header that describes the publication rather than the event.
const TRACE: &str = "ce_traceparent";

/// The result of checking public topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Every journal record below this offset has been published.
    pub up_to: u64,
    /// Whether the relay's position is unknown or belongs to another log. `up_to` is then derived from the topics themselves.
    pub is_position_lost: bool,
    /// The number of events that the topics should contain.
    pub n_events: u64,
    /// The faults found, at most 100 events of each kind, in the order of the journal.
    pub faults: Vec<PublicFault>,
}

/// The findings of one pass over a journal's records and its public topics.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub published: Published,
    /// The findings about the parts of records that the digest chain does not cover.
    pub envelopes: Envelopes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicFault {
    pub topic: String,
    /// The partition; `None` if the event is in no partition.
    pub partition: Option<u32>,
    pub offset: Option<u64>,
    /// The event's id, if known.
    pub id: Option<Uuid>,
    /// The offset of the event's journal record, if known.
    pub record: Option<u64>,
    pub why: String,
}

/// Checks the public topics of a service, and the envelopes of its journal's records. `rows` says which records exist and which are
/// accepted.
pub(crate) async fn check<D: Decider>(log: &Arc<dyn EventLog>, rows: Arc<Store<D>>) -> Result<Checked, RebuildError> {
    let log = Arc::clone(log);
    // SQLite blocks, and this is not urgent.
    let checked = aside::run(format!("published-{}", D::JOURNAL), async move {
        let topics = D::Published::TOPICS.iter().map(|(topic, _)| *topic).collect();
        Checking::new(log.as_ref(), rows.as_ref(), topics)?.run().await
    });
    checked.await?
}

/// A comparison of a journal with some of its public topics.
pub(super) struct Checking<'a, D: Decider> {
    log: &'a dyn EventLog,
    rows: &'a Store<D>,
    topics: Vec<&'static str>,
    pub events: Publications,
    envelopes: Envelopes,
    damaged: Vec<PublicFault>,
}

/// What was compared.
pub(super) struct Collected {
    pub log_id: Uuid,
    /// Every journal record below this offset should be published.
    pub up_to: u64,
    pub n_events: u64,
}

impl<'a, D: Decider> Checking<'a, D> {
    pub fn new(log: &'a dyn EventLog, rows: &'a Store<D>, topics: Vec<&'static str>) -> Result<Self, RebuildError> {
        let (events, envelopes) = (Publications::gather()?, Envelopes::default());
        Ok(Self { log, rows, topics, events, envelopes, damaged: Vec::new() })
    }

    async fn run(mut self) -> Result<Checked, RebuildError> {
        let position = relay_position::<D>(self.log).await?;
        let Some(collected) = self.collect(position.unwrap_or(u64::MAX)).await? else { return Ok(Checked::default()) };
        let Collected { up_to, mut n_events, .. } = collected;
        if position.is_none() {
            n_events = self.events.expect_only_published()?;
        }
        let mut faults = self.damaged;
        faults.extend(self.events.faults()?.into_iter().map(PublicFault::of));
        let published = Published { up_to, is_position_lost: position.is_none(), n_events, faults };
        Ok(Checked { published, envelopes: self.envelopes })
    }

    /// Collects and joins both sides, with the events of the records below `published`. `None` if the journal has not begun.
    pub async fn collect(&mut self, published: u64) -> Result<Option<Collected>, RebuildError> {
        let checkpoint = self.rows.checkpoint().await?;
        let Some(genesis) = checkpoint.genesis else { return Ok(None) };
        let up_to = published.min(checkpoint.next);
        self.read_journal(genesis.log_id, checkpoint.next, up_to).await?;
        for topic in self.topics.clone() {
            for (partition, start) in beginnings(self.log, topic).await? {
                self.find(&partition, start).await?;
            }
        }
        let n_events = self.events.join()?;
        self.approve(genesis.log_id).await?;
        Ok(Some(Collected { log_id: genesis.log_id, up_to, n_events }))
    }

    /// Checks the records below `end`, and collects the public events of those below `published`.
    async fn read_journal(&mut self, log_id: Uuid, end: u64, published: u64) -> Result<(), RebuildError> {
        let (journal, mut next) = (Replica::<D>::journal(), 0);
        while next < end {
            let records = self.log.history(&journal, next, end, N_AT_A_TIME).await?;
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            records.iter().for_each(|record| self.envelopes.look_at(record));
            let n_published = records.partition_point(|record| record.offset < published);
            self.expect(log_id, &records[..n_published]).await?;
        }
        Ok(())
    }

    /// Collects the public events of the accepted ones among these records.
    async fn expect(&mut self, log_id: Uuid, records: &[Record]) -> Result<(), RebuildError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let unaccepted = self.rows.unaccepted(first.offset, last.offset + 1).await?.verdicts;
        let is_accepted = |record: &&Record| unaccepted.binary_search_by_key(&record.offset, |it| it.0).is_err();
        let mut expected = Vec::new();
        for record in records.iter().filter(is_accepted) {
            let published = published_by::<D>(log_id, record)?;
            let published = (0..).zip(&published).filter(|(_, (_, event))| self.topics.contains(&&*event.topic));
            expected.extend(published.map(|(line, (envelope, event))| ExpectedEvent {
                topic: event.topic.to_string(),
                id: envelope.id,
                key: marks::print(event.key.as_ref(), &[], &[]),
                record: record.offset,
                line,
                print: print_of(event),
            }));
        }
        Ok(self.events.expect(&expected)?)
    }

    /// Collects the contents of a partition, which begins at `next`.
    async fn find(&mut self, partition: &Partition, mut next: u64) -> Result<(), RebuildError> {
        let end = self.log.ends(std::slice::from_ref(partition)).await?.first().copied().unwrap_or(0);
        while next < end {
            let records = match self.log.history(partition, next, end, N_AT_A_TIME).await {
                Ok(records) if records.is_empty() => break,
                Ok(records) => {
                    next = records.last().map_or(end, |last| last.offset + 1);
                    records
                }
                // The records before and after the damaged one can still be read.
                Err(ReadError::Damaged { offset, reason, .. }) if offset >= next => {
                    self.damaged.push(PublicFault::at(partition, offset, format!("it is damaged: {reason}")));
                    let before: Vec<_> = (next..offset).collect();
                    next = offset + 1;
                    self.log.fetch(partition, &before).await?
                }
                Err(error) => return Err(error.into()),
            };
            let found: Vec<_> = records.iter().filter_map(|record| found_at(partition, record)).collect();
            self.events.find(&found)?;
        }
        Ok(())
    }

    /// Checks again the events whose bytes differ from what this version would write: another version may have written the same event.
    async fn approve(&mut self, log_id: Uuid) -> Result<(), RebuildError> {
        let mut last: Option<Differing> = None;
        loop {
            let differing = self.events.differing(last.as_ref(), N_DIFFERING)?;
            if differing.is_empty() {
                return Ok(());
            }
            for copy in &differing {
                if is_the_same::<D>(self.log, log_id, copy).await? {
                    self.events.approve(copy)?;
                }
            }
            last = differing.into_iter().last();
        }
    }
}

/// Returns the partitions of a public topic with their first offsets.
async fn beginnings(log: &dyn EventLog, topic: &'static str) -> Result<Vec<(Partition, u64)>, RebuildError> {
    let spec = TopicSpec { name: topic.into(), kind: TopicKind::Public };
    let states = log.inspect(&[spec]).await.map_err(|error| ReadError::Unavailable { reason: error.to_string() })?;
    let starts = states.into_iter().flat_map(|state| state.starts);
    let partitions = log.partitions(topic).await?;
    Ok(partitions.into_iter().zip(starts).collect())
}

/// Returns the relay's position; `None` if it is unknown or belongs to another log.
async fn relay_position<D: Decider>(log: &dyn EventLog) -> Result<Option<u64>, RebuildError> {
    let journal = Replica::<D>::journal();
    let kept = log.positions(&group_of(D::JOURNAL), std::slice::from_ref(&journal)).await?;
    let Some(position) = kept.into_iter().next().flatten() else { return Ok(None) };
    let end = log.ends(std::slice::from_ref(&journal)).await?.first().copied().unwrap_or(0);
    let is_of_this_log =
        position.next <= end && !marks::stand(log, std::slice::from_ref(&position)).await?.contains(&false);
    Ok(is_of_this_log.then_some(position.next))
}

/// Whether a published event agrees with the journal, in other bytes.
async fn is_the_same<D: Decider>(log: &dyn EventLog, log_id: Uuid, copy: &Differing) -> Result<bool, RebuildError> {
    let record = log.fetch(&Replica::<D>::journal(), &[copy.record]).await?;
    let partition = Partition::new(copy.topic.as_str(), copy.partition);
    let found = log.fetch(&partition, &[copy.offset]).await?;
    let (Some(record), Some(found)) = (record.first(), found.first()) else { return Ok(false) };
    let published = published_by::<D>(log_id, record)?;
    let expected = usize::try_from(copy.line).ok().and_then(|line| published.get(line));
    Ok(expected.is_some_and(|(_, expected)| is_same_event::<D::Published>(expected, found)))
}

/// Returns the records that the relay publishes for a journal record, each with its attributes.
pub(super) fn published_by<D: Decider>(
    log_id: Uuid,
    record: &Record,
) -> Result<Vec<(Envelope, NewRecord)>, RebuildError> {
    let untranslatable = |error| RebuildError::Damage(format!("{}@{}: {error}", D::JOURNAL, record.offset));
    let Some(recorded) = Recorded::<D>::decode(record).map_err(untranslatable)? else { return Ok(Vec::new()) };
    let events = relay::events_of(log_id, &recorded).into_iter();
    Ok(events
        .map(|(envelope, event)| {
            let record = cloudevents::encode(&envelope, &event, D::JOURNAL);
            (envelope, record)
        })
        .collect())
}

/// A fingerprint of an event: its whole record except for the trace and the address of its schema.
fn print_of(event: &NewRecord) -> u64 {
    let headers = event.headers.iter().filter(|(name, _)| name != TRACE).cloned();
    let headers: Vec<_> = headers
        .map(|(name, value)| match cloudevents::schema_named(&value).filter(|_| name == SCHEMA) {
            Some((topic, version)) => (name, format!("{topic}:{version}").into()),
            None => (name, value),
        })
        .collect();
    marks::print(event.key.as_ref(), &headers, &event.value)
}

/// Returns the event that a record publishes; `None` if it has no id.
fn found_at(partition: &Partition, record: &Record) -> Option<FoundEvent> {
    let id = record.header(ID).and_then(|id| Uuid::try_parse_ascii(id).ok())?;
    let event = NewRecord {
        topic: Arc::clone(&partition.topic),
        partition: None,
        key: record.key.clone(),
        headers: record.headers.clone(),
        value: record.value.clone(),
    };
    let (topic, offset) = (partition.topic.to_string(), record.offset);
    Some(FoundEvent { topic, partition: partition.index, offset, id, print: print_of(&event) })
}

/// Whether a record is the expected event in other bytes: with headers added by others, in other JSON, without a field that was added
/// later, or in a schema version that this program does not know.
fn is_same_event<E: PublicEvent>(expected: &NewRecord, found: &Record) -> bool {
    let mut attributes = expected.headers.iter().filter(|(name, _)| ![TRACE, SCHEMA].contains(&name.as_ref()));
    expected.key == found.key
        && attributes.all(|(name, value)| found.header(name) == Some(value))
        && (is_of_another_schema(expected, found) || has_same_fields::<E>(expected, &found.value))
}

fn is_of_another_schema(expected: &NewRecord, found: &Record) -> bool {
    let ours = expected.headers.iter().find(|(name, _)| name == SCHEMA);
    let ours = ours.and_then(|(_, id)| cloudevents::schema_named(id));
    let theirs = found.header(SCHEMA).and_then(|id| cloudevents::schema_named(id));
    ours.zip(theirs).is_some_and(|(ours, theirs)| ours.0 == theirs.0 && ours.1 < theirs.1)
}

/// Fields may be added to an event, so an older version may have written fewer, as long as the event can be decoded without them.
fn has_same_fields<E: PublicEvent>(expected: &NewRecord, found: &[u8]) -> bool {
    let fields = |json: &[u8]| serde_json::from_slice::<Map<String, Value>>(json).ok();
    let (Some(expected_fields), Some(found_fields)) = (fields(&expected.value), fields(found)) else { return false };
    E::from_json(&expected.topic, found).is_ok()
        && found_fields.iter().all(|(name, value)| expected_fields.get(name) == Some(value))
}

impl PublicFault {
    fn at(partition: &Partition, offset: u64, why: String) -> Self {
        let (topic, index) = (partition.topic.to_string(), partition.index);
        Self { topic, partition: Some(index), offset: Some(offset), id: None, record: None, why }
    }

    fn of(event: FaultyEvent) -> Self {
        let FaultyEvent { fault, topic, place, id, record } = event;
        let why = match fault {
            PublicationFault::Missing => "the event is missing",
            PublicationFault::Wrong => "the event is not what the journal says",
            PublicationFault::Disordered => "the event stands before an earlier one of the same key",
        };
        let (partition, offset) = place.unzip();
        Self { topic, partition, offset, id: Some(id), record: Some(record), why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Published;

    fn event(value: &str, schema: &str) -> NewRecord {
        let text = |name: &'static str, text: &str| (name.into(), text.to_owned().into());
        NewRecord {
            topic: "shelf.weighed".into(),
            partition: None,
            key: Some("a".into()),
            headers: vec![text(ID, "1"), text("ce_type", "shelf.weighed"), text(SCHEMA, schema)],
            value: value.to_owned().into(),
        }
    }

    const VALUE: &str = r#"{"shelf":"a","grams":1,"scale":"big","version":2}"#;

    fn is_same(value: &str, schema: &str, change: impl FnOnce(&mut Record)) -> bool {
        let NewRecord { key, headers, value, .. } = event(value, schema);
        let mut record = Record { offset: 0, time_ms: 0, key, headers, value };
        change(&mut record);
        is_same_event::<Published>(&event(VALUE, "urn:orderlog:shelf.weighed:1"), &record)
    }

    #[test]
    fn an_event_is_the_same_in_other_bytes_but_not_with_another_meaning() {
        let schema = "urn:orderlog:shelf.weighed:1";
        let same = |value: &str| is_same(value, schema, |_| {});
        assert!(same(VALUE) && same(&VALUE.replace("\"grams\":1", " \"grams\" : 1 ")));
        assert!(same(&VALUE.replace("\"scale\":\"big\",", "")), "from before there was this field");
        assert!(!same(&VALUE.replace("\"grams\":1", "\"grams\":2")));
        assert!(!same(&VALUE.replace("\"grams\":1,", "")), "a field that was always there");
        assert!(!same(&VALUE.replace("\"grams\":1", "\"grams\":1,\"more\":2")), "a field that this version has not");
        assert!(!same("{") && !same("[]") && !same(""));
        assert!(is_same("{}", "urn:orderlog:shelf.weighed:2", |_| {}), "a version that this program does not know");
        assert!(is_same("{}", "https://a.example/schemas/shelf.weighed/2", |_| {}), "the same at its address");
        let prints =
            [schema, "https://a.example/schemas/shelf.weighed/1"].map(|schema| print_of(&event(VALUE, schema)));
        assert_eq!(prints[0], prints[1], "the address of the schemas may change");
        assert!(!is_same("{}", "urn:orderlog:shelf.moved:2", |_| {}) && !is_same("{}", "", |_| {}));
        assert!(is_same(VALUE, schema, |record| record.headers.push((TRACE.into(), "00-1-2-01".into()))));
        assert!(is_same(VALUE, schema, |record| record.headers.push(("proxy".into(), "1".into()))));
        assert!(!is_same(VALUE, schema, |record| record.key = Some("b".into())));
        assert!(!is_same(VALUE, schema, |record| record.headers[1].1 = "shelf.moved".into()));
        assert!(!is_same(VALUE, schema, |record| drop(record.headers.remove(1))));
    }
}
