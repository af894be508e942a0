//! Copied facts, with the orders service's known customers: their news comes on two topics without a mutual order, late and
//! repeated, and of each customer the highest version counts.

use super::*;
use crate::{
    orders::{Command, Entity, KnownCustomer, Orders, Rejection},
    public::{CustomerChanged, OrderLine},
    story::sequences,
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(77));

/// What became of the customer, version by version: welcomed, deactivated, changed.
fn news() -> [Public; 3] {
    let changed = |version| CustomerChanged { customer_id: CUSTOMER, active: version != 2, version };
    [Public::CustomerCreated(changed(1)), Public::CustomerUpdated(changed(2)), Public::CustomerUpdated(changed(3))]
}

/// The row that the first `n_versions` versions should leave.
fn row(n_versions: usize) -> Option<(u64, Entity)> {
    let newest = &news()[..n_versions];
    let (_, version, entity) = newest.last().and_then(Orders::copy)?;
    Some((version, entity))
}

fn row_of(instance: &InstanceOf<Orders>) -> Option<(u64, Entity)> {
    let aggregate = KnownCustomer::aggregate(CUSTOMER);
    instance.rows.entities.get(&(aggregate.kind, aggregate.key)).cloned()
}

/// Hands over one piece of news, from the place in its topic where the instance wants to go on reading.
fn tell(instance: &mut InstanceOf<Orders>, event: &Public) {
    let queued = instance.core.copies.iter().filter(|(read, _)| read.topic == event.topic()).count() as u64;
    let offset = instance.core.copied_next(event.topic(), 0) + queued;
    instance.core.copy(event.topic(), 0, (offset, offset * 10), event);
}

#[test]
fn a_customers_news_in_any_order_and_any_number_leaves_the_row_of_the_highest_version() {
    let news = news();
    for sequence in sequences(&[2, 2, 2]) {
        let mut log = Log::new();
        let mut stepwise = InstanceOf::<Orders>::started(1, &mut log);
        let mut at_once = InstanceOf::<Orders>::started(2, &mut log);
        let mut highest = 0;
        for which in &sequence {
            tell(&mut stepwise, &news[*which]);
            stepwise.run();
            highest = highest.max(which + 1);
            assert_eq!(row_of(&stepwise), row(highest), "{sequence:?}");
            tell(&mut at_once, &news[*which]);
        }
        at_once.run();
        assert_eq!(row_of(&at_once), row(3), "{sequence:?}");
        for instance in [&stepwise, &at_once] {
            let row = |topic: &str, next| CopiedRow { topic: topic.to_owned(), part: 0, next, print: (next - 1) * 10 };
            let copied = [row("customer.created", 2), row("customer.updated", 4)];
            assert_eq!(instance.rows.checkpoint.copied, copied, "{sequence:?}");
        }
    }
}

#[test]
fn an_instance_that_restarts_between_two_pieces_of_news_ends_with_the_same_row() {
    let news = news();
    for sequence in sequences(&[1, 1, 1]) {
        for restart in 0..sequence.len() {
            let mut log = Log::new();
            let mut one = InstanceOf::<Orders>::started(1, &mut log);
            for (played, which) in sequence.iter().enumerate() {
                if played == restart {
                    one = InstanceOf::on(one.rows, 2);
                }
                tell(&mut one, &news[*which]);
                one.run();
            }
            assert_eq!(row_of(&one), row(3), "{sequence:?}, restarted before {restart}");
        }
    }
}

#[test]
fn a_refusal_that_other_news_could_turn_waits_until_that_is_copied() {
    let mut one = InstanceOf::<Orders>::started(1, &mut Log::new());
    let line = OrderLine {
        sku: Sku::new("a").unwrap(),
        quantity: Quantity::new(1).unwrap(),
        unit_price: Money::new(1).unwrap(),
    };
    let (order_id, customer_id) = (OrderId(Uuid::from_u128(5)), CustomerId(Uuid::from_u128(78)));
    let currency = Currency::new("EUR").unwrap();
    let ticket = one.ask(Command::Place { order_id, customer_id, currency, lines: vec![line] }, None);
    one.core.ends(ticket, Ends { journal: 1, copied: vec![("customer.created".to_owned(), 0, 1)] });
    one.run();
    assert!(one.outcome(ticket).is_none(), "the customer may be the one that is not copied yet");
    tell(&mut one, &news()[0]);
    one.run();
    one.run();
    let unknown = Rejection::UnknownCustomer { customer_id };
    assert!(matches!(one.outcome(ticket), Some(Outcome::Rejected(rejection)) if *rejection == unknown));
}

#[test]
fn news_that_is_nothing_to_copy_is_passed_over_and_not_read_again() {
    let mut log = Log::new();
    let mut one = InstanceOf::<Orders>::started(1, &mut log);
    let sku = crate::values::Sku::new("beans").unwrap();
    let other = Public::LowStock(crate::public::LowStock { sku, available: 0, low_stock_threshold: 1, version: 1 });
    one.core.copy("customer.created", 0, (4, 7), &other);
    one.run();
    assert_eq!((row_of(&one), one.core.copied_next("customer.created", 0)), (None, 5));
}
