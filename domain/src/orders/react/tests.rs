//! News of one order in every order, doubled and cut short, with a cancellation and a fulfilment anywhere between.

use std::collections::HashSet;

use uuid::Uuid;

use super::*;
use orderlog_core::{
    decider::Decider,
    key::Key,
    public::PublicEvent,
    story::{Story, given, sequences},
};

use crate::{
    customers::public::CustomerChanged,
    inventory::{Shortage, ShortageReason, StockLine},
    orders::{Entity, Event, Order, OrderLine, OrderState, Orders, Payment, decide::tests::check_step},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(1));
const ORDER: OrderId = OrderId(Uuid::from_u128(2));

fn sku() -> Sku {
    Sku::new("a").unwrap()
}

fn two() -> Quantity {
    Quantity::new(2).unwrap()
}

fn money(minor_units: i64) -> Money {
    Money::new(minor_units).unwrap()
}

fn eur() -> Currency {
    Currency::new("EUR").unwrap()
}

fn reserved(reserved_for: ReservedFor, order_id: Option<OrderId>) -> Heard {
    Heard::Inventory(inventory::Published::StockReserved(inventory::public::StockReserved {
        reservation_id: ORDER.to_string(),
        reserved_for,
        order_id,
        lines: vec![StockLine { sku: sku(), quantity: two() }],
        version: 1,
    }))
}

fn stock_reserved() -> Heard {
    reserved(ReservedFor::Order, Some(ORDER))
}

fn stock_rejected() -> Heard {
    Heard::Inventory(inventory::Published::StockRejected(inventory::public::StockRejected {
        order_id: ORDER,
        reason: ShortageReason::UnknownSku,
        shortages: vec![Shortage { sku: sku(), requested: 2, available: 0 }],
        version: 1,
    }))
}

fn order_paid() -> Heard {
    Heard::Billing(billing::Published::OrderPaid(billing::public::OrderPaid {
        order_id: ORDER,
        customer_id: CUSTOMER,
        amount: money(20),
        currency: eur(),
        version: 2,
    }))
}

fn refunded(amount_paid: i64, amount_refunded: i64) -> Heard {
    Heard::Billing(billing::Published::PaymentRefunded(billing::public::PaymentRefunded {
        order_id: ORDER,
        customer_id: CUSTOMER,
        amount: money(1),
        amount_paid: money(amount_paid),
        amount_refunded: money(amount_refunded),
        currency: eur(),
        version: 3,
    }))
}

/// Something that happens to the order: another service's news, or what a person asks.
#[derive(Clone)]
enum Input {
    News(Heard),
    Asked(Command),
}

fn placed() -> Story<Orders> {
    let news = CustomerChanged { customer_id: CUSTOMER, active: true, version: 1 };
    let mut story = given::<Orders>([]).heard(&Heard::Customers(customers::Published::Created(news)));
    let lines = vec![OrderLine { sku: sku(), quantity: two(), unit_price: money(10) }];
    story
        .play(&Command::Place { order_id: ORDER, customer_id: CUSTOMER, currency: eur(), lines, channel: None })
        .unwrap();
    story
}

fn order(story: &Story<Orders>) -> &Order {
    story.entities.get(&Key::of(ORDER)).and_then(Entity::as_order).unwrap()
}

/// Plays `sequence`, checking after each input, and so for each prefix, that nothing illegal happened.
fn play(inputs: &[Input], sequence: &[usize]) -> Story<Orders> {
    let mut story = placed();
    let mut confirmed = false;
    let mut rejected = false;
    for which in sequence {
        let before = order(&story).clone();
        match &inputs[*which] {
            Input::News(news) => {
                let command = Orders::react(news).unwrap();
                story.play(&command).unwrap();
            }
            Input::Asked(command) => {
                let _ = story.play(command);
            }
        }
        let after = order(&story);
        check_step(&before, after).unwrap();
        confirmed |= after.state == OrderState::Confirmed;
        rejected |= after.state == OrderState::Rejected;
        assert!(!(confirmed && rejected), "never both: {sequence:?}");
    }
    story
}

/// How all sequences of these inputs end.
fn endings(inputs: &[Input], counts: &[usize]) -> HashSet<(OrderState, Payment)> {
    let ending = |sequence: Vec<usize>| {
        let story = play(inputs, &sequence);
        (order(&story).state, order(&story).payment)
    };
    sequences(counts).into_iter().map(ending).collect()
}

#[test]
fn news_in_any_order_and_any_number_ends_the_same() {
    let cases = [(stock_reserved(), OrderState::Confirmed), (stock_rejected(), OrderState::Rejected)];
    for (stock, state) in cases {
        let inputs = [stock, order_paid(), refunded(20, 20)].map(Input::News);
        for counts in [[1, 1, 1], [2, 2, 2], [3, 1, 2]] {
            assert_eq!(endings(&inputs, &counts), HashSet::from([(state, Payment::Refunded)]));
        }
        assert_eq!(endings(&inputs, &[2, 2, 0]), HashSet::from([(state, Payment::Paid)]));
        assert_eq!(endings(&inputs, &[2, 0, 0]), HashSet::from([(state, Payment::Unpaid)]));
        assert_eq!(endings(&inputs, &[0, 2, 2]), HashSet::from([(OrderState::Placed, Payment::Refunded)]));
    }
}

#[test]
fn a_cancellation_anywhere_wins_over_reserved_stock() {
    let cancel = Input::Asked(Command::Cancel { order_id: ORDER });
    let inputs = [Input::News(stock_reserved()), Input::News(order_paid()), Input::News(refunded(20, 20)), cancel];
    for counts in [[1, 1, 1, 1], [2, 2, 2, 1], [2, 2, 2, 2]] {
        assert_eq!(endings(&inputs, &counts), HashSet::from([(OrderState::Cancelled, Payment::Refunded)]));
    }
}

#[test]
fn a_cancellation_counts_only_before_the_order_is_rejected() {
    let cancel = Input::Asked(Command::Cancel { order_id: ORDER });
    let inputs = [Input::News(stock_rejected()), Input::News(order_paid()), Input::News(refunded(20, 20)), cancel];
    for sequence in sequences(&[2, 2, 2, 1]) {
        let position = |which| sequence.iter().position(|input| *input == which);
        let state = if position(3) < position(0) { OrderState::Cancelled } else { OrderState::Rejected };
        let story = play(&inputs, &sequence);
        assert_eq!((order(&story).state, order(&story).payment), (state, Payment::Refunded), "{sequence:?}");
    }
}

#[test]
fn nothing_illegal_happens_with_a_cancellation_and_a_fulfilment_anywhere() {
    for stock in [stock_reserved(), stock_rejected()] {
        let inputs = [
            Input::News(stock),
            Input::News(order_paid()),
            Input::News(refunded(20, 20)),
            Input::Asked(Command::Cancel { order_id: ORDER }),
            Input::Asked(Command::Fulfil { order_id: ORDER }),
        ];
        for sequence in sequences(&[2, 2, 1, 1, 1]) {
            assert!(order(&play(&inputs, &sequence)).state.is_ended(), "{sequence:?}");
        }
    }
}

#[test]
fn stock_that_is_both_reserved_and_rejected_decides_once() {
    let inputs = [stock_reserved(), stock_rejected(), order_paid()].map(Input::News);
    for sequence in sequences(&[2, 2, 1]) {
        let first_is_reserved = sequence.iter().find(|which| **which < 2) == Some(&0);
        let state = if first_is_reserved { OrderState::Confirmed } else { OrderState::Rejected };
        assert_eq!(order(&play(&inputs, &sequence)).state, state, "{sequence:?}");
    }
}

#[test]
fn only_the_order_flows_own_reservation_confirms_an_order() {
    assert_eq!(Orders::react(&stock_reserved()), Some(Command::Confirm { order_id: ORDER }));
    assert_eq!(Orders::react(&reserved(ReservedFor::Caller, Some(ORDER))), None);
    assert_eq!(Orders::react(&reserved(ReservedFor::Order, None)), None);
}

#[test]
fn only_a_full_refund_refunds_an_order() {
    assert_eq!(Orders::react(&refunded(20, 19)), None);
    let command = Command::MarkRefunded { order_id: ORDER, invoice_version: 3 };
    assert_eq!(Orders::react(&refunded(20, 20)), Some(command));
}

#[test]
fn every_topic_reacted_to_or_copied_is_listed_and_no_other() {
    let customer = CustomerChanged { customer_id: CUSTOMER, active: false, version: 7 };
    let low = inventory::public::LowStock { sku: sku(), available: 0, low_stock_threshold: 1, version: 1 };
    let all = [
        stock_reserved(),
        stock_rejected(),
        order_paid(),
        refunded(20, 20),
        Heard::Customers(customers::Published::Created(customer.clone())),
        Heard::Customers(customers::Published::Updated(customer)),
        Heard::Inventory(inventory::Published::LowStock(low)),
    ];
    for event in all {
        assert_eq!(Orders::react(&event).is_some(), Orders::REACTS_TO.contains(&event.topic()), "{}", event.topic());
        assert_eq!(Orders::copy(&event).is_some(), Orders::COPIES.contains(&event.topic()), "{}", event.topic());
    }
}

#[test]
fn a_customers_news_becomes_a_known_customer() {
    let news = CustomerChanged { customer_id: CUSTOMER, active: false, version: 7 };
    let known = KnownCustomer { customer_id: CUSTOMER, active: false, version: 7 };
    let expected = (KnownCustomer::aggregate(CUSTOMER), 7, Entity::KnownCustomer(known));
    assert_eq!(Orders::copy(&Heard::Customers(customers::Published::Updated(news))), Some(expected));
}

#[test]
fn what_is_told_of_stock_news_names_the_customer() {
    let tell = |news: &Heard| {
        let mut story = placed();
        let event: Event = story.play(&Orders::react(news).unwrap()).unwrap();
        Orders::publish(&event)
    };
    let confirmed = public::OrderConfirmed { order_id: ORDER, customer_id: CUSTOMER, version: 2 };
    assert_eq!(tell(&stock_reserved()), [Published::Confirmed(confirmed)]);
    let rejected = public::OrderRejected {
        order_id: ORDER,
        customer_id: CUSTOMER,
        reason: ShortageReason::UnknownSku,
        shortages: vec![Shortage { sku: sku(), requested: 2, available: 0 }],
        version: 2,
    };
    assert_eq!(tell(&stock_rejected()), [Published::Rejected(rejected)]);
    assert_eq!(tell(&order_paid()), []);
    assert_eq!(tell(&refunded(20, 20)), []);
}
