//! The rows in memory, on which everything here runs, are the rows in SQLite, on which the program runs: both are built by the same
//! replica from the journals of simulated runs, with their void and doubled records, and answer alike.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{path::Path, sync::Arc};

use orderlog_domain::{
    billing::Billing, core::Wanted, customers::Customers, inventory::Inventory, key::HashKey,
    notifications::Notifications, orders::Orders,
};
use orderlog_eventlog::{EventLog, NewRecord, simulated::SimulatedLog};
use orderlog_history::History;
use orderlog_projections::{DueReservations, MemoryRows, Rows, Store, Tables};
use orderlog_service::{
    assembly,
    replica::{Replica, Setup},
    surroundings::Machine,
};
use uuid::Uuid;

/// A log that holds these journals.
async fn log_of(history: &History) -> Arc<dyn EventLog> {
    let log = SimulatedLog::new();
    log.prepare(&assembly::topics()).await.unwrap();
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

async fn built<D: Tables, R: Rows<D>>(log: &Arc<dyn EventLog>, rows: &Arc<R>) {
    let setup = Setup {
        log: Arc::clone(log),
        hash_key: HashKey::from_secret("simulated"),
        writer: Uuid::now_v7(),
        n_slots_max: 8,
        surroundings: Arc::new(Machine),
    };
    let replica = Replica::start(setup, Arc::clone(rows)).await.unwrap();
    replica.ready().await.unwrap();
}

/// Both, built from this log, answer everything alike that a loop or a duty asks.
async fn both<D: Tables>(log: &Arc<dyn EventLog>, dir: &Path) -> (Arc<Store<D>>, Arc<MemoryRows<D>>) {
    let (store, memory) = (Arc::new(Store::<D>::open(dir).await.unwrap()), Arc::new(MemoryRows::<D>::default()));
    built(log, &store).await;
    built(log, &memory).await;
    assert_eq!(Rows::checkpoint(&*store).await.unwrap(), memory.checkpoint().await.unwrap());
    let keys: Vec<_> = memory.look(|rows| rows.heads.keys().copied().collect());
    for kind in D::KINDS.iter().map(|kind| Some(*kind)).chain([None]) {
        let wanted: Vec<_> = keys.iter().map(|key| Wanted { key: *key, kind }).collect();
        assert_eq!(store.load(&wanted).await.unwrap(), memory.load(&wanted).await.unwrap());
    }
    for (from, to) in [(0, u64::MAX >> 1), (2, 9), (9, 2)] {
        let unaccepted = store.unaccepted(from, to).await.unwrap();
        assert_eq!(unaccepted, memory.unaccepted(from, to).await.unwrap());
    }
    assert_eq!(store.set_aside().await.unwrap(), memory.set_aside().await.unwrap());
    assert_eq!(store.discarded().await.unwrap(), memory.discarded().await.unwrap());
    let entities = memory.look(|rows| rows.entities.clone());
    for ((kind, key), (version, offset, entity)) in entities {
        assert_eq!(store.get(kind, &key).await.unwrap(), Some((version, offset, D::Entity::clone(&entity))));
    }
    (store, memory)
}

#[tokio::test]
async fn rows_in_memory_are_rows_in_sqlite() {
    let (mut n_records, mut n_void) = (0, 0);
    for seed in 1..=8 {
        let history = std::thread::spawn(move || orderlog_simulation::run(seed, false).history).join().unwrap();
        let (log, dir) = (log_of(&history).await, tempfile::tempdir().unwrap());
        both::<Customers>(&log, dir.path()).await;
        both::<Orders>(&log, dir.path()).await;
        both::<Billing>(&log, dir.path()).await;
        both::<Notifications>(&log, dir.path()).await;
        let (store, memory) = both::<Inventory>(&log, dir.path()).await;
        for (now, limit) in [(0, 10), (i64::MAX, 1_000), (i64::MAX, 1)] {
            let due = store.expired_reservations(now, limit).await.unwrap();
            assert_eq!(due, memory.expired_reservations(now, limit).await.unwrap());
        }
        memory.look(|rows| n_records += rows.records.len());
        n_void += memory.unaccepted(0, u64::MAX >> 1).await.unwrap().verdicts.len();
    }
    assert!(n_records > 50 && n_void > 5, "{n_records} records, {n_void} void: too few to prove anything");
}
