//! The published format, frozen.

use orderlog_core::public::PublicEvent;
use uuid::Uuid;

use crate::{
    SERVICES,
    billing::{
        self,
        public::{OrderPaid, PaymentRefunded},
    },
    customers::{self, public::CustomerChanged},
    inventory::{
        self, MovementCause, ReservedFor, Shortage, ShortageReason, StockLevel, StockLine,
        public::{LowStock, StockRejected, StockReserved, StockUpdated},
    },
    orders::{
        self, OrderLine,
        public::{OrderCancelled, OrderConfirmed, OrderCreated, OrderFulfilled, OrderRejected},
    },
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const CUSTOMER: CustomerId = CustomerId(Uuid::from_u128(2));

#[test]
fn every_topic_has_one_name_and_one_publisher() {
    let all: Vec<_> = SERVICES.iter().flat_map(|(_, topics)| *topics).collect();
    let mut topics: Vec<_> = all.iter().map(|(topic, _)| *topic).collect();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), all.len());
    for needed in ["customer.created", "order.created", "order.paid", "stock.updated", "low.stock"] {
        assert!(topics.contains(&needed), "{needed}");
    }
}

fn sku() -> Sku {
    Sku::new("a").unwrap()
}

fn money(minor_units: i64) -> Money {
    Money::new(minor_units).unwrap()
}

fn eur() -> Currency {
    Currency::new("EUR").unwrap()
}

fn two() -> Quantity {
    Quantity::new(2).unwrap()
}

fn stock_lines() -> Vec<StockLine> {
    vec![StockLine { sku: sku(), quantity: two() }]
}

fn shortages() -> Vec<Shortage> {
    vec![Shortage { sku: sku(), requested: 2, available: 1 }]
}

/// `event` is published on `topic` as `json`, where `ORDER` and `CUSTOMER` stand for the ids.
#[track_caller]
fn is_published_as<E: PublicEvent>(event: &E, topic: &str, json: &str) {
    let json = json.replace("ORDER", &ORDER.to_string()).replace("CUSTOMER", &CUSTOMER.to_string());
    assert_eq!(event.topic(), topic);
    assert_eq!(String::from_utf8(event.to_json()).unwrap(), json);
    assert_eq!(&E::from_json(topic, json.as_bytes()).unwrap(), event);
}

#[test]
fn the_published_format_of_customers_is_stable() {
    let changed = |active| CustomerChanged { customer_id: CUSTOMER, active, version: 1 };
    let json = r#"{"customer_id":"CUSTOMER","active":true,"version":1}"#;
    is_published_as(&customers::Published::Created(changed(true)), "customer.created", json);
    let json = r#"{"customer_id":"CUSTOMER","active":false,"version":1}"#;
    is_published_as(&customers::Published::Updated(changed(false)), "customer.updated", json);
}

#[test]
fn the_published_format_of_orders_is_stable() {
    let (order_id, customer_id) = (ORDER, CUSTOMER);
    let created = OrderCreated {
        order_id,
        customer_id,
        currency: eur(),
        lines: vec![OrderLine { sku: sku(), quantity: two(), unit_price: money(5) }],
        total: money(10),
        version: 1,
    };
    is_published_as(
        &orders::Published::Created(created),
        "order.created",
        r#"{"order_id":"ORDER","customer_id":"CUSTOMER","currency":"EUR","lines":[{"sku":"a","quantity":2,"unit_price":5}],"total":10,"version":1}"#,
    );
    is_published_as(
        &orders::Published::Confirmed(OrderConfirmed { order_id, customer_id, version: 2 }),
        "order.confirmed",
        r#"{"order_id":"ORDER","customer_id":"CUSTOMER","version":2}"#,
    );
    for (reason, name) in [(ShortageReason::OutOfStock, "out_of_stock"), (ShortageReason::UnknownSku, "unknown_sku")] {
        let shortages = shortages();
        is_published_as(
            &orders::Published::Rejected(OrderRejected { order_id, customer_id, reason, shortages, version: 2 }),
            "order.rejected",
            &r#"{"order_id":"ORDER","customer_id":"CUSTOMER","reason":"REASON","shortages":[{"sku":"a","requested":2,"available":1}],"version":2}"#
                .replace("REASON", name),
        );
    }
    is_published_as(
        &orders::Published::Cancelled(OrderCancelled { order_id, customer_id, version: 3 }),
        "order.cancelled",
        r#"{"order_id":"ORDER","customer_id":"CUSTOMER","version":3}"#,
    );
    is_published_as(
        &orders::Published::Fulfilled(OrderFulfilled { order_id, customer_id, lines: stock_lines(), version: 4 }),
        "order.fulfilled",
        r#"{"order_id":"ORDER","customer_id":"CUSTOMER","lines":[{"sku":"a","quantity":2}],"version":4}"#,
    );
}

#[test]
fn the_published_format_of_payments_is_stable() {
    let (order_id, customer_id, currency) = (ORDER, CUSTOMER, eur());
    is_published_as(
        &billing::Published::OrderPaid(OrderPaid { order_id, customer_id, amount: money(10), currency, version: 2 }),
        "order.paid",
        r#"{"order_id":"ORDER","customer_id":"CUSTOMER","amount":10,"currency":"EUR","version":2}"#,
    );
    is_published_as(
        &billing::Published::PaymentRefunded(PaymentRefunded {
            order_id,
            customer_id,
            amount: money(3),
            amount_paid: money(10),
            amount_refunded: money(7),
            currency,
            version: 4,
        }),
        "payment.refunded",
        r#"{"order_id":"ORDER","customer_id":"CUSTOMER","amount":3,"amount_paid":10,"amount_refunded":7,"currency":"EUR","version":4}"#,
    );
}

fn updated(cause: MovementCause, reservation: Option<(&str, ReservedFor)>) -> inventory::Published {
    let level = |reserved| StockLevel { on_hand: 9, reserved, low_stock_threshold: 5 };
    inventory::Published::StockUpdated(StockUpdated {
        sku: sku(),
        delta: -2,
        cause,
        reservation_id: reservation.map(|(id, _)| id.to_owned()),
        reserved_for: reservation.map(|(_, reserved_for)| reserved_for),
        before: level(0),
        after: level(2),
        version: 3,
    })
}

#[test]
fn the_published_format_of_stock_movements_is_stable() {
    let levels = r#""before":{"on_hand":9,"reserved":0,"low_stock_threshold":5},"after":{"on_hand":9,"reserved":2,"low_stock_threshold":5},"version":3}"#;
    for (cause, name) in [
        (MovementCause::Received, "received"),
        (MovementCause::Adjusted, "adjusted"),
        (MovementCause::Reserved, "reserved"),
        (MovementCause::Released, "released"),
        (MovementCause::Expired, "expired"),
        (MovementCause::Committed, "committed"),
        (MovementCause::ThresholdChanged, "threshold_changed"),
    ] {
        let json = format!(r#"{{"sku":"a","delta":-2,"cause":"{name}","reservation_id":null,{levels}"#);
        is_published_as(&updated(cause, None), "stock.updated", &json);
    }
    for (reserved_for, name) in [(ReservedFor::Order, "order"), (ReservedFor::Caller, "caller")] {
        let json = r#"{"sku":"a","delta":-2,"cause":"reserved","reservation_id":"r","reserved_for":"NAME","#;
        let event = updated(MovementCause::Reserved, Some(("r", reserved_for)));
        is_published_as(&event, "stock.updated", &(json.replace("NAME", name) + levels));
    }
}

#[test]
fn movements_from_before_they_said_for_whom_can_still_be_read() {
    let json = r#"{"sku":"a","delta":-2,"cause":"reserved","reservation_id":"r","before":{"on_hand":9,"reserved":0,"low_stock_threshold":5},"after":{"on_hand":9,"reserved":2,"low_stock_threshold":5},"version":3}"#;
    let Ok(inventory::Published::StockUpdated(updated)) =
        inventory::Published::from_json("stock.updated", json.as_bytes())
    else {
        panic!("a movement")
    };
    assert_eq!((updated.reservation_id.as_deref(), updated.reserved_for), (Some("r"), None));
}

#[test]
fn the_published_format_of_stock_news_is_stable() {
    let low = LowStock { sku: sku(), available: 3, low_stock_threshold: 5, version: 9 };
    is_published_as(
        &inventory::Published::LowStock(low),
        "low.stock",
        r#"{"sku":"a","available":3,"low_stock_threshold":5,"version":9}"#,
    );
    let reserved = |reserved_for, order_id| StockReserved {
        reservation_id: "r".to_owned(),
        reserved_for,
        order_id,
        lines: stock_lines(),
        version: 1,
    };
    is_published_as(
        &inventory::Published::StockReserved(reserved(ReservedFor::Order, Some(ORDER))),
        "stock.reserved",
        r#"{"reservation_id":"r","reserved_for":"order","order_id":"ORDER","lines":[{"sku":"a","quantity":2}],"version":1}"#,
    );
    is_published_as(
        &inventory::Published::StockReserved(reserved(ReservedFor::Caller, None)),
        "stock.reserved",
        r#"{"reservation_id":"r","reserved_for":"caller","order_id":null,"lines":[{"sku":"a","quantity":2}],"version":1}"#,
    );
    let (reason, shortages) = (ShortageReason::OutOfStock, shortages());
    is_published_as(
        &inventory::Published::StockRejected(StockRejected { order_id: ORDER, reason, shortages, version: 1 }),
        "stock.rejected",
        r#"{"order_id":"ORDER","reason":"out_of_stock","shortages":[{"sku":"a","requested":2,"available":1}],"version":1}"#,
    );
}

#[test]
fn what_is_no_event_of_its_topic_is_refused() {
    assert!(inventory::Published::from_json("low.stock", b"{}").is_err());
    assert!(inventory::Published::from_json("no.topic", b"{}").is_err());
}
