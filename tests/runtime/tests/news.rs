//! What was published is taken in before it is said that something is not there, or shown to who has seen that it is.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{sync::Arc, time::Duration};

use orderlog_core::{decider::Decider, header::Origin, key::HashKey, public::Envelope};
use orderlog_domain::{
    billing::{self, Billing, Command, Rejection},
    customers::{self, Address, Customers, public::CustomerChanged},
    inventory::Inventory,
    notifications::Notifications,
    orders::{self, OrderLine, Orders, public::OrderCreated},
    values::{Currency, CustomerId, Email, Money, Name, OrderId, PaymentId, PaymentReference, Quantity, Sku},
};
use orderlog_eventlog::{EventLog, Mark, NewRecord, Partition, Position, simulated::SimulatedLog};
use orderlog_projections as projections;
use orderlog_readmodel::{Store, Tables};
use orderlog_runtime::{
    assembly, cloudevents,
    environment::Machine,
    now_ms, reactor, relay,
    replica::{ExecuteError, Lacks, Replica, Setup, sources},
};
use uuid::Uuid;

/// An order that was placed long ago, by the time in its id.
fn old_order() -> OrderCreated {
    let minted = uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0);
    let line = OrderLine {
        sku: Sku::new("beans").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        unit_price: Money::new(500).unwrap(),
    };
    OrderCreated {
        order_id: OrderId(Uuid::new_v7(minted)),
        customer_id: CustomerId(Uuid::now_v7()),
        currency: Currency::new("EUR").unwrap(),
        lines: vec![line],
        total: Money::new(500).unwrap(),
        version: 1,
    }
}

fn envelope() -> Envelope {
    let id = Uuid::now_v7();
    Envelope { id, time_ms: now_ms(), correlation: id, cause: None, trace: None }
}

fn payment(order_id: OrderId) -> Command {
    Command::RecordPayment {
        payment_id: PaymentId(Uuid::now_v7()),
        order_id,
        amount: Money::new(500).unwrap(),
        currency: Currency::new("EUR").unwrap(),
        reference: PaymentReference::new("bank").unwrap(),
    }
}

/// An instance that takes commands, on rows of its own in the folder.
async fn instance<D: Decider>(tables: &'static Tables<D>, log: &Arc<dyn EventLog>) -> (Replica<D>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), tables).await.unwrap());
    let (log, hash_key) = (Arc::clone(log), HashKey::from_secret("test"));
    let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: 100, environment: Arc::new(Machine) };
    let replica = Replica::<D>::start(setup, store).await.unwrap();
    replica.ready().await.unwrap();
    (replica, folder)
}

#[tokio::test]
async fn a_payment_for_an_order_that_the_reactor_has_not_come_to_is_no_unknown_order() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let order = old_order();
    let event = cloudevents::encode(&envelope(), &orders::Published::Created(order.clone()), "orders");
    log.append(vec![event]).await.remove(0).unwrap();

    let (deaf, _folder) = instance(&projections::billing::TABLES, &log).await;
    let pay = |replica: Replica<Billing>| async move {
        replica.execute(payment(order.order_id), None, Origin::default(), now_ms() + 60_000).await
    };
    let refused = pay(deaf.clone()).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::UnknownOrder { .. }))), "{refused:?}");

    let lease = log.lead("orderlog.billing", "billing").await.unwrap();
    let hearing = deaf.clone().hearing(Arc::clone(&lease));
    let paid = tokio::spawn(pay(hearing));
    let reacting = tokio::spawn(reactor::run(deaf, lease));
    paid.await.unwrap().unwrap();
    reacting.abort();
}

#[tokio::test]
async fn a_customer_who_is_not_published_yet_is_no_unknown_customer_whatever_the_time_in_the_id() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let (customers, _of_customers) = instance(&projections::customers::TABLES, &log).await;
    let OrderCreated { order_id, currency, lines, .. } = old_order();
    let customer_id = CustomerId(order_id.0);
    let address = Address::new(Email::new("ada@example.com").unwrap(), customers.hash_key());
    let create = customers::Command::Create { customer_id, name: Name::new("Ada").unwrap(), address };
    customers.execute(create, None, Origin::default(), now_ms() + 60_000).await.unwrap();

    let (replica, _of_orders) = instance(&projections::orders::TABLES, &log).await;
    let lease = log.lead("orderlog.orders", "orders").await.unwrap();
    let orders = replica.hearing(lease);
    let place = orders::Command::Place { order_id, customer_id, currency, lines, channel: None };
    // The relay begins only while the refusal waits for it.
    let relaying = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let lease = log.lead("orderlog.customers", "customers").await.unwrap();
        relay::run(customers, lease).await
    });
    orders.execute(place, None, Origin::default(), now_ms() + 60_000).await.unwrap();
    relaying.abort();
}

#[tokio::test]
async fn a_copied_fact_that_cannot_be_read_is_not_passed_over() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let rubbish = NewRecord {
        topic: "customer.created".into(),
        partition: Some(0),
        key: None,
        headers: Vec::new(),
        value: "no JSON".into(),
    };
    log.append(vec![rubbish]).await.remove(0).unwrap();

    let (replica, _folder) = instance(&projections::orders::TABLES, &log).await;
    let OrderCreated { order_id, customer_id, currency, lines, .. } = old_order();
    let place = orders::Command::Place { order_id, customer_id, currency, lines, channel: None };
    let outcome = replica.execute(place, None, Origin::default(), now_ms() + 1_500).await;
    assert!(
        matches!(outcome, Err(ExecuteError::Unavailable(_))),
        "nobody knows whether there is a customer: {outcome:?}"
    );
    let trouble = replica.trouble().expect("readiness tells");
    assert!(trouble.contains("customer.created/0@0"), "{trouble}");
}

/// A record of orders is reflected by an instance of billing once it is published, the instance that holds the lease has reacted to
/// it, and the rows of this one hold that.
#[tokio::test]
async fn a_record_is_reflected_once_it_is_published_reacted_to_and_in_the_rows() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let ((holder, _holders), (other, _others)) =
        (instance(&projections::billing::TABLES, &log).await, instance(&projections::billing::TABLES, &log).await);
    let lease = log.lead("orderlog.billing", "billing").await.unwrap();
    let elsewhere = log.lead("orderlog.billing", "billing").await.unwrap();
    let other = other.hearing(elsewhere);
    let lacking = async |offset| {
        let mut lacks = Lacks::Publication;
        let taking_in = other.has_taken_in("orders", offset, &mut lacks);
        tokio::time::timeout(Duration::from_millis(300), taking_in).await.map_err(|_| lacks)
    };
    assert_eq!(lacking(5).await, Err(Lacks::Publication), "a relay that has kept no position has published nothing");

    let relay = log.lead("orderlog.orders", "orders").await.unwrap();
    let passes = async |next: u64| relay.commit(&[(Partition::journal("orders"), next.into())]).await.unwrap();
    passes(5).await;
    assert_eq!(lacking(5).await, Err(Lacks::Publication));
    let order = old_order();
    let event = cloudevents::encode(&envelope(), &orders::Published::Created(order.clone()), "orders");
    log.append(vec![event]).await.remove(0).unwrap();
    passes(6).await;
    assert_eq!(lacking(5).await, Err(Lacks::Reaction));

    let reacting = tokio::spawn(reactor::run(holder, lease));
    let mut lacks = Lacks::Publication;
    let taken_in = other.has_taken_in("orders", 5, &mut lacks);
    tokio::time::timeout(Duration::from_secs(30), taken_in).await.unwrap();
    let invoice = billing::Invoice::aggregate(order.order_id);
    assert!(other.store().get(invoice.kind, &invoice.key).await.unwrap().is_some(), "the invoice is in the rows");
    // What is known to be reflected stays so, and the next record is another matter.
    assert_eq!(lacking(5).await, Ok(()));
    assert_eq!(lacking(6).await, Err(Lacks::Publication));
    reacting.abort();
}

/// An event of an order, or of a customer, in this partition of its topic.
async fn publish(log: &SimulatedLog, event: NewRecord, partition: u32) {
    let landed = log.append(vec![NewRecord { partition: Some(partition), ..event }]).await.remove(0).unwrap();
    assert_eq!(landed.partition, partition);
}

/// Orders copies customers and billing reacts to orders, in partitions that did not exist when both started.
#[tokio::test]
async fn partitions_that_are_added_are_copied_from_and_reacted_to_from_their_beginning() {
    let simulated = SimulatedLog::new();
    let log: Arc<dyn EventLog> = simulated.clone();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let (orders, _of_orders) = instance(&projections::orders::TABLES, &log).await;
    let (billing, _of_billing) = instance(&projections::billing::TABLES, &log).await;
    let lease = log.lead("orderlog.billing", "billing").await.unwrap();
    let hearing = billing.clone().hearing(Arc::clone(&lease));
    let reacting = tokio::spawn(reactor::run(billing, lease));

    let order = old_order();
    for topic in ["order.created", "customer.created"] {
        simulated.add_partition(topic);
    }
    let created = orders::Published::Created(order.clone());
    publish(&simulated, cloudevents::encode(&envelope(), &created, "orders"), 3).await;
    let customer =
        customers::Published::Created(CustomerChanged { customer_id: order.customer_id, active: true, version: 1 });
    publish(&simulated, cloudevents::encode(&envelope(), &customer, "customers"), 3).await;

    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    let paid = async || hearing.execute(payment(order.order_id), None, Origin::default(), now_ms() + 500).await;
    let OrderCreated { customer_id, currency, lines, .. } = order.clone();
    let place =
        orders::Command::Place { order_id: OrderId(Uuid::now_v7()), customer_id, currency, lines, channel: None };
    let placed = async || orders.execute(place.clone(), None, Origin::default(), now_ms() + 500).await;
    while paid().await.is_err() || placed().await.is_err() {
        assert!(tokio::time::Instant::now() < until, "the new partitions are consumed");
    }
    // The positions that callers wait for are those of the new partitions too.
    let relay = log.lead("orderlog.orders", "orders").await.unwrap();
    relay.commit(&[(Partition::journal("orders"), 6.into())]).await.unwrap();
    let mut lacks = Lacks::Publication;
    let taken_in = hearing.has_taken_in("orders", 5, &mut lacks);
    tokio::time::timeout(Duration::from_secs(10), taken_in).await.unwrap();
    reacting.abort();
}

/// A position that was kept on another log says nothing of what is published on this one.
#[tokio::test]
async fn a_relay_that_was_at_home_on_another_log_has_published_nothing() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let (replica, _folder) = instance(&projections::billing::TABLES, &log).await;
    let lease = log.lead("orderlog.billing", "billing").await.unwrap();
    let replica = replica.hearing(lease);
    let relay = log.lead("orderlog.orders", "orders").await.unwrap();
    let journal = Partition::journal("orders");
    let mark = Mark { partition: journal.clone(), offset: 8, print: 7 };
    relay.commit(&[(journal, Position { next: 9, marks: vec![mark] })]).await.unwrap();
    let mut lacks = Lacks::Reaction;
    let taking_in = replica.has_taken_in("orders", 5, &mut lacks);
    assert!(tokio::time::timeout(Duration::from_millis(300), taking_in).await.is_err());
    assert_eq!(lacks, Lacks::Publication);
}

#[test]
fn the_sources_of_a_service_are_the_journals_whose_events_it_consumes() {
    fn journals<D: Decider>() -> Vec<&'static str> {
        sources::<D>().map(|(journal, _)| journal).collect()
    }
    assert_eq!(journals::<Customers>(), [""; 0]);
    assert_eq!(journals::<Orders>(), ["customers", "inventory", "billing"]);
    assert_eq!(journals::<Inventory>(), ["orders"]);
    assert_eq!(journals::<Billing>(), ["orders"]);
    assert_eq!(journals::<Notifications>(), ["inventory", "billing"]);
}
