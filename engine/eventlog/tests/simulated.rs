//! The simulated log: what every log must do, and that its faults are what they say.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up fails")]

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use orderlog_eventlog::{
    AppendError, EventLog, Landed, LeaseError, NewRecord, Partition, ReadError, TopicKind, TopicSpec,
    conformance::Subject,
    conformance_suite,
    simulated::{Fault, SimulatedLog},
};

conformance_suite!(open);
conformance_suite!(open, several_instances);

async fn open() -> Subject {
    let log = SimulatedLog::new();
    let same = Arc::clone(&log);
    Subject::new(log, move || std::future::ready(Arc::clone(&same) as Arc<dyn EventLog>).boxed(), ())
}

async fn log() -> Arc<SimulatedLog> {
    let log = SimulatedLog::new();
    log.prepare(&[TopicSpec { name: "j".into(), kind: TopicKind::Journal }]).await.unwrap();
    log
}

fn record(value: &'static str) -> NewRecord {
    NewRecord { topic: "j".into(), partition: Some(0), key: None, headers: Vec::new(), value: value.into() }
}

async fn values(log: &SimulatedLog) -> Vec<String> {
    let journal = Partition::journal("j");
    let end = log.ends(std::slice::from_ref(&journal)).await.unwrap()[0];
    let records = log.fetch(&journal, &(0..end).collect::<Vec<_>>()).await.unwrap();
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
}

fn is_unknown(answers: &[Result<Landed, AppendError>]) -> bool {
    answers.iter().all(|answer| matches!(answer, Err(AppendError::Unknown { .. })))
}

#[tokio::test]
async fn faults_come_in_the_order_they_were_asked_for() {
    let log = log().await;
    for fault in [Fault::Refused, Fault::UnknownLost, Fault::UnknownLanded, Fault::Duplicated] {
        log.fail_next_append(fault);
    }
    assert!(matches!(log.append(vec![record("refused")]).await[..], [Err(AppendError::Refused { .. })]));
    assert!(is_unknown(&log.append(vec![record("lost")]).await));
    assert!(is_unknown(&log.append(vec![record("landed")]).await));
    assert_eq!(log.append(vec![record("a"), record("b")]).await, [Ok(Landed::journal(1)), Ok(Landed::journal(2))]);
    assert_eq!(log.append(vec![record("healthy")]).await, [Ok(Landed::journal(5))]);
    assert_eq!(values(&log).await, ["landed", "a", "b", "a", "b", "healthy"]);
}

#[tokio::test]
async fn held_appends_land_in_the_order_of_their_release() {
    let log = log().await;
    log.hold_appends();
    let first = log.append(vec![record("first")]);
    log.fail_next_append(Fault::UnknownLanded);
    let unknown = log.append(vec![record("late")]);
    let third = log.append(vec![record("third")]);
    assert!(is_unknown(&unknown.await), "answered before it lands");
    assert_eq!(log.append_raw(record("foreign")), 0);

    assert_eq!(log.held_appends(), 3);
    log.release_in(&[2]);
    assert_eq!(third.await, [Ok(Landed::journal(1))]);
    log.release_in(&[1, 0]);
    assert_eq!(first.await, [Ok(Landed::journal(3))]);
    let held = log.append(vec![record("last")]);
    log.release_appends();
    assert_eq!(held.await, [Ok(Landed::journal(4))]);
    assert_eq!(log.append(vec![record("free")]).await, [Ok(Landed::journal(5))]);
    assert_eq!(values(&log).await, ["foreign", "third", "late", "first", "last", "free"]);
}

#[tokio::test]
async fn a_reader_beyond_a_truncated_end_is_told_so() {
    let log = log().await;
    log.set_time_ms(42);
    log.append(vec![record("0"), record("1"), record("2")]).await;
    let mut reading = log.read(vec![(Partition::journal("j"), 0)]);
    let batch = reading.next().await.unwrap().unwrap();
    assert_eq!(batch.records.iter().map(|record| record.time_ms).collect::<Vec<_>>(), [42, 42, 42]);

    log.truncate("j", 1);
    let refused = reading.next().await.unwrap();
    assert!(matches!(refused, Err(ReadError::OutOfRange { wanted: 3, end: 1, .. })), "{refused:?}");
    assert_eq!(values(&log).await, ["0"]);
}

#[tokio::test]
async fn a_lease_can_be_taken_from_its_holder() {
    let log = log().await;
    let at = |next: u64| [(Partition::journal("j"), next.into())];
    let (one, two) = (log.lead("g", "j").await.unwrap(), log.lead("g", "j").await.unwrap());
    assert_eq!((*one.held().borrow(), *two.held().borrow()), (true, false));

    log.drop_lease_holder("g");
    assert_eq!((*one.held().borrow(), *two.held().borrow()), (false, true));
    assert_eq!(one.commit(&at(1)).await, Err(LeaseError::Lost));
    two.commit(&at(2)).await.unwrap();

    drop(one);
    log.drop_lease_holder("g");
    assert!(!*two.held().borrow(), "alone, and deposed all the same");
    let three = log.lead("g", "j").await.unwrap();
    assert!(*two.held().borrow(), "the one that has waited the longest");
    drop(two);
    let mut held = three.held();
    tokio::time::timeout(Duration::from_secs(5), held.wait_for(|held| *held)).await.unwrap().unwrap();
    assert_eq!(three.committed(&[Partition::journal("j")]).await, Ok(vec![Some(2.into())]));
}
