//! How fast the embedded log appends and reads here: `cargo run --release -p orderlog-eventlog --example append_rate [DIR]`.
//!
//! Each caller waits for its record before it appends the next one, so that only group commit can help.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt;
use orderlog_eventlog::{EventLog, NewRecord, Partition, TopicKind, TopicSpec, embedded::EmbeddedLog};

const VALUE_BYTES: usize = 250;
const HEADER_BYTES: usize = 120;
const TIME: Duration = Duration::from_secs(4);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let own = tempfile::tempdir()?;
    let dir = std::env::args().nth(1).map_or(own.path().to_owned(), PathBuf::from);
    let log = EmbeddedLog::open(&dir).await?;
    log.prepare(&[TopicSpec { name: "rate".into(), kind: TopicKind::Journal }]).await?;
    for (callers, batch) in [(1, 1), (64, 1), (1024, 1), (8192, 1), (1, 1000)] {
        append(&log, callers, batch).await?;
    }
    let end = log.ends(&[Partition::journal("rate")]).await?[0];
    drop(log);
    read(&dir, end).await
}

fn record() -> NewRecord {
    NewRecord {
        topic: "rate".into(),
        partition: Some(0),
        key: None,
        headers: vec![("orderlog".into(), Bytes::from_static(&[7; HEADER_BYTES]))],
        value: Bytes::from_static(&[b'x'; VALUE_BYTES]),
    }
}

async fn append(log: &Arc<EmbeddedLog>, callers: usize, batch: usize) -> Result<(), Failure> {
    let start = Instant::now();
    let callers_at_work: Vec<_> = (0..callers)
        .map(|_| {
            let log = Arc::clone(log);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < TIME {
                    let called = Instant::now();
                    for answer in log.append(vec![record(); batch]).await {
                        answer?;
                    }
                    latencies.push(called.elapsed());
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in callers_at_work {
        latencies.extend(caller.await??);
    }
    let rate = (latencies.len() * batch) as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{callers:5} callers of {batch:4}: {rate:9.0} records/s, p50 {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

async fn read(dir: &Path, end: u64) -> Result<(), Failure> {
    let log = loop {
        match EmbeddedLog::open(dir).await {
            Ok(log) => break log,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let start = Instant::now();
    let mut reading = log.read(vec![(Partition::journal("rate"), 0)]);
    let mut next = 0;
    while next < end {
        next += reading.next().await.ok_or("a reading never ends")??.records.len() as u64;
    }
    println!("history of {end}: {:9.0} records/s", end as f64 / start.elapsed().as_secs_f64());
    Ok(())
}
