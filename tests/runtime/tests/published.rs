//! Public topics are held against the journal: what is missing, changed or out of order is found, and what is only there once more,
//! or of a history that was lost, is no fault.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orderlog_core::{header::Origin, key::HashKey};
use orderlog_domain::{
    customers::{Address, Command, Customers},
    values::{CustomerId, Email, Name},
};
use orderlog_eventlog::{EventLog, NewRecord, Partition, Record, simulated::SimulatedLog};
use orderlog_projections::customers::TABLES;
use orderlog_readmodel::Store;
use orderlog_runtime::{
    assembly,
    background::Troubles,
    environment::Machine,
    now_ms,
    rebuild::{
        self, Goal,
        published::{PublicFault, Published},
        republish::{self, RepublishError, Republished},
    },
    replica::{Replica, Setup},
};
use tokio::sync::watch;
use uuid::Uuid;

const CREATED: &str = "customer.created";
const UPDATED: &str = "customer.updated";
const N_CUSTOMERS: usize = 12;

type Topics = BTreeMap<Partition, Vec<Record>>;

fn setup(log: &Arc<SimulatedLog>) -> Setup {
    let log: Arc<dyn EventLog> = Arc::clone(log) as _;
    let (hash_key, writer) = (HashKey::from_secret("test"), Uuid::now_v7());
    Setup { log, hash_key, writer, n_slots_max: 100, environment: Arc::new(Machine) }
}

async fn replica(log: &Arc<SimulatedLog>, dir: &tempfile::TempDir) -> Replica<Customers> {
    let replica = Replica::start(setup(log), Arc::new(Store::open(dir.path(), &TABLES).await.unwrap())).await.unwrap();
    replica.ready().await.unwrap();
    replica
}

/// A log in which customers were created, and each was renamed twice; all of it is published in three partitions.
async fn log() -> Arc<SimulatedLog> {
    let (log, dir) = (SimulatedLog::new(), tempfile::tempdir().unwrap());
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let rows = Arc::new(Store::open(dir.path(), &TABLES).await.unwrap());
    let service = assembly::start_on(setup(&log), rows, &Troubles::default()).await.unwrap();
    service.replica.ready().await.unwrap();
    let execute = async |command| {
        service.replica.execute(command, None, Origin::default(), now_ms() + 60_000).await.unwrap();
    };
    for n in 0..N_CUSTOMERS {
        let customer_id = CustomerId(Uuid::now_v7());
        let email = Email::new(format!("ada{n}@example.com")).unwrap();
        let address = Address::new(email, service.replica.hash_key());
        execute(Command::Create { customer_id, name: Name::new("Ada").unwrap(), address }).await;
        for name in ["Ada King", "Ada Lovelace"] {
            execute(Command::Update { customer_id, name: Some(Name::new(name).unwrap()), address: None }).await;
        }
    }
    let journal = Partition::journal("customers");
    let end = log.ends(std::slice::from_ref(&journal)).await.unwrap()[0];
    for _ in 0..1_000 {
        if log.position("orderlog.customers", &journal) == Some(end) {
            return log;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the relay has not come to the end");
}

/// What verification says of another log, which holds the same but for what `change` does, with the positions of the first.
async fn verify(log: &SimulatedLog, change: impl FnOnce(&mut Topics)) -> Published {
    verified(&changed(log, change).await).await
}

async fn changed(log: &SimulatedLog, change: impl FnOnce(&mut Topics)) -> Arc<SimulatedLog> {
    let mut topics = log.contents();
    change(&mut topics);
    let copy = SimulatedLog::new();
    copy.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    for (partition, records) in topics {
        for Record { key, headers, value, .. } in records {
            let (topic, index) = (Arc::clone(&partition.topic), Some(partition.index));
            copy.append(vec![NewRecord { topic, partition: index, key, headers, value }]).await.remove(0).unwrap();
        }
    }
    copy.set_positions(log.all_positions());
    copy
}

async fn verified(log: &Arc<SimulatedLog>) -> Published {
    let dir = tempfile::tempdir().unwrap();
    let replica = replica(log, &dir).await;
    let rebuilding = replica.begin_rebuilding().unwrap();
    let report = rebuild::run(rebuilding, Goal::Verify, 0, &watch::Sender::new(None)).await.unwrap();
    assert_eq!(report.differences, []);
    report.published.unwrap()
}

/// A partition of the topic with at least so many records.
fn partition_with<'a>(topics: &'a mut Topics, topic: &str, n: usize) -> (u32, &'a mut Vec<Record>) {
    let found = topics.iter_mut().find(|(partition, records)| *partition.topic == *topic && records.len() >= n);
    let (partition, records) = found.expect("there are three partitions and a dozen keys");
    (partition.index, records)
}

fn only(published: &Published) -> &PublicFault {
    assert_eq!(published.faults.len(), 1, "{published:?}");
    &published.faults[0]
}

#[tokio::test]
async fn topics_that_hold_what_the_journal_says_have_no_faults() {
    let log = log().await;
    let published = verify(&log, |_| {}).await;
    let n = N_CUSTOMERS as u64 * 3;
    assert_eq!(published, Published { up_to: n + 1, is_position_lost: false, n_events: n, faults: Vec::new() });
}

async fn republish(log: &Arc<SimulatedLog>, is_dry_run: bool) -> Vec<Republished> {
    let dir = tempfile::tempdir().unwrap();
    let (replica, mut all) = (replica(log, &dir).await, Vec::new());
    let mut tell = |events: &[Republished]| all.extend_from_slice(events);
    let n_events = republish::republish(&replica, UPDATED, is_dry_run, &mut tell).await.unwrap();
    assert_eq!(n_events, N_CUSTOMERS as u64 * 2);
    all
}

#[tokio::test]
async fn what_is_missing_is_published_again_with_what_follows_it_in_order_and_only_once() {
    let log = log().await;
    let copy = changed(&log, |topics| drop(partition_with(topics, UPDATED, 2).1.remove(0))).await;
    let before = verified(&copy).await;
    assert!(before.is_position_lost && only(&before).why.contains("missing"), "{before:?}");
    let events = republish(&copy, true).await;
    assert_eq!(verified(&copy).await, before, "a dry run writes nothing");
    let [missing, following] = &events[..] else { panic!("both names of one customer: {events:?}") };
    assert!(missing.was_missing && !following.was_missing && missing.key == following.key, "{events:?}");
    assert_eq!((Some(missing.id), Some(missing.record)), (only(&before).id, only(&before).record));

    assert_eq!(republish(&copy, false).await, events);
    let after = verified(&copy).await;
    assert_eq!(after.faults, []);
    assert!(!after.is_position_lost, "the relay resumes from where it was");
    assert_eq!(republish(&copy, false).await, []);
}

#[tokio::test]
async fn nothing_is_published_again_while_a_server_may_publish() {
    let log = log().await;
    let _serving = log.lead("orderlog.customers", "customers").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let refused = republish::republish(&replica(&log, &dir).await, UPDATED, false, &mut |_| {}).await;
    assert!(matches!(refused, Err(RepublishError::Running("customers"))), "{refused:?}");
}

#[tokio::test]
async fn an_event_that_is_missing_is_named_with_its_record() {
    let log = log().await;
    // In the middle of a partition, and its first.
    for at in [1, 0] {
        let published = verify(&log, |topics| drop(partition_with(topics, CREATED, 3).1.remove(at))).await;
        let fault = only(&published);
        assert_eq!(
            (fault.topic.as_str(), fault.partition, fault.why.as_str()),
            (CREATED, None, "the event is missing")
        );
        assert!(fault.id.is_some() && fault.record.is_some(), "{fault:?}");
    }
    let published = verify(&log, |topics| topics.retain(|partition, _| *partition.topic != *CREATED)).await;
    assert_eq!(published.faults.len(), N_CUSTOMERS, "a whole topic");
}

#[tokio::test]
async fn an_event_that_says_something_else_is_named_with_its_place() {
    let log = log().await;
    let changes: [fn(&mut Record); 5] = [
        |record| record.value = String::from_utf8_lossy(&record.value).replace("true", "false").into(),
        |record| record.value = "no JSON".into(),
        |record| record.key = Some("another".into()),
        |record| record.headers.retain(|(name, _)| name != "ce_type"),
        |record| record.headers.iter_mut().filter(|(name, _)| name == "ce_type").for_each(|it| it.1 = UPDATED.into()),
    ];
    for change in changes {
        let published = verify(&log, |topics| change(&mut partition_with(topics, CREATED, 3).1[1])).await;
        let fault = only(&published);
        assert_eq!((fault.topic.as_str(), fault.offset), (CREATED, Some(1)), "{fault:?}");
        assert!(fault.partition.is_some() && fault.record.is_some(), "{fault:?}");
    }
}

#[tokio::test]
async fn headers_that_others_add_and_other_traces_are_no_faults() {
    let log = log().await;
    let published = verify(&log, |topics| {
        for record in topics.iter_mut().filter(|(it, _)| *it.topic == *CREATED).flat_map(|(_, records)| records) {
            record.headers.retain(|(name, _)| name != "ce_traceparent");
            record
                .headers
                .push(("ce_traceparent".into(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()));
            record.headers.push(("x-proxy".into(), "1".into()));
        }
    })
    .await;
    assert_eq!(published.faults, []);
}

#[tokio::test]
async fn events_of_one_key_in_another_order_are_named() {
    let log = log().await;
    let published = verify(&log, |topics| {
        let (_, records) = partition_with(topics, UPDATED, 4);
        let first = records.iter().position(|it| it.key == records[0].key).unwrap();
        let second = records.iter().rposition(|it| it.key == records[0].key).unwrap();
        assert_ne!(first, second, "it was renamed twice");
        records.swap(first, second);
    })
    .await;
    assert!(only(&published).why.contains("before an earlier one"), "{published:?}");
}

#[tokio::test]
async fn what_is_published_again_or_was_lost_by_a_restore_is_no_fault() {
    let log = log().await;
    let public = |topics: &mut Topics, change: fn(&mut Vec<Record>)| {
        topics.iter_mut().filter(|(it, _)| *it.topic != *"customers").for_each(|(_, records)| change(records));
    };
    let again = verify(&log, |topics| public(topics, |records| records.extend(records.clone()))).await;
    assert_eq!(again.faults, [], "all of it once more");
    // The last of each partition had other events under the same ids, as of records that the journal lost.
    let lost = verify(&log, |topics| {
        public(topics, |records| {
            let mut before = records.clone();
            if let Some(last) = before.last_mut() {
                last.value = "{\"lost\":true}".into();
            }
            let after = std::mem::replace(records, before);
            records.extend(after);
        });
    })
    .await;
    assert_eq!(lost.faults, [], "of a history that was lost");
    let other = verify(&log, |topics| {
        public(topics, |records| {
            let mut before = records.clone();
            for (name, value) in before.iter_mut().flat_map(|record| &mut record.headers) {
                if name == "ce_id" {
                    *value = Uuid::now_v7().to_string().into();
                }
            }
            let after = std::mem::replace(records, before);
            records.extend(after);
        });
    })
    .await;
    assert_eq!(other.faults, [], "of another log");
}

#[tokio::test]
async fn where_the_relay_has_no_position_in_this_log_topics_are_checked_as_far_as_they_go() {
    let log = log().await;
    // The last one of a partition: the relay's position names it.
    let published = verify(&log, |topics| drop(partition_with(topics, CREATED, 3).1.pop())).await;
    assert!(published.is_position_lost, "{published:?}");
    assert_eq!(only(&published).why, "the event is missing");
}
