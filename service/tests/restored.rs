//! A replica whose rows have seen more than the log holds, since an older copy of it was restored.

use std::sync::Arc;

use orderlog_domain::{core::Changes, key::HashKey, orders::Orders};
use orderlog_eventlog::{EventLog, simulated::SimulatedLog};
use orderlog_projections::Pace;
use orderlog_service::{
    assembly,
    replica::{Replica, Setup, StartError},
    snapshots::Keeping,
    surroundings::Machine,
};
use uuid::Uuid;

#[tokio::test]
async fn rows_with_facts_that_the_topics_no_longer_hold_are_refused_and_not_begun_on() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let keeping = Keeping { data: folder.path().to_owned(), snapshots: None, every: 0, n_kept: 1 };
    let rows = keeping.open::<Orders>(log.as_ref()).await.unwrap();
    let copied = vec![("customer.created".to_owned(), 0, 1)];
    let mut writer = rows.writer().await.unwrap();
    rows.write(&mut writer, &Changes { copied, ..Changes::nothing(0) }, Pace::Steady).await.unwrap();
    drop(writer);
    let hash_key = HashKey::from_secret("test");
    let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: 100, surroundings: Arc::new(Machine) };
    let refused = Replica::start(setup, Arc::new(rows)).await;
    assert!(matches!(refused, Err(StartError::OtherHistory { service: "orders", .. })));
}
