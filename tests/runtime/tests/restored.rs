//! A log of which an older copy was restored, and that has grown again: what was kept for the log before is not gone on from.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use orderlog_core::{
    decider::Decider,
    header::Origin,
    key::HashKey,
    machine::{Changes, CopiedRow},
    public::Envelope,
};
use orderlog_domain::{
    customers::{Address, Command, Customers},
    orders::{self, OrderLine, public::OrderCreated},
    values::{Currency, CustomerId, Email, Money, Name, OrderId, Quantity, Sku},
};
use orderlog_eventlog::{EventLog, NewRecord, Partition, embedded::EmbeddedLog, simulated::SimulatedLog};
use orderlog_projections as projections;
use orderlog_readmodel::{MemoryRows, Pace, Rows, Tables};
use orderlog_runtime::{
    assembly::{self, Assembled},
    background::Troubles,
    cloudevents,
    environment::Machine,
    marks, now_ms,
    replica::{Replica, Setup, StartError},
};
use uuid::Uuid;

/// What runs in here is over when this returns, as if its process had been killed.
fn process<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn setup(log: &Arc<dyn EventLog>) -> Setup {
    let (hash_key, writer) = (HashKey::from_secret("test"), Uuid::now_v7());
    Setup { log: Arc::clone(log), hash_key, writer, n_slots_max: 100, environment: Arc::new(Machine) }
}

/// A service whose rows are empty, with its duties.
async fn serve<D: Decider>(tables: &'static Tables<D>, log: &Arc<dyn EventLog>) -> Assembled<D, MemoryRows<D>> {
    let rows = Arc::new(MemoryRows::new(tables));
    let assembled = assembly::start_on(setup(log), rows, &Troubles::default()).await.unwrap();
    assembled.replica.ready().await.unwrap();
    assembled
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 20 s: {what}");
}

/// How many records the topic has.
async fn count(log: &dyn EventLog, topic: &str) -> u64 {
    let partitions = log.partitions(topic).await.unwrap();
    log.ends(&partitions).await.unwrap().into_iter().sum()
}

/// The position that the service has kept in the first partition of this topic.
async fn kept<D: Decider>(of: &Assembled<D, MemoryRows<D>>, topic: &str) -> u64 {
    let kept = of.lease.committed(&[Partition::new(topic, 0)]).await.unwrap().remove(0);
    kept.map_or(0, |position| position.next)
}

async fn create(customers: &Replica<Customers, MemoryRows<Customers>>, n: u32) {
    let email = Email::new(format!("ada{n}@example.com")).unwrap();
    let address = Address::new(email, customers.hash_key());
    let customer_id = CustomerId(Uuid::now_v7());
    let command = Command::Create { customer_id, name: Name::new("Ada").unwrap(), address };
    customers.execute(command, None, Origin::default(), now_ms() + 60_000).await.unwrap();
}

/// Have these customers created, and wait until that is published and the relay's position is kept.
fn create_all(dir: &Path, numbers: std::ops::Range<u32>) {
    process(async {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(dir).await.unwrap();
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        let customers = serve(&projections::customers::TABLES, &log).await;
        for n in numbers {
            create(&customers.replica, n).await;
        }
        let end = count(log.as_ref(), "customers").await;
        eventually("the relay has come to the end", async || kept(&customers, "customers").await == end).await;
        log.close().await;
    });
}

#[test]
fn a_relay_begins_anew_on_an_embedded_log_that_was_restored_and_has_grown_past_its_position() {
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |dir: &Path| dir.join("log.sqlite");
    create_all(here.path(), 0..1);
    fs::copy(file(here.path()), file(elsewhere.path())).unwrap();
    create_all(here.path(), 1..3);
    // The copy grows where there are no positions, and nothing of that is published.
    process(async {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(elsewhere.path()).await.unwrap();
        let customers =
            Replica::start(setup(&log), Arc::new(MemoryRows::new(&projections::customers::TABLES))).await.unwrap();
        customers.ready().await.unwrap();
        for n in 10..14 {
            create(&customers, n).await;
        }
        assert_eq!((count(log.as_ref(), "customers").await, count(log.as_ref(), "customer.created").await), (6, 1));
        log.close().await;
    });
    fs::copy(file(elsewhere.path()), file(here.path())).unwrap();
    process(async {
        let log: Arc<dyn EventLog> = EmbeddedLog::open(here.path()).await.unwrap();
        let lease = log.lead("orderlog.customers", "customers").await.unwrap();
        let kept = lease.committed(&[Partition::journal("customers")]).await.unwrap().remove(0);
        assert_eq!(kept.unwrap().next, 4, "it is not beyond the end");
        let _customers = serve(&projections::customers::TABLES, &log).await;
        // The first one is published once more, under its id.
        eventually("all are published", async || count(log.as_ref(), "customer.created").await == 6).await;
    });
}

#[test]
fn a_relay_begins_anew_where_what_it_had_published_is_not_there_any_more() {
    let simulated = SimulatedLog::new();
    let log: Arc<dyn EventLog> = simulated.clone();
    let serving = async |created: std::ops::Range<u32>, n_published| {
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        let customers = serve(&projections::customers::TABLES, &log).await;
        for n in created {
            create(&customers.replica, n).await;
        }
        eventually("all are published, once", async || count(log.as_ref(), "customer.created").await == n_published)
            .await;
        eventually("the position is kept", async || kept(&customers, "customers").await == n_published + 1).await;
    };
    process(serving(0..2, 2));
    process(serving(2..3, 3));
    simulated.truncate("customer.created", 0);
    process(serving(3..3, 3));
}

#[test]
fn a_reactor_begins_anew_where_its_reactions_are_not_there_any_more() {
    let simulated = SimulatedLog::new();
    let log: Arc<dyn EventLog> = simulated.clone();
    let line = OrderLine {
        sku: Sku::new("beans").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        unit_price: Money::new(500).unwrap(),
    };
    let order = orders::Published::Created(OrderCreated {
        order_id: OrderId(Uuid::now_v7()),
        customer_id: CustomerId(Uuid::now_v7()),
        currency: Currency::new("EUR").unwrap(),
        lines: vec![line],
        total: Money::new(500).unwrap(),
        version: 1,
    });
    let id = Uuid::now_v7();
    let envelope = Envelope { id, time_ms: now_ms(), correlation: id, cause: None, trace: None };
    let event = NewRecord { partition: Some(0), ..cloudevents::encode(&envelope, &order, "orders") };
    let serving = async || {
        let billing = serve(&projections::billing::TABLES, &log).await;
        eventually("there is an invoice", async || count(log.as_ref(), "billing").await == 2).await;
        eventually("the position is kept", async || kept(&billing, "order.created").await == 1).await;
    };
    process(async {
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        log.append(vec![event]).await.remove(0).unwrap();
        serving().await;
    });
    // The event stays: only what came of it is gone.
    simulated.truncate("billing", 1);
    process(serving());
}

/// Rows of orders that have copied one fact, on a log whose topic has one record that is it, or is not, or has none.
async fn start_on_copied(there: Option<&'static str>, copied: &'static str) -> Result<(), StartError> {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let fact = |value: &'static str| NewRecord {
        topic: "customer.created".into(),
        partition: Some(0),
        key: None,
        headers: Vec::new(),
        value: Bytes::from_static(value.as_bytes()),
    };
    if let Some(there) = there {
        log.append(vec![fact(there)]).await.remove(0).unwrap();
    }
    let print = marks::print(None, &[], copied.as_bytes());
    let copied = vec![CopiedRow { topic: "customer.created".to_owned(), part: 0, next: 1, print }];
    let rows = MemoryRows::new(&projections::orders::TABLES);
    rows.write(&mut (), &Changes { copied, ..Changes::nothing(0) }, Pace::Steady).await.unwrap();
    Replica::start(setup(&log), Arc::new(rows)).await.map(drop)
}

#[tokio::test]
async fn rows_with_facts_that_the_topics_do_not_hold_are_refused_and_not_begun_on() {
    start_on_copied(Some("a fact"), "a fact").await.unwrap();
    for there in [None, Some("another")] {
        let refused = start_on_copied(there, "a fact").await;
        assert!(matches!(refused, Err(StartError::OtherHistory { service: "orders", .. })), "{refused:?}");
    }
}
