//! The rows in memory, on which everything here runs, are the rows in SQLite, on which the program runs: both are built by the same
//! replica from the journals of simulated runs, with their void, doubled and parked records, and answer alike.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{collections::BTreeSet, path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use orderlog_core::{decider::Decider, key::HashKey, known::Unknown, machine::Wanted};
use orderlog_eventlog::{EventLog, NewRecord, simulated::SimulatedLog};
use orderlog_history::History;
use orderlog_projections::{billing, customers, inventory, notifications, orders};
use orderlog_readmodel::{MemoryRows, Rows, Store, Tables};
use orderlog_runtime::{
    assembly,
    environment::{Environment, Machine},
    replica::{Replica, Setup},
};
use uuid::Uuid;

/// A machine with a program that does not know some kinds of events.
struct Older;

impl Environment for Older {
    fn now_ms(&self) -> i64 {
        Machine.now_ms()
    }

    fn mint(&self) -> Uuid {
        Machine.mint()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        Machine.spawn(task);
    }

    fn unknown(&self) -> Unknown {
        &["stock_adjusted", "order_cancelled", "customer_updated", "invoice_voided", "notification_read"]
    }
}

/// A log that holds these journals.
async fn log_of(history: &History) -> Arc<dyn EventLog> {
    let log = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    for (journal, records) in &history.journals {
        for record in records {
            log.append_raw(NewRecord {
                topic: journal.as_str().into(),
                partition: Some(0),
                key: None,
                headers: vec![("orderlog".into(), record.header.clone())],
                value: record.value.clone(),
            });
        }
    }
    log
}

/// How many records this program leaves parked.
async fn built<D: Decider, R: Rows<D>>(log: &Arc<dyn EventLog>, rows: &Arc<R>, program: Arc<dyn Environment>) -> usize {
    let setup = Setup {
        log: Arc::clone(log),
        hash_key: HashKey::from_secret("simulated"),
        writer: Uuid::now_v7(),
        n_slots_max: 8,
        environment: program,
    };
    let replica = Replica::start(setup, Arc::clone(rows)).await.unwrap();
    replica.ready().await.unwrap();
    // So that what the start has folded stands in the rows.
    replica.retry().await.unwrap().after
}

/// Builds both read models from this log, by an older program and then by the newest, and checks that they give the same answers to
/// everything that a loop or a background task asks. Returns how many records the older program could not fold.
async fn both<D: Decider>(
    tables: &'static Tables<D>,
    log: &Arc<dyn EventLog>,
    dir: &Path,
) -> (Arc<Store<D>>, Arc<MemoryRows<D>>, usize) {
    let (store, memory) = (Arc::new(Store::open(dir, tables).await.unwrap()), Arc::new(MemoryRows::new(tables)));
    let n_parked = built(log, &store, Arc::new(Older)).await;
    assert_eq!(built(log, &memory, Arc::new(Older)).await, n_parked);
    are_alike(&store, &memory).await;
    assert_eq!(built(log, &store, Arc::new(Machine)).await, 0, "a newer program folds what is parked");
    assert_eq!(built(log, &memory, Arc::new(Machine)).await, 0);
    are_alike(&store, &memory).await;
    (store, memory, n_parked)
}

async fn are_alike<D: Decider>(store: &Store<D>, memory: &MemoryRows<D>) {
    assert_eq!(Rows::checkpoint(store).await.unwrap(), memory.checkpoint().await.unwrap());
    let keys: Vec<_> = memory.look(|rows| rows.heads.keys().copied().collect());
    let kinds: BTreeSet<_> = memory.look(|rows| rows.entities.keys().map(|(kind, _)| Some(*kind)).collect());
    for kind in kinds.into_iter().chain([None]) {
        let wanted: Vec<_> = keys.iter().map(|key| Wanted { key: *key, kind }).collect();
        assert_eq!(store.load(&wanted).await.unwrap(), memory.load(&wanted).await.unwrap());
    }
    for (from, to) in [(0, u64::MAX >> 1), (2, 9), (9, 2)] {
        let unaccepted = store.unaccepted(from, to).await.unwrap();
        assert_eq!(unaccepted, memory.unaccepted(from, to).await.unwrap());
    }
    assert_eq!(store.set_aside().await.unwrap(), memory.set_aside().await.unwrap());
    assert_eq!(store.discarded().await.unwrap(), memory.discarded().await.unwrap());
    let rows = store.contents().await.unwrap();
    assert_eq!(memory.look(|folded| folded.difference(&rows)), None);
}

#[tokio::test]
async fn rows_in_memory_are_rows_in_sqlite() {
    let (mut n_records, mut n_void, mut n_parked) = (0, 0, 0);
    for seed in 1..=8 {
        let history = std::thread::spawn(move || orderlog_simulation::run(seed, false).history).join().unwrap();
        let (log, dir) = (log_of(&history).await, tempfile::tempdir().unwrap());
        n_parked += both(&customers::TABLES, &log, dir.path()).await.2;
        n_parked += both(&orders::TABLES, &log, dir.path()).await.2;
        n_parked += both(&billing::TABLES, &log, dir.path()).await.2;
        n_parked += both(&notifications::TABLES, &log, dir.path()).await.2;
        let (store, memory, n) = both(&inventory::TABLES, &log, dir.path()).await;
        n_parked += n;
        for (now, limit) in [(0, 10), (i64::MAX, 1_000), (i64::MAX, 1)] {
            let timer = &inventory::TABLES.timers[0];
            let (due, in_memory) = (store.due(timer, now, limit).await, memory.due(timer, now, limit).await);
            assert_eq!(format!("{due:?}"), format!("{in_memory:?}"));
        }
        memory.look(|rows| n_records += rows.records.len());
        n_void += memory.unaccepted(0, u64::MAX >> 1).await.unwrap().verdicts.len();
    }
    let found = format!("{n_records} records, {n_void} void, {n_parked} parked");
    assert!(n_records > 50 && n_void > 5 && n_parked > 20, "{found}: too few to prove anything");
}
