//! Keys and kinds, with the orders service: what is asked of one kind must not change what is known of another.

use super::*;
use crate::{
    orders::{Command, KnownCustomer, Orders, Rejection},
    public::{CustomerChanged, OrderLine},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(77));

/// An orders service that has heard of the customer.
fn acquainted(log: &mut Log) -> InstanceOf<Orders> {
    let mut one = InstanceOf::<Orders>::started(1, log);
    let news = CustomerChanged { customer_id: CUSTOMER, active: true, version: 1 };
    one.core.copy("customer.created", 0, (0, 0), &Public::CustomerCreated(news));
    one.run();
    one
}

fn place() -> Command {
    let line = OrderLine {
        sku: Sku::new("a").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        unit_price: Money::new(1).unwrap(),
    };
    let currency = Currency::new("EUR").unwrap();
    Command::Place { order_id: OrderId(Uuid::from_u128(5)), customer_id: CUSTOMER, currency, lines: vec![line] }
}

/// Whether the customer can order after somebody asked to cancel the order with this id.
fn can_order_after_cancelling(id: Uuid) -> bool {
    let mut log = Log::new();
    let rows = acquainted(&mut log).rows;
    let mut restarted = InstanceOf::<Orders>::on(rows, 2);
    restarted.ask(Command::Cancel { order_id: OrderId(id) }, None);
    assert!(restarted.run().is_empty());
    restarted.ask(place(), None);
    !restarted.run().is_empty()
}

#[test]
fn an_id_that_was_just_minted_is_not_looked_up() {
    let rows = acquainted(&mut Log::new()).rows;
    let mut restarted = InstanceOf::<Orders>::on(rows, 2);
    restarted.ask(place(), None);
    assert_eq!((restarted.run().len(), restarted.n_loaded), (1, 1), "only the customer is");
}

#[test]
fn a_customers_version_is_not_taken_for_that_of_an_order_under_its_key() {
    let mut one = acquainted(&mut Log::new());
    let order_id = OrderId(Uuid::from_bytes(*KnownCustomer::aggregate(CUSTOMER).key.as_bytes()));
    let (command, versions) = (Command::Cancel { order_id }, Some(Versions::OneOf(vec![7])));
    let request = Request { command, stamp: None, versions, origin: Origin::default(), deadline: Millis::MAX };
    let ticket = one.core.ask(request, 0);
    one.core.ends(ticket, Ends { journal: 1, copied: Vec::new() });
    one.run();
    assert!(matches!(one.outcome(ticket), Some(Outcome::Rejected(Rejection::UnknownOrder { .. }))));
}

#[test]
fn a_customers_id_asked_for_as_an_orders_leaves_the_customer_known() {
    assert!(can_order_after_cancelling(CUSTOMER.0));
}

#[test]
fn a_customers_key_asked_for_as_an_orders_leaves_the_customer_known() {
    // Anybody can compute it: it is a hash without a secret, and an order's id can be any 16 bytes.
    assert!(can_order_after_cancelling(Uuid::from_bytes(*KnownCustomer::aggregate(CUSTOMER).key.as_bytes())));
}
