//! The stored format, frozen.

use uuid::Uuid;

use super::*;
use orderlog_core::reason::Reason;

use crate::{
    inventory::{Shortage, ShortageReason, StockLevel, StockLine},
    values::{OrderId, Quantity, ReservationName, Sku, TtlSeconds},
};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));

/// `event` is stored as `json`, where `ORDER` stands for the order's id, and `BEFORE` and `AFTER` for the levels.
#[track_caller]
fn is_stored_as(event: &Event, json: &str) {
    let json = json
        .replace("ORDER", "00000000-0000-0000-0000-000000000001")
        .replace("BEFORE", r#""before":{"on_hand":5,"reserved":1,"low_stock_threshold":2}"#)
        .replace("AFTER", r#""after":{"on_hand":8,"reserved":3,"low_stock_threshold":2}"#);
    assert_eq!(serde_json::to_string(event).unwrap(), json);
    assert_eq!(&serde_json::from_str::<Event>(&json).unwrap(), event);
}

fn sku() -> Sku {
    Sku::new("A-1").unwrap()
}

fn three() -> Quantity {
    Quantity::new(3).unwrap()
}

fn before() -> StockLevel {
    StockLevel { on_hand: 5, reserved: 1, low_stock_threshold: 2 }
}

fn after() -> StockLevel {
    StockLevel { on_hand: 8, reserved: 3, low_stock_threshold: 2 }
}

fn caller() -> ReservationId {
    ReservationId::Caller(ReservationName::new("cart-7").unwrap())
}

/// A caller's reservation with everything that a caller may say.
fn moved() -> ReservationMoved {
    ReservationMoved {
        reservation: caller(),
        order_id: Some(ORDER),
        lines: vec![MovedLine { sku: sku(), quantity: three(), before: before(), after: after(), version: 4 }],
        ttl_seconds: TtlSeconds::new(60).ok(),
        expires_at_ms: Some(60_000),
        version: 2,
    }
}

const MOVED: &str = r#"{"reservation":{"caller":"cart-7"},"order_id":"ORDER","lines":[{"sku":"A-1","quantity":3,BEFORE,AFTER,"version":4}],"ttl_seconds":60,"expires_at_ms":60000,"version":2}"#;

#[test]
fn stored_format_of_stock_received_is_stable() {
    is_stored_as(
        &Event::StockReceived(StockReceived {
            sku: sku(),
            quantity: three(),
            before: before(),
            after: after(),
            version: 4,
        }),
        r#"{"StockReceived":{"sku":"A-1","quantity":3,BEFORE,AFTER,"version":4}}"#,
    );
}

#[test]
fn stored_format_of_stock_adjusted_is_stable() {
    is_stored_as(
        &Event::StockAdjusted(StockAdjusted {
            sku: sku(),
            delta: -3,
            reason: Reason::new("one bag was torn").unwrap(),
            before: before(),
            after: after(),
            version: 4,
        }),
        r#"{"StockAdjusted":{"sku":"A-1","delta":-3,"reason":"one bag was torn",BEFORE,AFTER,"version":4}}"#,
    );
}

#[test]
fn stored_format_of_threshold_set_is_stable() {
    is_stored_as(
        &Event::ThresholdSet(ThresholdSet { sku: sku(), before: before(), after: after(), version: 4 }),
        r#"{"ThresholdSet":{"sku":"A-1",BEFORE,AFTER,"version":4}}"#,
    );
}

#[test]
fn stored_format_of_threshold_unchanged_is_stable() {
    is_stored_as(
        &Event::ThresholdUnchanged(ThresholdUnchanged { sku: sku(), level: before(), version: 4 }),
        r#"{"ThresholdUnchanged":{"sku":"A-1","level":{"on_hand":5,"reserved":1,"low_stock_threshold":2},"version":4}}"#,
    );
}

#[test]
fn stored_format_of_a_reservations_movements_is_stable() {
    is_stored_as(&Event::ReservationHeld(moved()), &format!(r#"{{"ReservationHeld":{MOVED}}}"#));
    is_stored_as(&Event::ReservationReleased(moved()), &format!(r#"{{"ReservationReleased":{MOVED}}}"#));
    is_stored_as(&Event::ReservationExpired(moved()), &format!(r#"{{"ReservationExpired":{MOVED}}}"#));
    is_stored_as(&Event::ReservationCommitted(moved()), &format!(r#"{{"ReservationCommitted":{MOVED}}}"#));
}

#[test]
fn what_a_reservation_does_not_have_is_not_stored() {
    let bare = ReservationMoved {
        reservation: ReservationId::Order(ORDER),
        order_id: None,
        lines: Vec::new(),
        ttl_seconds: None,
        expires_at_ms: None,
        version: 1,
    };
    is_stored_as(
        &Event::ReservationHeld(bare),
        r#"{"ReservationHeld":{"reservation":{"order":"ORDER"},"lines":[],"version":1}}"#,
    );
    is_stored_as(
        &Event::ReservationRepeated(ReservationRepeated {
            reservation: caller(),
            order_id: None,
            state: ReservationState::Released,
            lines: Vec::new(),
            ttl_seconds: None,
            expires_at_ms: None,
            version: 3,
        }),
        r#"{"ReservationRepeated":{"reservation":{"caller":"cart-7"},"state":"released","lines":[],"version":3}}"#,
    );
}

#[test]
fn stored_format_of_reservation_rejected_is_stable() {
    for (reason, name) in [(ShortageReason::OutOfStock, "out_of_stock"), (ShortageReason::UnknownSku, "unknown_sku")] {
        is_stored_as(
            &Event::ReservationRejected(ReservationRejected {
                order_id: ORDER,
                reason,
                shortages: vec![Shortage { sku: sku(), requested: 3, available: 1 }],
                seen: vec![SeenSku { sku: sku(), version: 4 }],
                version: 1,
            }),
            &r#"{"ReservationRejected":{"order_id":"ORDER","reason":"REASON","shortages":[{"sku":"A-1","requested":3,"available":1}],"seen":[{"sku":"A-1","version":4}],"version":1}}"#
                .replace("REASON", name),
        );
    }
}

#[test]
fn stored_format_of_reservation_repeated_is_stable() {
    let states = [
        (ReservationState::Held, "held"),
        (ReservationState::Rejected, "rejected"),
        (ReservationState::Committed, "committed"),
        (ReservationState::Released, "released"),
        (ReservationState::Expired, "expired"),
    ];
    for (state, name) in states {
        assert_eq!(state.as_str(), name);
        is_stored_as(
            &Event::ReservationRepeated(ReservationRepeated {
                reservation: caller(),
                order_id: Some(ORDER),
                state,
                lines: vec![StockLine { sku: sku(), quantity: three() }],
                ttl_seconds: TtlSeconds::new(60).ok(),
                expires_at_ms: Some(60_000),
                version: 3,
            }),
            &r#"{"ReservationRepeated":{"reservation":{"caller":"cart-7"},"order_id":"ORDER","state":"STATE","lines":[{"sku":"A-1","quantity":3}],"ttl_seconds":60,"expires_at_ms":60000,"version":3}}"#
                .replace("STATE", name),
        );
    }
}

#[test]
fn stored_format_of_reservation_cancelled_is_stable() {
    is_stored_as(
        &Event::ReservationCancelled(ReservationCancelled { order_id: ORDER, version: 1 }),
        r#"{"ReservationCancelled":{"order_id":"ORDER","version":1}}"#,
    );
}

#[test]
fn stored_format_of_reservation_declined_is_stable() {
    let cases = [
        (
            Reaction::Reserve,
            Because::Already(ReservationState::Held),
            r#""asked":"reserve","because":{"already":"held"}"#,
        ),
        (
            Reaction::Release,
            Because::Already(ReservationState::Committed),
            r#""asked":"release","because":{"already":"committed"}"#,
        ),
        (
            Reaction::Commit,
            Because::Already(ReservationState::Released),
            r#""asked":"commit","because":{"already":"released"}"#,
        ),
        (Reaction::Expire, Because::NotDue, r#""asked":"expire","because":"not_due""#),
    ];
    for (asked, because, json) in cases {
        is_stored_as(
            &Event::ReservationDeclined(ReservationDeclined {
                reservation: ReservationId::Order(ORDER),
                asked,
                because,
                version: 2,
            }),
            &r#"{"ReservationDeclined":{"reservation":{"order":"ORDER"},CASE,"version":2}}"#.replace("CASE", json),
        );
    }
}
