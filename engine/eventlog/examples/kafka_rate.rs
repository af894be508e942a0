//! How fast the log is on the Kafka that `KAFKA` names: `cargo run --release -p orderlog-eventlog --example kafka_rate`.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use orderlog_eventlog::{
    EventLog, NewRecord, Partition, TopicKind, TopicSpec,
    kafka::{KafkaConfig, KafkaLog},
};
use uuid::Uuid;

const HISTORY: usize = 500_000;
const ONE_BY_ONE: usize = 2_000;

#[tokio::main]
async fn main() {
    let brokers = std::env::var("KAFKA").expect("KAFKA must name the brokers, as host:port");
    let prefix = format!("rate.{}.", Uuid::now_v7().simple());
    let log = KafkaLog::connect(KafkaConfig { topic_prefix: prefix, ..KafkaConfig::new(brokers) }).expect("connect");
    log.prepare(&[TopicSpec { name: "journal".into(), kind: TopicKind::Journal }]).await.expect("prepare");
    let journal = Partition::journal("journal");

    one_by_one(&*log, &journal).await;
    in_groups(&log).await;
    replay(&*log, &journal).await;
    points(&*log, &journal).await;
}

/// A journal's record: a header and a value of the usual sizes.
fn record() -> NewRecord {
    NewRecord {
        topic: "journal".into(),
        partition: Some(0),
        key: None,
        headers: vec![("orderlog".into(), vec![7; 120].into())],
        value: vec![b'x'; 200].into(),
    }
}

/// What one caller waits: for the acknowledgement, for the record to be read back, and for the end.
async fn one_by_one(log: &dyn EventLog, journal: &Partition) {
    let mut reading = log.read(vec![(journal.clone(), 0)]);
    let (mut acknowledged, mut read, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ONE_BY_ONE {
        let started = Instant::now();
        log.append(vec![record()]).await.remove(0).expect("acknowledged");
        acknowledged.push(started.elapsed());
        reading.next().await.expect("reading goes on").expect("it can be read");
        read.push(started.elapsed());
        let started = Instant::now();
        log.ends(std::slice::from_ref(journal)).await.expect("ends");
        ended.push(started.elapsed());
    }
    print("append, acknowledged", acknowledged);
    print("append, read back", read);
    print("ends", ended);
}

/// As much as possible: groups of records, several at a time.
async fn in_groups(log: &Arc<KafkaLog>) {
    let started = Instant::now();
    let mut appending = std::collections::VecDeque::new();
    for _ in 0..HISTORY / 1000 {
        appending.push_back(log.append((0..1000).map(|_| record()).collect()));
        if appending.len() >= 8 {
            let oldest = appending.pop_front().expect("one is there");
            assert!(oldest.await.iter().all(Result::is_ok));
        }
    }
    for rest in appending {
        assert!(rest.await.iter().all(Result::is_ok));
    }
    rate("append in groups of 1000", HISTORY, started.elapsed());
}

async fn replay(log: &dyn EventLog, journal: &Partition) {
    for _ in 0..3 {
        let started = Instant::now();
        let mut reading = log.read(vec![(journal.clone(), 0)]);
        let mut count = 0;
        while count < HISTORY + ONE_BY_ONE {
            count += reading.next().await.expect("reading goes on").expect("it can be read").records.len();
        }
        rate("replay", count, started.elapsed());
    }
}

async fn points(log: &dyn EventLog, journal: &Partition) {
    let mut fetched = Vec::new();
    for n in 0..100 {
        let started = Instant::now();
        log.fetch(journal, &[n * 4_999]).await.expect("it is there");
        fetched.push(started.elapsed());
    }
    print("fetch one record", fetched);
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: median {:?}, 99% {:?}, most {:?}", at(0.5), at(0.99), at(1.0));
}

fn rate(what: &str, count: usize, elapsed: Duration) {
    println!("{what}: {:.0} records/s", count as f64 / elapsed.as_secs_f64());
}
