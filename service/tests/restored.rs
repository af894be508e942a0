//! A replica whose rows have seen more than the log holds, since an older copy of it was restored.

use std::sync::Arc;

use orderlog_domain::{core::Changes, key::HashKey, orders::Orders};
use orderlog_eventlog::{EventLog, simulated::SimulatedLog};
use orderlog_projections::MemoryRows;
use orderlog_service::{
    assembly,
    replica::{Replica, Setup, StartError},
};
use uuid::Uuid;

#[tokio::test]
async fn rows_with_facts_that_the_topics_no_longer_hold_are_refused_and_not_begun_on() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics()).await.unwrap();
    let rows = MemoryRows::<Orders>::default();
    let (heads, entities, records) = (Vec::new(), Vec::new(), Vec::new());
    let (happened, parked, copied) = (Vec::new(), Vec::new(), vec![("customer.created".to_owned(), 0, 1)]);
    rows.put(&Changes { next: 0, genesis: None, heads, entities, records, happened, parked, copied }).unwrap();
    let hash_key = HashKey::from_secret("test");
    let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: 100 };
    let refused = Replica::start(setup, Arc::new(rows)).await;
    assert!(matches!(refused, Err(StartError::OtherHistory { service: "orders", .. })));
}
