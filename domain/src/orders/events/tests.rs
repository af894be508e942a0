//! The stored format, frozen.

use uuid::Uuid;

use super::*;
use crate::{
    inventory::{Shortage, ShortageReason},
    values::{Quantity, Sku},
};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(2));

/// `event` is stored as `json`, where `ORDER` and `CUSTOMER` stand for the ids.
#[track_caller]
fn is_stored_as(event: &Event, json: &str) {
    let json = json
        .replace("ORDER", "00000000-0000-0000-0000-000000000001")
        .replace("CUSTOMER", "00000000-0000-0000-0000-000000000002");
    assert_eq!(serde_json::to_string(event).unwrap(), json);
    assert_eq!(&serde_json::from_str::<Event>(&json).unwrap(), event);
}

fn sku() -> Sku {
    Sku::new("A-1").unwrap()
}

fn placed(channel: Option<Channel>) -> Event {
    Event::OrderPlaced(OrderPlaced {
        order_id: ORDER,
        customer_id: CUSTOMER,
        currency: Currency::new("EUR").unwrap(),
        lines: vec![OrderLine {
            sku: sku(),
            quantity: Quantity::new(3).unwrap(),
            unit_price: Money::new(250).unwrap(),
        }],
        total: Money::new(750).unwrap(),
        channel,
        version: 1,
    })
}

#[test]
fn stored_format_of_order_placed_is_stable() {
    is_stored_as(
        &placed(None),
        r#"{"OrderPlaced":{"order_id":"ORDER","customer_id":"CUSTOMER","currency":"EUR","lines":[{"sku":"A-1","quantity":3,"unit_price":250}],"total":750,"version":1}}"#,
    );
    is_stored_as(
        &placed(Some(Channel::new("store-7").unwrap())),
        r#"{"OrderPlaced":{"order_id":"ORDER","customer_id":"CUSTOMER","currency":"EUR","lines":[{"sku":"A-1","quantity":3,"unit_price":250}],"total":750,"channel":"store-7","version":1}}"#,
    );
}

#[test]
fn stored_format_of_order_confirmed_is_stable() {
    is_stored_as(
        &Event::OrderConfirmed(OrderConfirmed { order_id: ORDER, customer_id: CUSTOMER, version: 2 }),
        r#"{"OrderConfirmed":{"order_id":"ORDER","customer_id":"CUSTOMER","version":2}}"#,
    );
}

#[test]
fn stored_format_of_order_rejected_is_stable() {
    for (reason, name) in [(ShortageReason::OutOfStock, "out_of_stock"), (ShortageReason::UnknownSku, "unknown_sku")] {
        let shortages = vec![Shortage { sku: sku(), requested: 3, available: 1 }];
        is_stored_as(
            &Event::OrderRejected(OrderRejected {
                order_id: ORDER,
                customer_id: CUSTOMER,
                rejection: Unsupplied { reason, shortages },
                version: 2,
            }),
            &r#"{"OrderRejected":{"order_id":"ORDER","customer_id":"CUSTOMER","rejection":{"reason":"REASON","shortages":[{"sku":"A-1","requested":3,"available":1}]},"version":2}}"#
                .replace("REASON", name),
        );
    }
}

#[test]
fn stored_format_of_order_cancelled_is_stable() {
    for payment in [Payment::Unpaid, Payment::Paid, Payment::Refunded] {
        is_stored_as(
            &Event::OrderCancelled(OrderCancelled { order_id: ORDER, customer_id: CUSTOMER, payment, version: 3 }),
            &r#"{"OrderCancelled":{"order_id":"ORDER","customer_id":"CUSTOMER","payment":"PAYMENT","version":3}}"#
                .replace("PAYMENT", payment.as_str()),
        );
    }
}

#[test]
fn stored_format_of_order_fulfilled_is_stable() {
    is_stored_as(
        &Event::OrderFulfilled(OrderFulfilled {
            order_id: ORDER,
            customer_id: CUSTOMER,
            payment: Payment::Paid,
            lines: vec![StockLine { sku: sku(), quantity: Quantity::new(3).unwrap() }],
            version: 4,
        }),
        r#"{"OrderFulfilled":{"order_id":"ORDER","customer_id":"CUSTOMER","payment":"paid","lines":[{"sku":"A-1","quantity":3}],"version":4}}"#,
    );
}

#[test]
fn stored_format_of_order_marked_paid_is_stable() {
    is_stored_as(
        &Event::OrderMarkedPaid(OrderMarkedPaid { order_id: ORDER, invoice_version: 2, version: 3 }),
        r#"{"OrderMarkedPaid":{"order_id":"ORDER","invoice_version":2,"version":3}}"#,
    );
}

#[test]
fn stored_format_of_order_marked_refunded_is_stable() {
    is_stored_as(
        &Event::OrderMarkedRefunded(OrderMarkedRefunded { order_id: ORDER, invoice_version: 3, version: 4 }),
        r#"{"OrderMarkedRefunded":{"order_id":"ORDER","invoice_version":3,"version":4}}"#,
    );
}

#[test]
fn stored_format_of_order_unchanged_is_stable() {
    let states = [
        (OrderState::Placed, "placed"),
        (OrderState::Confirmed, "confirmed"),
        (OrderState::Rejected, "rejected"),
        (OrderState::Fulfilled, "fulfilled"),
        (OrderState::Cancelled, "cancelled"),
    ];
    for (state, name) in states {
        assert_eq!(state.as_str(), name);
        is_stored_as(
            &Event::OrderUnchanged(OrderUnchanged {
                order_id: ORDER,
                customer_id: CUSTOMER,
                state,
                payment: Payment::Paid,
                version: 5,
            }),
            &r#"{"OrderUnchanged":{"order_id":"ORDER","customer_id":"CUSTOMER","state":"STATE","payment":"paid","version":5}}"#
                .replace("STATE", name),
        );
    }
}

#[test]
fn stored_format_of_order_reaction_declined_is_stable() {
    let cases = [
        (Reaction::Confirm, DeclineReason::UnknownOrder, r#""confirm","because":"unknown_order""#),
        (
            Reaction::Reject,
            DeclineReason::StateIs(OrderState::Cancelled),
            r#""reject","because":{"state_is":"cancelled"}"#,
        ),
        (
            Reaction::MarkPaid,
            DeclineReason::PaymentIs(Payment::Refunded),
            r#""mark_paid","because":{"payment_is":"refunded"}"#,
        ),
        (
            Reaction::MarkRefunded,
            DeclineReason::PaymentIs(Payment::Refunded),
            r#""mark_refunded","because":{"payment_is":"refunded"}"#,
        ),
    ];
    for (reaction, because, json) in cases {
        is_stored_as(
            &Event::OrderReactionDeclined(OrderReactionDeclined { order_id: ORDER, reaction, because, version: 6 }),
            &r#"{"OrderReactionDeclined":{"order_id":"ORDER","reaction":CASE,"version":6}}"#.replace("CASE", json),
        );
    }
}
