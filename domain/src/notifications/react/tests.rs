//! Who is told what, and that news in every order, doubled and cut short makes the same notifications.

use std::collections::HashMap;

use super::*;
use orderlog_core::{
    decider::Decider,
    story::{given, sequences},
};

use crate::{
    inventory::{MovementCause, ReservedFor, StockLevel, public::StockReserved},
    notifications::{Entity, Event, Notification, Notifications},
    values::{CustomerId, OrderId, Sku},
};

const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(1));
const ORDER: OrderId = OrderId(Uuid::from_u128(2));

fn low(version: u64) -> Heard {
    Heard::Inventory(inventory::Published::LowStock(LowStock {
        sku: Sku::new("a").unwrap(),
        available: 3,
        low_stock_threshold: 5,
        version,
    }))
}

/// A movement of SKU `a` with threshold 5 and nothing reserved.
fn moved(before: u32, after: u32, version: u64) -> Heard {
    let level = |on_hand| StockLevel { on_hand, reserved: 0, low_stock_threshold: 5 };
    Heard::Inventory(inventory::Published::StockUpdated(StockUpdated {
        sku: Sku::new("a").unwrap(),
        delta: i64::from(after) - i64::from(before),
        cause: MovementCause::Received,
        reservation_id: None,
        reserved_for: None,
        before: level(before),
        after: level(after),
        version,
    }))
}

fn paid(amount: i64, currency: &str) -> Heard {
    Heard::Billing(billing::Published::OrderPaid(OrderPaid {
        order_id: ORDER,
        customer_id: CUSTOMER,
        amount: Money::new(amount).unwrap(),
        currency: Currency::new(currency).unwrap(),
        version: 2,
    }))
}

/// Recipient, subject and body of what somebody is told.
fn told(event: &Heard) -> Option<(String, String, String)> {
    match Notifications::react(event)? {
        Command::Notify { recipient, subject, body, .. } => Some((recipient.into(), subject.into(), body.into())),
        Command::MarkRead { .. } => None,
    }
}

#[track_caller]
fn is_told(event: &Heard, recipient: &str, subject: &str, body: &str) {
    assert_eq!(told(event), Some((recipient.to_owned(), subject.to_owned(), body.to_owned())));
}

#[test]
fn operations_is_told_of_low_stock() {
    is_told(&low(4), "operations", "Low stock: a", "Units of a available: 3. There should be at least 5.");
}

#[test]
fn operations_is_told_of_recovered_stock_once() {
    let body = "Units of a available: 5. The low-stock threshold is 5.";
    is_told(&moved(4, 5, 5), "operations", "Stock recovered: a", body);
    for (before, after) in [(5, 6), (5, 4), (3, 4), (6, 5)] {
        assert_eq!(told(&moved(before, after, 5)), None, "{before} -> {after}");
    }
}

#[test]
fn a_customer_is_told_of_a_paid_order() {
    let body = "We received 12.34 EUR for your order 00000000-0000-0000-0000-000000000002. Thank you.";
    is_told(&paid(1234, "EUR"), "00000000-0000-0000-0000-000000000001", "Order paid", body);
}

#[test]
fn a_customer_is_not_told_that_nothing_was_received() {
    let body = "Nothing was due for your order 00000000-0000-0000-0000-000000000002. Thank you.";
    is_told(&paid(0, "EUR"), "00000000-0000-0000-0000-000000000001", "Order paid", body);
}

#[test]
fn amounts_are_written_with_the_decimals_of_their_currency() {
    let cases = [
        (1234, "EUR", "12.34 EUR"),
        (5, "EUR", "0.05 EUR"),
        (1234, "JPY", "1234 JPY"),
        (1_002, "KWD", "1.002 KWD"),
        (Money::MAX, "USD", "10000000000.00 USD"),
    ];
    for (amount, currency, text) in cases {
        assert_eq!(amount_text(Money::new(amount).unwrap(), Currency::new(currency).unwrap()), text);
    }
}

#[test]
fn the_longest_sku_fits_into_subject_and_body() {
    let sku = Sku::new("s".repeat(64)).unwrap();
    let low = LowStock { sku, available: u32::MAX, low_stock_threshold: u32::MAX, version: u64::MAX };
    assert!(told(&Heard::Inventory(inventory::Published::LowStock(low))).is_some());
}

#[test]
fn nobody_is_told_of_other_news() {
    let reserved = StockReserved {
        reservation_id: "r".to_owned(),
        reserved_for: ReservedFor::Caller,
        order_id: None,
        lines: Vec::new(),
        version: 1,
    };
    assert_eq!(told(&Heard::Inventory(inventory::Published::StockReserved(reserved))), None);
    for event in [low(1), moved(4, 5, 1), paid(1, "EUR")] {
        assert!(Notifications::REACTS_TO.contains(&event.topic()));
    }
}

#[test]
fn an_id_follows_from_the_news_alone() {
    let id = |event: &Heard| derived_id(event).to_string();
    assert_eq!(id(&low(4)), id(&low(4)));
    assert_ne!(id(&low(4)), id(&low(5)));
    assert_ne!(id(&low(4)), id(&moved(4, 5, 4)));
    assert_eq!(derived_id(&low(4)).0.get_version_num(), 8);
    // Stored: another derivation would tell old news again.
    assert_eq!(id(&low(4)), "4e9600b9-2b28-8799-829a-0c1f59504f3d");
}

#[test]
fn news_in_any_order_and_any_number_makes_each_notification_once() {
    let news = [low(3), moved(4, 5, 4), low(6), paid(1234, "EUR")];
    for sequence in sequences(&[2, 2, 1, 2]) {
        let mut story = given::<Notifications>([]);
        let mut made: HashMap<NotificationId, u32> = HashMap::new();
        for (played, which) in (1..).zip(&sequence) {
            let event = story.play(&Notifications::react(&news[*which]).unwrap()).unwrap();
            if let Event::NotificationMade(notification) = &event {
                *made.entry(notification.notification_id).or_default() += 1;
            }
            let distinct: std::collections::HashSet<_> = sequence[..played].iter().collect();
            assert_eq!(story.entities.len(), distinct.len(), "{sequence:?}");
        }
        assert_eq!(made.values().copied().collect::<Vec<_>>(), [1; 4]);
        for event in &news {
            let Some(Command::Notify { notification_id, subject, body, .. }) = Notifications::react(event) else {
                panic!("each is told")
            };
            let notification = story.entities.get(&Key::of(notification_id)).and_then(Entity::as_notification).unwrap();
            assert!(matches!(notification, Notification { read: false, .. }));
            assert_eq!((&notification.subject, &notification.body), (&subject, &body));
        }
    }
}
