//! Whether public topics hold what the journal says: for each accepted record that the relay has come to, the events that the relay
//! makes of it, in the journal's order for each key.
//!
//! Deliberately absent: records of a topic that no record of the journal explains. They may be of a history that a restore took away.

use std::sync::Arc;

use orderlog_core::{
    decider::Decider,
    public::{Envelope, PublicEvent},
};
use orderlog_eventlog::{EventLog, NewRecord, Partition, ReadError, Record};
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

/// So many records are in memory at once.
const N_AT_A_TIME: usize = 2_000;
/// So many events are looked at again at once.
const N_DIFFERING: u32 = 100;
/// The header that names the event.
const ID: &str = "ce_id";
/// The header that names the version of the value's fields.
const SCHEMA: &str = "ce_dataschema";
/// The header that tells of the publication and not of the event.
const TRACE: &str = "ce_traceparent";

/// What came of a check of public topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Every record of the journal below this offset has been published.
    pub up_to: u64,
    /// The relay's position is not known, or is another log's: `up_to` is as far as the topics themselves go.
    pub is_position_lost: bool,
    /// So many events they have to tell.
    pub n_events: u64,
    /// What is wrong, at most 100 events of each kind, in the order of the journal.
    pub faults: Vec<PublicFault>,
}

/// What one pass over a journal's records and its public topics found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub published: Published,
    /// The records, as far as the digest chain does not cover them.
    pub envelopes: Envelopes,
}

/// Something that is wrong on a public topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicFault {
    pub topic: String,
    /// The partition; none if the event is on none.
    pub partition: Option<u32>,
    pub offset: Option<u64>,
    /// The event's id, where it is known.
    pub id: Option<Uuid>,
    /// The record of the journal that tells the event, where it is known.
    pub record: Option<u64>,
    pub why: String,
}

/// Check the public topics of a service, and what stands beside its journal's records. `rows` say which records there are, and
/// which are accepted.
///
/// # Errors
/// [`RebuildError`] if the log can't be read.
pub(crate) async fn check<D: Decider>(log: &Arc<dyn EventLog>, rows: Arc<Store<D>>) -> Result<Checked, RebuildError> {
    let log = Arc::clone(log);
    // SQLite blocks, and nobody waits for this.
    let checked = aside::run(format!("published-{}", D::JOURNAL), async move {
        let (events, envelopes) = (Publications::gather()?, Envelopes::default());
        let checking = Checking { log: log.as_ref(), rows: rows.as_ref(), events, envelopes };
        checking.run().await
    });
    checked.await?
}

struct Checking<'a, D: Decider> {
    log: &'a dyn EventLog,
    rows: &'a Store<D>,
    events: Publications,
    envelopes: Envelopes,
}

impl<D: Decider> Checking<'_, D> {
    async fn run(mut self) -> Result<Checked, RebuildError> {
        let checkpoint = self.rows.checkpoint().await?;
        let Some(genesis) = checkpoint.genesis else { return Ok(Checked::default()) };
        let position = relay_position::<D>(self.log).await?;
        let up_to = position.unwrap_or(u64::MAX).min(checkpoint.next);
        self.read_journal(genesis.log_id, checkpoint.next, up_to).await?;
        let mut faults = Vec::new();
        for (topic, _) in D::Published::TOPICS {
            for partition in self.log.partitions(topic).await? {
                faults.extend(self.find(&partition).await?);
            }
        }
        let mut n_events = self.events.join()?;
        self.approve(genesis.log_id).await?;
        if position.is_none() {
            n_events = self.events.expect_only_published()?;
        }
        faults.extend(self.events.faults()?.into_iter().map(PublicFault::of));
        let published = Published { up_to, is_position_lost: position.is_none(), n_events, faults };
        Ok(Checked { published, envelopes: self.envelopes })
    }

    /// Look at the records below `end`, and gather what those below `published` tell others.
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

    /// Gather what the accepted ones of these records tell others.
    async fn expect(&mut self, log_id: Uuid, records: &[Record]) -> Result<(), RebuildError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let unaccepted = self.rows.unaccepted(first.offset, last.offset + 1).await?.verdicts;
        let is_accepted = |record: &&Record| unaccepted.binary_search_by_key(&record.offset, |it| it.0).is_err();
        let mut expected = Vec::new();
        for record in records.iter().filter(is_accepted) {
            let published = published_by::<D>(log_id, record)?;
            expected.extend((0..).zip(&published).map(|(line, (envelope, event))| ExpectedEvent {
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

    /// Gather what a partition holds. Returns where records of it are damaged.
    async fn find(&mut self, partition: &Partition) -> Result<Vec<PublicFault>, RebuildError> {
        let end = self.log.ends(std::slice::from_ref(partition)).await?.first().copied().unwrap_or(0);
        let (mut next, mut damaged) = (0, Vec::new());
        while next < end {
            let records = match self.log.history(partition, next, end, N_AT_A_TIME).await {
                Ok(records) if records.is_empty() => break,
                Ok(records) => {
                    next = records.last().map_or(end, |last| last.offset + 1);
                    records
                }
                // What is before it can be read by itself, and so can what is behind it.
                Err(ReadError::Damaged { offset, reason, .. }) if offset >= next => {
                    damaged.push(PublicFault::at(partition, offset, format!("it is damaged: {reason}")));
                    let before: Vec<_> = (next..offset).collect();
                    next = offset + 1;
                    self.log.fetch(partition, &before).await?
                }
                Err(error) => return Err(error.into()),
            };
            let found: Vec<_> = records.iter().filter_map(|record| found_at(partition, record)).collect();
            self.events.find(&found)?;
        }
        Ok(damaged)
    }

    /// Look once more at what has other bytes than this program would write: another one may have written the same event.
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

/// How far the relay has come; none if that is not known, or was said of another log.
async fn relay_position<D: Decider>(log: &dyn EventLog) -> Result<Option<u64>, RebuildError> {
    let journal = Replica::<D>::journal();
    let kept = log.positions(&group_of(D::JOURNAL), std::slice::from_ref(&journal)).await?;
    let Some(position) = kept.into_iter().next().flatten() else { return Ok(None) };
    let end = log.ends(std::slice::from_ref(&journal)).await?.first().copied().unwrap_or(0);
    let is_of_this_log = position.next <= end && marks::stand(log, &position, &mut Vec::new()).await?;
    Ok(is_of_this_log.then_some(position.next))
}

/// Whether a copy tells what the journal says, in other bytes.
async fn is_the_same<D: Decider>(log: &dyn EventLog, log_id: Uuid, copy: &Differing) -> Result<bool, RebuildError> {
    let record = log.fetch(&Replica::<D>::journal(), &[copy.record]).await?;
    let partition = Partition::new(copy.topic.as_str(), copy.partition);
    let found = log.fetch(&partition, &[copy.offset]).await?;
    let (Some(record), Some(found)) = (record.first(), found.first()) else { return Ok(false) };
    let published = published_by::<D>(log_id, record)?;
    let expected = usize::try_from(copy.line).ok().and_then(|line| published.get(line));
    Ok(expected.is_some_and(|(_, expected)| is_same_event::<D::Published>(expected, found)))
}

/// The records that the relay makes of a record of the journal, each with its attributes.
fn published_by<D: Decider>(log_id: Uuid, record: &Record) -> Result<Vec<(Envelope, NewRecord)>, RebuildError> {
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

/// What tells an event from others: all of its record but the trace.
fn print_of(event: &NewRecord) -> u64 {
    let headers: Vec<_> = event.headers.iter().filter(|(name, _)| name != TRACE).cloned().collect();
    marks::print(event.key.as_ref(), &headers, &event.value)
}

/// The event that a record publishes; none if it has no id.
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

/// Whether a record tells the expected event in other bytes: with headers that others added, in other JSON, without a field that was
/// added later, or by a version of its fields that this program does not know.
fn is_same_event<E: PublicEvent>(expected: &NewRecord, found: &Record) -> bool {
    let mut attributes = expected.headers.iter().filter(|(name, _)| ![TRACE, SCHEMA].contains(&name.as_ref()));
    expected.key == found.key
        && attributes.all(|(name, value)| found.header(name) == Some(value))
        && (is_of_another_schema(expected, found) || has_same_fields::<E>(expected, &found.value))
}

fn is_of_another_schema(expected: &NewRecord, found: &Record) -> bool {
    let version = |text: &[u8]| -> Option<(Vec<u8>, u32)> {
        let at = text.iter().rposition(|byte| *byte == b':')?;
        Some((text[..at].to_vec(), std::str::from_utf8(&text[at + 1..]).ok()?.parse().ok()?))
    };
    let ours = expected.headers.iter().find(|(name, _)| name == SCHEMA).and_then(|(_, text)| version(text));
    let theirs = found.header(SCHEMA).and_then(|text| version(text));
    ours.zip(theirs).is_some_and(|(ours, theirs)| ours.0 == theirs.0 && ours.1 < theirs.1)
}

/// Fields may be added to an event, so an older program may have written fewer: those without which it can be read.
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
        assert!(!is_same("{}", "urn:orderlog:shelf.moved:2", |_| {}) && !is_same("{}", "", |_| {}));
        assert!(is_same(VALUE, schema, |record| record.headers.push((TRACE.into(), "00-1-2-01".into()))));
        assert!(is_same(VALUE, schema, |record| record.headers.push(("proxy".into(), "1".into()))));
        assert!(!is_same(VALUE, schema, |record| record.key = Some("b".into())));
        assert!(!is_same(VALUE, schema, |record| record.headers[1].1 = "shelf.moved".into()));
        assert!(!is_same(VALUE, schema, |record| drop(record.headers.remove(1))));
    }
}
