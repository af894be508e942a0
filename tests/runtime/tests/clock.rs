//! A clock that was wrong for a while leaves nothing wrong behind.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::future::BoxFuture;
use orderlog_core::{decider::Millis, header::Origin, key::HashKey};
use orderlog_domain::{
    inventory::{Command, Inventory, StockItem},
    values::{Quantity, Sku},
};
use orderlog_eventlog::{EventLog, simulated::SimulatedLog};
use orderlog_readmodel::Store;
use orderlog_runtime::{
    assembly,
    environment::{Environment, Machine},
    past::{Moment, PastError},
    replica::{Replica, Setup},
};
use uuid::Uuid;

const NOON: Millis = 1_800_000_000_000;
const HOUR: Millis = 3_600_000;

/// The machine with a clock that can be set.
struct Clock(AtomicI64);

impl Environment for Clock {
    fn now_ms(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }

    fn mint(&self) -> Uuid {
        Machine.mint()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        Machine.spawn(task);
    }
}

/// A stock of beans, and the clock by which its records are written.
struct Beans {
    clock: Arc<Clock>,
    replica: Replica<Inventory>,
    _rows: tempfile::TempDir,
}

impl Beans {
    async fn new() -> Self {
        let clock = Arc::new(Clock(AtomicI64::new(NOON)));
        let log: Arc<dyn EventLog> = SimulatedLog::new();
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        let rows = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(rows.path(), &orderlog_projections::inventory::TABLES).await.unwrap());
        let (hash_key, writer) = (HashKey::from_secret("test"), Uuid::now_v7());
        let environment: Arc<dyn Environment> = Arc::clone(&clock) as _;
        let replica = Replica::start(Setup { log, hash_key, writer, n_slots_max: 100, environment }, store);
        let replica = replica.await.unwrap();
        replica.ready().await.unwrap();
        Self { clock, replica, _rows: rows }
    }

    fn sku() -> Sku {
        Sku::new("beans").unwrap()
    }

    /// Receives one more at this time; the offset of its record.
    async fn receive_at(&self, time_ms: Millis) -> u64 {
        self.clock.0.store(time_ms, Ordering::Relaxed);
        let receive = Command::Receive { sku: Self::sku(), quantity: Quantity::new(1).unwrap() };
        let received = self.replica.execute(receive, None, Origin::default(), time_ms + 60_000).await.unwrap();
        received.accepted.at.offset
    }

    /// How many there were at this time.
    async fn as_of(&self, time_ms: Millis) -> u64 {
        let offset = self.replica.locate(Moment::Time(time_ms)).await.unwrap();
        self.replica.as_of(StockItem::aggregate(&Self::sku()), offset).await.unwrap().unwrap().version()
    }
}

#[tokio::test]
async fn what_was_written_after_a_clock_was_set_back_is_seen_at_once() {
    let beans = Beans::new().await;
    beans.receive_at(NOON + 1).await;
    // Two hours ahead for two records.
    beans.receive_at(NOON + 2 * HOUR).await;
    let ahead = beans.receive_at(NOON + 2 * HOUR + 1).await;
    for second in 1..=3 {
        beans.receive_at(NOON + second * 1_000).await;
    }
    assert_eq!(beans.as_of(NOON + 3_000).await, 6, "now is the newest state");
    assert_eq!(beans.as_of(NOON + 9 * HOUR).await, 6, "so is the future");
    assert_eq!(beans.as_of(NOON + 2_000).await, 5, "after the last record that is not younger");
    assert_eq!(beans.as_of(NOON + 1).await, 1);
    let before = beans.replica.locate(Moment::Time(NOON - 1)).await;
    assert!(matches!(before, Err(PastError::OutOfRange { .. })), "{before:?}");
    // What is replayed from a time has all records from then on, also those that were written ahead of it.
    assert_eq!(beans.replica.first_from(Moment::Time(NOON + 2_500)).await.unwrap(), ahead - 1);

    let last = beans.receive_at(NOON + 3 * HOUR).await;
    assert_eq!(beans.as_of(NOON + 2 * HOUR + 1).await, 6, "the clock has caught up, the past stays as it was");
    assert_eq!(beans.replica.first_from(Moment::Time(NOON + 2 * HOUR + 2)).await.unwrap(), last);
}
