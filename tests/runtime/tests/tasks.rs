//! Background tasks: what they wait for, what their positions keep, and how they end.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use orderlog_core::{
    decider::{Decider, Millis},
    header::Origin,
    key::HashKey,
    known::Unknown,
    machine::{Changes, Verdict},
    reason::Reason,
};
use orderlog_domain::{
    customers::{self, Address, Customers},
    inventory::{self, Inventory, Reserve, StockLine},
    notifications::Notice,
    values::{CustomerId, Email, Name, Quantity, ReservationName, Sku, TtlSeconds},
};
use orderlog_eventlog::{EventLog, Lease, NewRecord, Partition, Position, simulated::SimulatedLog};
use orderlog_projections as projections;
use orderlog_readmodel::{MemoryRows, Rows};
use orderlog_runtime::{
    assembly,
    background::{Progress, Unreadable},
    delivery::{self, Notifier, Target},
    environment::{Environment, Machine},
    marks,
    relay::{self, RelayError},
    replica::{Replica, Setup},
    timer,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// A program that does not know some kinds of events, on a machine whose clock can be set ahead.
#[derive(Default)]
struct Program {
    unknown: Unknown,
    ahead_ms: AtomicI64,
}

impl Environment for Program {
    fn now_ms(&self) -> Millis {
        Machine.now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn mint(&self) -> Uuid {
        Machine.mint()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        Machine.spawn(task);
    }

    fn unknown(&self) -> Unknown {
        self.unknown
    }
}

async fn empty_log() -> Arc<SimulatedLog> {
    let log = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    log
}

/// A replica without background tasks.
async fn start<D: Decider>(
    log: &Arc<SimulatedLog>,
    program: &Arc<Program>,
    rows: &MemoryRows<D>,
) -> Replica<D, MemoryRows<D>> {
    let (log, environment): (Arc<dyn EventLog>, Arc<dyn Environment>) = (log.clone(), program.clone());
    let (hash_key, writer) = (HashKey::from_secret("test"), Uuid::now_v7());
    Replica::start(Setup { log, hash_key, writer, n_slots_max: 100, environment }, Arc::new(rows.clone()))
        .await
        .unwrap()
}

async fn execute<D: Decider>(replica: &Replica<D, MemoryRows<D>>, command: D::Command) {
    replica.ready().await.unwrap();
    let deadline = replica.now_ms() + 60_000;
    replica.execute(command, None, Origin::default(), deadline).await.unwrap();
    replica.read_your_writes().await;
}

async fn create(customers: &Replica<Customers, MemoryRows<Customers>>) -> CustomerId {
    let customer_id = CustomerId(Uuid::now_v7());
    let address = Address::new(Email::new("ada@example.com").unwrap(), customers.hash_key());
    execute(customers, customers::Command::Create { customer_id, name: Name::new("Ada").unwrap(), address }).await;
    customer_id
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let reaching = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reaching).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

async fn lead(log: &SimulatedLog, service: &str) -> Arc<dyn Lease> {
    log.lead(&group(service), service).await.unwrap()
}

fn group(service: &str) -> String {
    format!("orderlog.{service}")
}

/// Where the service's group is in its own journal.
fn kept(log: &SimulatedLog, service: &str) -> Option<Position> {
    log.all_positions().remove(&(group(service), Partition::journal(service)))
}

fn next(log: &SimulatedLog, service: &str) -> Option<u64> {
    kept(log, service).map(|position| position.next)
}

/// How many records the topic has.
fn count(log: &SimulatedLog, topic: &str) -> u64 {
    log.all_ends().into_iter().filter(|(partition, _)| *partition.topic == *topic).map(|(_, end)| end).sum()
}

/// There is nothing to tell it.
struct Nobody;

#[async_trait]
impl Notifier<Notice> for Nobody {
    async fn tell(&self, notice: &Notice, _: Uuid) -> Result<(), String> {
        Err(format!("nobody asked for {notice:?}"))
    }
}

#[tokio::test]
async fn relay_and_deliveries_wait_until_the_journal_has_begun() {
    let (log, program) = (empty_log().await, Arc::default());
    log.hold_appends();
    let customers = start(&log, &program, &MemoryRows::new(&projections::customers::TABLES)).await;
    let inventory = start(&log, &program, &MemoryRows::new(&projections::inventory::TABLES)).await;
    let mut relaying = relay::run(customers, lead(&log, "customers").await).boxed();
    let target = Target { notifier: Arc::new(Nobody), journal: "notifications" };
    let mut delivering = delivery::run(inventory, lead(&log, "inventory").await, target, |_| None).boxed();
    assert!((&mut relaying).now_or_never().is_none(), "the relay waits");
    assert!((&mut delivering).now_or_never().is_none(), "the deliveries wait");
    log.release_appends();
    tokio::select! {
        ended = relaying => panic!("{ended:?}"),
        ended = delivering => panic!("{ended:?}"),
        () = eventually("both are behind the first record", async || {
            ["customers", "inventory"].iter().all(|service| next(&log, service) == Some(1))
        }) => {}
    }
}

#[tokio::test]
async fn a_relay_ends_at_a_parked_record_with_the_reason_and_keeps_what_it_has_done() {
    let log = empty_log().await;
    let newer = start(&log, &Arc::default(), &MemoryRows::new(&projections::customers::TABLES)).await;
    let customer_id = create(&newer).await;
    let name = Some(Name::new("Ada Lovelace").unwrap());
    execute(&newer, customers::Command::Update { customer_id, name, address: None }).await;
    let older = Arc::new(Program { unknown: &["customer_updated"], ..Program::default() });
    let customers = start(&log, &older, &MemoryRows::new(&projections::customers::TABLES)).await;
    customers.ready().await.unwrap();
    let ended = timeout(PATIENCE, relay::run(customers, lead(&log, "customers").await)).await.unwrap();
    assert!(
        matches!(ended, Err(RelayError::Parked { at: Unreadable { journal: "customers", offset: 2, .. } })),
        "{ended:?}"
    );
    assert_eq!((next(&log, "customers"), count(&log, "customer.created")), (Some(2), 1));
}

#[tokio::test]
async fn a_relay_waits_for_rows_that_begin_anew_and_publishes_by_their_verdicts() {
    let (log, rows) = (empty_log().await, MemoryRows::new(&projections::customers::TABLES));
    let customers = start(&log, &Arc::default(), &rows).await;
    create(&customers).await;
    let (genesis, mut records) = rows.look(|contents| (contents.genesis.clone(), contents.records.clone()));
    let mut created = records.split_off(1);
    rows.clear(&mut ()).await.unwrap();
    rows.put(&Changes { genesis, records, ..Changes::nothing(1) }).unwrap();
    let mut relaying = relay::run(customers, lead(&log, "customers").await).boxed();
    assert!((&mut relaying).now_or_never().is_none(), "the rows end before the record");
    assert_eq!(count(&log, "customer.created"), 0);
    created[0].verdict = Verdict::Void;
    rows.put(&Changes { records: created, ..Changes::nothing(2) }).unwrap();
    tokio::select! {
        ended = relaying => panic!("{ended:?}"),
        () = eventually("the relay has come to the end", async || next(&log, "customers") == Some(2)) => {}
    }
    assert_eq!(count(&log, "customer.created"), 0, "a void record publishes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_position_that_the_log_has_deleted_is_stored_again_within_half_a_minute_without_any_work() {
    let log = empty_log().await;
    let customers = start(&log, &Arc::default(), &MemoryRows::new(&projections::customers::TABLES)).await;
    create(&customers).await;
    let relaying = relay::run(customers.clone(), lead(&log, "customers").await);
    let deleting = async {
        eventually("the relay has come to the end", async || next(&log, "customers") == Some(2)).await;
        log.forget_positions(&group("customers"));
        assert_eq!(next(&log, "customers"), None);
        tokio::time::sleep(Duration::from_secs(31)).await;
        next(&log, "customers")
    };
    tokio::select! {
        ended = relaying => panic!("{ended:?}"),
        next = deleting => assert_eq!(next, Some(2)),
    }
    assert_eq!(count(&log, "customer.created"), 1, "nothing was published again");
}

/// Wait until a position is due, and keep it.
async fn keep(progress: &mut Progress) {
    timeout(Duration::from_secs(1), progress.due()).await.expect("a position is due");
    assert!(progress.commit().await.unwrap().is_continue());
}

#[tokio::test(start_paused = true)]
async fn a_position_is_repeated_at_the_beginning_and_keeps_its_marks_of_other_partitions() {
    let (log, journal) = (empty_log().await, Partition::journal("customers"));
    let customers = start(&log, &Arc::default(), &MemoryRows::new(&projections::customers::TABLES)).await;
    create(&customers).await;
    let (topic, value) = ("customer.created".into(), Bytes::from_static(b"an event"));
    log.append_raw(NewRecord { topic, partition: Some(0), key: None, headers: Vec::new(), value });
    let published = marks::of_last(log.as_ref(), &Partition::new("customer.created", 0)).await.unwrap().unwrap();
    let records = log.fetch(&journal, &[0, 1]).await.unwrap();
    let [first, created] = [0, 1].map(|at| marks::of(&journal, &records[at]));

    let begun = Position { next: 1, marks: vec![first, published.clone()] };
    log.set_positions([((group("customers"), journal.clone()), begun.clone())].into());
    let lease = lead(&log, "customers").await;
    let (mut progress, from) = Progress::load(&customers, lease, "relay", vec![journal.clone()]).await.unwrap();
    assert_eq!(from, [(journal, 1)]);
    log.forget_positions(&group("customers"));
    progress.confirm();
    keep(&mut progress).await;
    assert_eq!(kept(&log, "customers"), Some(begun));

    let kept_at = Instant::now();
    progress.done(created.clone());
    keep(&mut progress).await;
    assert!(kept_at.elapsed() >= Duration::from_millis(50), "not after each record: {:?}", kept_at.elapsed());
    assert_eq!(kept(&log, "customers"), Some(Position { next: 2, marks: vec![created, published] }));
}

/// An inventory in which a reservation is due.
async fn with_a_due_reservation(
    log: &Arc<SimulatedLog>,
    program: &Arc<Program>,
) -> Replica<Inventory, MemoryRows<Inventory>> {
    let inventory = start(log, program, &MemoryRows::new(&projections::inventory::TABLES)).await;
    let (sku, quantity) = (Sku::new("beans").unwrap(), Quantity::new(3).unwrap());
    execute(&inventory, inventory::Command::Receive { sku: sku.clone(), quantity }).await;
    let reserve = Reserve {
        name: ReservationName::new("basket").unwrap(),
        order_id: None,
        lines: vec![StockLine { sku, quantity }],
        ttl_seconds: Some(TtlSeconds::new(1).unwrap()),
    };
    execute(&inventory, inventory::Command::Reserve(reserve)).await;
    program.ahead_ms.fetch_add(5_000, Ordering::Relaxed);
    inventory
}

/// The log does not answer the expiry, and the process is to stop: the timer ends when the expiry's deadline has passed.
async fn stops_without_an_answer(
    log: &SimulatedLog,
    program: &Program,
    inventory: &Replica<Inventory, MemoryRows<Inventory>>,
) {
    log.hold_appends();
    let mut timing = timer::run(inventory.clone()).boxed();
    tokio::select! {
        ended = &mut timing => panic!("{ended:?}"),
        () = eventually("the expiry is appended", async || log.held_appends() == 1) => {}
    }
    inventory.end_tasks().await;
    program.ahead_ms.fetch_add(10_000, Ordering::Relaxed);
    timeout(PATIENCE, timing).await.expect("the timer ends").unwrap();
}

#[tokio::test]
async fn a_timer_that_the_log_does_not_answer_stops_at_the_deadline_of_its_expiries() {
    let (log, program) = (empty_log().await, Arc::default());
    let inventory = with_a_due_reservation(&log, &program).await;
    stops_without_an_answer(&log, &program, &inventory).await;
}

#[tokio::test]
async fn a_reservation_whose_expiry_was_discarded_expires_after_all() {
    let (log, newer) = (empty_log().await, Arc::default());
    let inventory = with_a_due_reservation(&log, &newer).await;
    tokio::select! {
        ended = timer::run(inventory) => panic!("{ended:?}"),
        () = eventually("the reservation has expired", async || count(&log, "inventory") == 4) => {}
    }
    let older = Arc::new(Program { unknown: &["reservation_expired"], ..Program::default() });
    let rows = MemoryRows::new(&projections::inventory::TABLES);
    let inventory = start(&log, &older, &rows).await;
    inventory.ready().await.unwrap();
    inventory.discard(3, Reason::new("rolled back").unwrap()).await.unwrap();
    drop(inventory);

    let inventory = start(&log, &newer, &rows).await;
    inventory.ready().await.unwrap();
    stops_without_an_answer(&log, &newer, &inventory).await;
    log.release_appends();
    eventually("the next expiry is behind the discard", async || count(&log, "inventory") == 6).await;
    inventory.has_committed(6).await;
    assert_eq!(inventory.store().unaccepted(4, 6).await.unwrap().verdicts, []);
}
