//! The log on a real Apache Kafka, whose brokers the variable `KAFKA` names (`tests/run` starts one): what every log must
//! do, and what only Kafka has, such as topics that others configure. What goes wrong in it is in `kafka_faults`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt, StreamExt,
    future::{join, join_all},
};
use orderlog_eventlog::{
    AppendError, EventLog, Landed, LeaseError, Mark, NewRecord, Partition, Position, ReadError, TopicError, TopicKind,
    TopicSpec,
    conformance::Subject,
    conformance_suite,
    kafka::{ConnectError, KafkaConfig, KafkaLog},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use uuid::Uuid;

conformance_suite!(open);
conformance_suite!(open, several_instances);
conformance_suite!(open: closing_hands_the_lease_over);

async fn open() -> Subject {
    let config = config();
    let again = config.clone();
    let another = move || std::future::ready(connect(&again) as Arc<dyn EventLog>).boxed();
    Subject::new(connect(&config), another, ())
}

fn brokers() -> String {
    std::env::var("KAFKA").expect("KAFKA must name the brokers to test against, as host:port; tests/run starts one")
}

/// Names of its own for each test, on one broker for all.
fn config() -> KafkaConfig {
    KafkaConfig { topic_prefix: format!("{}.", Uuid::now_v7().simple()), ..KafkaConfig::new(brokers()) }
}

fn connect(config: &KafkaConfig) -> Arc<KafkaLog> {
    KafkaLog::connect(config.clone()).unwrap()
}

fn journal(name: &str) -> TopicSpec {
    TopicSpec { name: name.into(), kind: TopicKind::Journal }
}

fn public(name: &str) -> TopicSpec {
    TopicSpec { name: name.into(), kind: TopicKind::Public }
}

fn record(topic: &str, value: impl Into<bytes::Bytes>) -> NewRecord {
    NewRecord { topic: topic.into(), partition: Some(0), key: None, headers: Vec::new(), value: value.into() }
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

async fn create(config: &KafkaConfig, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let name = format!("{}{name}", config.topic_prefix);
    let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for (setting, value) in settings {
        topic = topic.set(setting, value);
    }
    let created = admin().create_topics(&[topic], &AdminOptions::new()).await.unwrap();
    created.into_iter().for_each(|created| drop(created.unwrap()));
}

async fn settings_of(config: &KafkaConfig, name: &str) -> ConfigResource {
    let name = format!("{}{name}", config.topic_prefix);
    let described = admin().describe_configs(&[ResourceSpecifier::Topic(&name)], &AdminOptions::new()).await.unwrap();
    described.into_iter().next().unwrap().unwrap()
}

const KEPT: &[(&str, &str)] = &[("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")];

async fn drift(config: &KafkaConfig, spec: TopicSpec) -> (String, String, String) {
    match connect(config).prepare(&[spec]).await {
        Err(TopicError::Drift { topic, setting, found, .. }) => (topic.to_string(), setting, found),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn topics_are_made_to_keep_their_records_for_ever() {
    let config = config();
    let log = connect(&config);
    let warnings = log.prepare(&[journal("orders"), public("order.created")]).await.unwrap();
    // The test broker is alone.
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("orders, order.created"), "{warnings:?}");

    assert_eq!(log.partitions("orders").await.unwrap(), [Partition::journal("orders")]);
    assert_eq!(log.partitions("order.created").await.unwrap().len(), 3);
    for name in ["orders", "order.created"] {
        let settings = settings_of(&config, name).await;
        let value = |setting: &str| settings.get(setting).unwrap().value.clone().unwrap();
        assert_eq!(value("retention.ms"), "-1");
        assert_eq!(value("retention.bytes"), "-1");
        assert_eq!(value("cleanup.policy"), "delete");
        assert_eq!(value("unclean.leader.election.enable"), "false");
    }
}

#[tokio::test]
async fn several_instances_may_prepare_the_same_topics_at_once() {
    let config = config();
    let topics = [journal("orders"), public("order.created"), public("order.paid")];
    let all = (0..4).map(|_| {
        let (log, topics) = (connect(&config), topics.clone());
        async move { log.prepare(&topics).await }
    });
    for prepared in join_all(all).await {
        prepared.unwrap();
    }
}

#[tokio::test]
async fn a_journal_that_forgets_after_seven_days_is_refused() {
    let config = config();
    create(&config, "orders", 1, &[KEPT, &[("retention.ms", "604800000")]].concat()).await;
    let found = drift(&config, journal("orders")).await;
    assert_eq!(found, ("orders".to_owned(), "retention.ms".to_owned(), "604800000".to_owned()));
}

#[tokio::test]
async fn a_public_topic_that_forgets_by_size_is_refused() {
    let config = config();
    create(&config, "order.paid", 2, &[KEPT, &[("retention.bytes", "1000000")]].concat()).await;
    let found = drift(&config, public("order.paid")).await;
    assert_eq!(found, ("order.paid".to_owned(), "retention.bytes".to_owned(), "1000000".to_owned()));
}

#[tokio::test]
async fn a_compacted_journal_is_refused() {
    let config = config();
    create(&config, "orders", 1, &[KEPT, &[("cleanup.policy", "compact")]].concat()).await;
    let found = drift(&config, journal("orders")).await;
    assert_eq!(found, ("orders".to_owned(), "cleanup.policy".to_owned(), "compact".to_owned()));
}

#[tokio::test]
async fn a_journal_whose_replicas_may_lack_records_is_refused() {
    let config = config();
    create(&config, "orders", 1, &[KEPT, &[("unclean.leader.election.enable", "true")]].concat()).await;
    let found = drift(&config, journal("orders")).await;
    assert_eq!(found, ("orders".to_owned(), "unclean.leader.election.enable".to_owned(), "true".to_owned()));
}

#[tokio::test]
async fn a_journal_of_two_partitions_is_refused() {
    let config = config();
    create(&config, "orders", 2, KEPT).await;
    let found = drift(&config, journal("orders")).await;
    assert_eq!(found, ("orders".to_owned(), "partitions".to_owned(), "2".to_owned()));
}

fn refused(setting: &str, value: &str) -> Option<ConnectError> {
    let mut config = KafkaConfig::new("localhost:1");
    config.extra.insert(setting.to_owned(), value.to_owned());
    KafkaLog::connect(config).err()
}

#[tokio::test]
async fn settings_that_the_guarantees_rest_on_cannot_be_changed_under_any_of_their_names() {
    for (name, value) in [
        ("acks", "1"),
        ("request.required.acks", "1"),
        ("delivery.timeout.ms", "1000"),
        ("retries", "0"),
        ("max.in.flight", "1"),
        ("metadata.broker.list", "elsewhere:9092"),
        ("transactional.id", "x"),
        ("group.instance.id", "x"),
        ("delivery.report.only.error", "true"),
    ] {
        assert_eq!(refused(name, value), Some(ConnectError::Reserved { name: name.to_owned() }));
    }
    assert_eq!(refused("client.id", "x"), None);
    for (name, value) in
        [("no.such.setting", "hunter2"), ("security.protocol", "hunter2"), ("socket.timeout.ms", "hunter2")]
    {
        let told = refused(name, value).map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(name) && !told.contains("hunter2"), "a value may be a password: {told}");
    }
    assert_eq!(KafkaLog::connect(KafkaConfig::new(" ")).err(), Some(ConnectError::NoBrokers));
}

#[tokio::test]
async fn tls_and_sasl_are_built_in() {
    for protocol in ["plaintext", "ssl"] {
        assert_eq!(refused("security.protocol", protocol), None);
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let settings = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "orderlog"),
            ("sasl.password", "x"),
        ];
        let extra = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config = KafkaConfig { extra, ..KafkaConfig::new(brokers()) };
        assert_eq!(KafkaLog::connect(config).err(), None, "{mechanism}");
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_the_others_are_not() {
    let config = config();
    let log = connect(&config);
    log.prepare(&[journal("orders")]).await.unwrap();
    let records = vec![record("orders", "a"), record("orders", vec![0; 3_000_000]), record("orders", "b")];
    let answers = log.append(records).await;
    assert_eq!(answers[0], Ok(Landed::journal(0)));
    assert!(matches!(answers[1], Err(AppendError::TooLarge { .. })), "{:?}", answers[1]);
    assert_eq!(answers[2], Ok(Landed::journal(1)));
}

#[tokio::test]
async fn a_journal_that_takes_no_large_records_is_refused() {
    let config = config();
    create(&config, "orders", 1, &[KEPT, &[("max.message.bytes", "100000")]].concat()).await;
    let found = drift(&config, journal("orders")).await;
    assert_eq!(found, ("orders".to_owned(), "max.message.bytes".to_owned(), "100000".to_owned()));
}

/// A broker that finds a request too large says so of every record in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_always_refuses_is_told_apart_from_what_only_stood_beside_it() {
    let config = config();
    let log = connect(&config);
    log.prepare(&[journal("orders")]).await.unwrap();
    let name = format!("{}orders", config.topic_prefix);
    let lower = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("max.message.bytes", "10000");
    admin().alter_configs(&[lower], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let answers = loop {
        let records = vec![record("orders", "small"), record("orders", vec![0; 20_000])];
        let answers = within(Duration::from_secs(20), log.append(records)).await;
        // A broker may hear of the change a moment later.
        if answers[1].is_err() || Instant::now() > deadline {
            break answers;
        }
    };
    let told = answers[1].as_ref().unwrap_err();
    assert!(matches!(told, AppendError::TooLarge { reason } if reason.contains("max.message.bytes=10000")), "{told}");
    assert!(matches!(answers[0], Ok(_) | Err(AppendError::Unknown { .. })), "{:?}", answers[0]);
    within(Duration::from_secs(20), log.append(vec![record("orders", "alone")])).await[0].clone().unwrap();
}

/// The marker behind a transaction has an offset, and is no record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_ends_in_a_marker_of_somebodys_transaction_comes_to_an_end() {
    let config = config();
    let log = connect(&config);
    log.prepare(&[journal("orders")]).await.unwrap();
    log.append(vec![record("orders", "own")]).await[0].clone().unwrap();
    let name = format!("{}orders", config.topic_prefix);
    let foreign: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("transactional.id", &name).create().unwrap();
    let wait = Duration::from_secs(30);
    foreign.init_transactions(wait).unwrap();
    foreign.begin_transaction().unwrap();
    foreign.send(BaseRecord::<(), _>::to(&name).partition(0).payload("foreign")).unwrap();
    foreign.commit_transaction(wait).unwrap();

    // Two records, and a marker, which comes a moment after the commit.
    let watching: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let deadline = Instant::now() + wait;
    while watching.fetch_watermarks(&name, 0, wait).unwrap() != (0, 3) {
        assert!(Instant::now() < deadline, "the brokers' end is {:?}", watching.fetch_watermarks(&name, 0, wait));
    }
    let journal = Partition::journal("orders");
    let end = async || log.ends(std::slice::from_ref(&journal)).await.unwrap()[0];
    assert_eq!(end().await, 2, "one past the last record");
    let part = async |from, end, limit| {
        let records = within(Duration::from_secs(8), log.history(&journal, from, end, limit)).await.unwrap();
        records.into_iter().map(|record| (record.offset, record.value)).collect::<Vec<_>>()
    };
    let both = [(0, "own".into()), (1, "foreign".into())];
    assert_eq!(part(0, 2, 10).await, both);
    // The brokers' own end, as others may tell it.
    assert_eq!(part(0, 3, 10).await, both);
    assert_eq!(part(2, 3, 10).await, []);
    assert_eq!(log.append(vec![record("orders", "next")]).await[0].clone().unwrap().offset, 3);
    assert_eq!(end().await, 4);
    assert_eq!(part(2, 4, 10).await, [(3, "next".into())]);
}

/// Who holds the lease can be found by the others, as long as they have the same brokers.
#[tokio::test]
async fn the_holder_of_a_lease_says_where_it_is_reached() {
    let config = config();
    let at = |address: &str| connect(&KafkaConfig { reached_at: Some(address.to_owned()), ..config.clone() });
    let (one, two) = (at("http://one:1"), at("http://two:2"));
    let journal = Partition::journal("orders");
    one.prepare(&[TopicSpec { name: "orders".into(), kind: TopicKind::Journal }]).await.unwrap();
    let first = one.lead("group", "orders").await.unwrap();
    first.held().wait_for(|held| *held).await.unwrap();
    let second = two.lead("group", "orders").await.unwrap();
    assert_eq!(second.holder().await, Ok(None), "nobody has kept anything");
    let marks = vec![Mark { partition: journal.clone(), offset: 0, print: 1 }];
    first.commit(&[(journal.clone(), Position { next: 1, marks })]).await.unwrap();
    assert_eq!(second.holder().await, Ok(Some("http://one:1".to_owned())));
    one.close().await;
    second.held().wait_for(|held| *held).await.unwrap();
    second.commit(&[(journal, 0.into())]).await.unwrap();
    assert_eq!(second.holder().await, Ok(Some("http://two:2".to_owned())));
}

/// A broker that says so may not know the topic yet, and another one may have stored the record before.
#[tokio::test]
async fn that_a_topic_is_unknown_proves_nothing_about_a_record_on_its_way() {
    let log = connect(&config());
    let answers = log.append(vec![record("nowhere", "a")]).await;
    assert!(matches!(answers[0], Err(AppendError::Unknown { .. })), "{:?}", answers[0]);
    assert!(matches!(log.partitions("nowhere").await, Err(ReadError::UnknownTopic { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_only_just_being_created_is_waited_for() {
    let config = config();
    let log = connect(&config);
    let (partitions, ()) = join(log.partitions("orders"), create(&config, "orders", 1, KEPT)).await;
    assert_eq!(partitions, Ok(vec![Partition::journal("orders")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_ends_when_its_topic_is_made_anew() {
    let config = config();
    let log = connect(&config);
    log.prepare(&[journal("orders")]).await.unwrap();
    log.append(vec![record("orders", "a"), record("orders", "b")]).await;
    let mut reading = log.read(vec![(Partition::journal("orders"), 0)]);
    assert_eq!(reading.next().await.unwrap().unwrap().records.len(), 2);

    let name = format!("{}orders", config.topic_prefix);
    admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
    let other = connect(&config);
    other.prepare(&[journal("orders")]).await.unwrap();
    other.append(vec![record("orders", "other")]).await;
    let ended = within(Duration::from_secs(10), reading.next()).await.unwrap();
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_ends_at_records_that_this_build_cannot_decompress() {
    let config = config();
    create(&config, "orders", 1, &[KEPT, &[("compression.type", "zstd")]].concat()).await;
    let log = connect(&config);
    log.append(vec![record("orders", vec![0; 1000])]).await[0].clone().unwrap();
    let ended =
        within(Duration::from_secs(10), log.read(vec![(Partition::journal("orders"), 0)]).next()).await.unwrap();
    assert!(matches!(&ended, Err(ReadError::Unavailable { reason }) if reason.contains("NotImplemented")), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_lease_is_taken_over_within_seconds_and_the_first_holder_keeps_it_till_then() {
    let config = config();
    let (one, two) = (connect(&config), connect(&config));
    one.prepare(&[journal("orders")]).await.unwrap();
    let first = one.lead("relay", "orders").await.unwrap();
    within(Duration::from_secs(10), first.held().wait_for(|held| *held)).await.unwrap();

    let second = two.lead("relay", "orders").await.unwrap();
    // Joining makes the group arrange itself anew, which takes nothing from the holder.
    let mut held = first.held();
    let lost = tokio::time::timeout(Duration::from_secs(3), held.wait_for(|held| !*held));
    assert!(lost.await.is_err(), "the newcomer took the lease");
    first.commit(&[(Partition::journal("orders"), 7.into())]).await.unwrap();
    assert_eq!(second.commit(&[(Partition::journal("orders"), 1.into())]).await, Err(LeaseError::Lost));

    let dropped = Instant::now();
    drop(first);
    within(Duration::from_secs(6), second.held().wait_for(|held| *held)).await.unwrap();
    assert!(dropped.elapsed() < Duration::from_secs(6));
    assert!(!*held.wait_for(|held| !*held).await.unwrap());
    assert_eq!(second.committed(&[Partition::journal("orders")]).await, Ok(vec![Some(7.into())]));
}

/// Tests beside this one read too, but far fewer at a time.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_that_are_dropped_leave_no_thread_behind() {
    let log = connect(&config());
    log.prepare(&[journal("orders")]).await.unwrap();
    log.append(vec![record("orders", "a")]).await[0].clone().unwrap();
    let mut readings: Vec<_> = (0..60).map(|_| log.read(vec![(Partition::journal("orders"), 0)])).collect();
    for reading in &mut readings {
        assert_eq!(reading.next().await.unwrap().unwrap().records.len(), 1);
    }
    assert!(reader_threads() >= 60);
    drop(readings);
    let deadline = Instant::now() + Duration::from_secs(10);
    while reader_threads() >= 40 {
        assert!(Instant::now() < deadline, "{} threads are still reading", reader_threads());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(target_os = "linux")]
fn reader_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "kafka-reader").count()
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.expect("it takes too long")
}
