//! What a healthy Apache Kafka can't be asked for, such as leaders that lose records: librdkafka's mock of a broker stands in.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use orderlog_eventlog::{
    AppendError, Batch, EventLog, NewRecord, Partition, ReadError, Reading, TopicError, TopicKind, TopicSpec,
    kafka::{KafkaConfig, KafkaLog},
};
use rdkafka::{
    ClientContext,
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

/// A broker with the journal `orders`, which has these records.
async fn broker_with(values: &[&str]) -> (MockCluster<'static, impl ClientContext>, Arc<KafkaLog>, Partition) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("orders", 1, 1).unwrap();
    let log = KafkaLog::connect(KafkaConfig::new(mock.bootstrap_servers())).unwrap();
    for answer in log.append(values.iter().map(|value| record("orders", value)).collect()).await {
        answer.unwrap();
    }
    (mock, log, Partition::journal("orders"))
}

fn record(topic: &str, value: &str) -> NewRecord {
    NewRecord {
        topic: topic.into(),
        partition: Some(0),
        key: None,
        headers: Vec::new(),
        value: value.to_owned().into(),
    }
}

async fn next(reading: &mut Reading) -> Result<Batch, ReadError> {
    within(Duration::from_secs(20), reading.next()).await.expect("a reading never ends by itself")
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.expect("it takes too long")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_ends_when_an_offset_is_refused_though_the_log_has_been_filled_up_to_it_again() {
    let (mock, log, journal) = broker_with(&["a", "b"]).await;
    let mut reading = log.read(vec![(journal, 0)]);
    assert_eq!(next(&mut reading).await.unwrap().records.len(), 2);

    // Twice, because librdkafka makes "the end is reached" of its first answer there, whatever it says.
    mock.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE; 2]);
    let ended = next(&mut reading).await;
    assert!(matches!(&ended, Err(ReadError::Unavailable { reason }) if reason.contains("lost records")), "{ended:?}");
    assert_eq!(reading.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_is_not_allowed_says_so_instead_of_waiting() {
    let (mock, log, journal) = broker_with(&["a"]).await;
    mock.topic_error("orders", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let refused = next(&mut log.read(vec![(journal.clone(), 0)])).await;
    assert!(
        matches!(&refused, Err(ReadError::Unavailable { reason }) if reason.contains("authorization")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_waits_for_a_partition_without_a_leader() {
    let (mock, log, journal) = broker_with(&["a"]).await;
    mock.partition_leader("orders", 0, None).unwrap();
    let mut reading = log.read(vec![(journal, 0)]);
    // Longer than a topic may be missing.
    assert!(tokio::time::timeout(Duration::from_secs(2), reading.next()).await.is_err());
    mock.partition_leader("orders", 0, Some(1)).unwrap();
    assert_eq!(next(&mut reading).await.unwrap().records.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_partition_without_a_leader_is_known_as_soon_as_it_has_one() {
    let (mock, log, journal) = broker_with(&["a", "b"]).await;
    assert_eq!(log.ends(std::slice::from_ref(&journal)).await, Ok(vec![2]));
    mock.partition_leader("orders", 0, None).unwrap();
    let waiting = tokio::spawn({
        let (log, journal) = (Arc::clone(&log), journal.clone());
        async move { log.ends(&[journal]).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished(), "answered without a leader");
    mock.partition_leader("orders", 0, Some(1)).unwrap();
    assert_eq!(within(Duration::from_secs(2), waiting).await.unwrap(), Ok(vec![2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_does_not_answer_does_not_hold_up_the_ends_of_other_partitions() {
    let mock = MockCluster::new(2).unwrap();
    for (topic, leader) in [("orders", 1), ("billing", 2)] {
        mock.create_topic(topic, 1, 1).unwrap();
        mock.partition_leader(topic, 0, Some(leader)).unwrap();
    }
    let log = KafkaLog::connect(KafkaConfig::new(mock.bootstrap_servers())).unwrap();
    let both = [Partition::journal("orders"), Partition::journal("billing")];
    assert_eq!(log.ends(&both).await, Ok(vec![0, 0]));

    mock.broker_round_trip_time(1, Duration::from_secs(30)).unwrap();
    let waiting = tokio::spawn({
        let (log, orders) = (Arc::clone(&log), both[0].clone());
        async move { log.ends(&[orders]).await }
    });
    for _ in 0..3 {
        assert_eq!(within(Duration::from_secs(3), log.ends(&both[1..])).await, Ok(vec![0]));
    }
    let refused = within(Duration::from_secs(20), waiting).await.unwrap();
    assert!(matches!(refused, Err(ReadError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_its_leader_does_not_show_for_a_moment_is_fetched_all_the_same() {
    let (mock, log, journal) = broker_with(&["a", "b", "c"]).await;
    mock.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
    let fetched = within(Duration::from_secs(9), log.fetch(&journal, &[1])).await.unwrap();
    assert_eq!((fetched[0].offset, &fetched[0].value[..]), (1, &b"b"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_do_not_come_are_waited_for_no_longer_because_others_are_waited_for() {
    let (mock, log, journal) = broker_with(&["a", "b", "c"]).await;
    log.fetch(&journal, &[0]).await.unwrap();
    mock.broker_round_trip_time(1, Duration::from_secs(60)).unwrap();
    let all = join_all((0..3).map(|offset| {
        let (log, journal) = (Arc::clone(&log), journal.clone());
        async move { log.fetch(&journal, &[offset]).await }
    }));
    for refused in within(Duration::from_secs(15), all).await {
        assert!(matches!(refused, Err(ReadError::Unavailable { .. })), "{refused:?}");
    }
}

/// The mock makes every topic that it is asked about, as brokers with auto.create.topics.enable do, but none when it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_whether_a_topic_exists_does_not_create_it() {
    let mock = MockCluster::new(1).unwrap();
    let log = KafkaLog::connect(KafkaConfig::new(mock.bootstrap_servers())).unwrap();
    let prepared = log.prepare(&[TopicSpec { name: "orders".into(), kind: TopicKind::Journal }]).await;
    assert!(matches!(prepared, Err(TopicError::Unavailable { .. })), "{prepared:?}");
    assert_eq!(log.partitions("orders").await, Err(ReadError::UnknownTopic { topic: "orders".into() }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_failed_for_good_is_replaced() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("orders", 1, 1).unwrap();
    // Not allowed to be idempotent: fatal for the producer that asked, but not for the one that asks next.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED];
    mock.request_errors(RDKafkaApiKey::InitProducerId, &refused);
    let log = KafkaLog::connect(KafkaConfig::new(mock.bootstrap_servers())).unwrap();

    let mut failures = 0;
    let appended = within(Duration::from_secs(20), async {
        loop {
            match log.append(vec![record("orders", "a")]).await.remove(0) {
                Ok(offset) => return offset,
                Err(AppendError::Unknown { .. } | AppendError::Refused { .. } | AppendError::TooLarge { .. }) => {
                    failures += 1
                }
            }
        }
    });
    assert_eq!(appended.await.offset, 0);
    assert!(failures > 0, "the mock did not make the first producer fail");
}
