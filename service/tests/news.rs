//! A "no" about another service's object is told only once the news that stand on the topics are taken in.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;

use orderlog_domain::orders::{self, Orders};
use orderlog_domain::{
    billing::{Billing, Command, Rejection},
    header::Origin,
    key::HashKey,
    public::{Envelope, OrderCreated, OrderLine, Public},
    values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference, Quantity, Sku},
};
use orderlog_eventlog::{EventLog, NewRecord, simulated::SimulatedLog};
use orderlog_projections::Store;
use orderlog_service::{
    assembly, cloudevents, now_ms, reactor,
    replica::{ExecuteError, News, Replica, Setup},
    surroundings::Machine,
};
use uuid::Uuid;

/// An order that was placed long ago, so that nobody would wait for it because it is young.
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

fn payment(order_id: OrderId) -> Command {
    Command::RecordPayment {
        payment_id: PaymentId(Uuid::now_v7()),
        order_id,
        amount: Money::new(500).unwrap(),
        currency: Currency::new("EUR").unwrap(),
        reference: PaymentReference::new("bank").unwrap(),
    }
}

#[tokio::test]
async fn a_payment_for_an_order_that_the_reactor_has_not_come_to_is_no_unknown_order() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics()).await.unwrap();
    let order = old_order();
    let id = Uuid::now_v7();
    let envelope = Envelope { id, time_ms: now_ms(), correlation: id, cause: None, trace: None };
    let event = cloudevents::encode(&envelope, &Public::OrderCreated(order.clone()), "orders");
    log.append(vec![event]).await.remove(0).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::<Billing>::open(folder.path()).await.unwrap());
    let hash_key = HashKey::from_secret("test");
    let setup = Setup {
        log: Arc::clone(&log),
        hash_key,
        writer: Uuid::now_v7(),
        n_slots_max: 100,
        surroundings: Arc::new(Machine),
    };
    let deaf = Replica::<Billing>::start(setup, store).await.unwrap();
    deaf.ready().await.unwrap();
    let pay = |replica: Replica<Billing>| async move {
        replica.execute(payment(order.order_id), None, Origin::default(), now_ms() + 60_000).await
    };
    let refused = pay(deaf.clone()).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejection::UnknownOrder { .. }))), "{refused:?}");

    let lease = log.lead("orderlog.billing", "billing").await.unwrap();
    let hearing = deaf.clone().hearing(News::of::<Billing>(log, Arc::clone(&lease)).await.unwrap());
    let paid = tokio::spawn(pay(hearing));
    let reacting = tokio::spawn(reactor::run(deaf, lease));
    paid.await.unwrap().unwrap();
    reacting.abort();
}

#[tokio::test]
async fn a_copied_fact_that_cannot_be_read_is_not_passed_over() {
    let log: Arc<dyn EventLog> = SimulatedLog::new();
    log.prepare(&assembly::topics()).await.unwrap();
    let rubbish = NewRecord {
        topic: "customer.created".into(),
        partition: Some(0),
        key: None,
        headers: Vec::new(),
        value: "no JSON".into(),
    };
    log.append(vec![rubbish]).await.remove(0).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::<Orders>::open(folder.path()).await.unwrap());
    let hash_key = HashKey::from_secret("test");
    let setup = Setup { log, hash_key, writer: Uuid::now_v7(), n_slots_max: 100, surroundings: Arc::new(Machine) };
    let replica = Replica::<Orders>::start(setup, store).await.unwrap();
    replica.ready().await.unwrap();
    let OrderCreated { order_id, customer_id, currency, lines, .. } = old_order();
    let place = orders::Command::Place { order_id, customer_id, currency, lines };
    let outcome = replica.execute(place, None, Origin::default(), now_ms() + 1_500).await;
    assert!(
        matches!(outcome, Err(ExecuteError::Unavailable(_))),
        "nobody knows whether there is a customer: {outcome:?}"
    );
    let trouble = replica.trouble().expect("readiness tells");
    assert!(trouble.contains("customer.created/0@0"), "{trouble}");
}
