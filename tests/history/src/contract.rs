//! Which public events an accepted event leads to, and what each holds: written a second time after `openapi/asyncapi.json` and
//! ARCHITECTURE.md, over JSON.
//!
//! Events of one record are numbered: first every movement, then every SKU that became low, then the outcome of the reservation.

use serde_json::{Value, json};

use crate::model::number;

/// A public event as it must be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The topic, which is also the CloudEvents type.
    pub topic: &'static str,
    /// What it is about: the CloudEvents subject and the record's key.
    pub subject: String,
    /// Its version: the CloudEvents sequence.
    pub version: i64,
    /// Every field, without those that are null.
    pub value: Value,
}

/// Every public topic with the service that publishes it and the field that its events are about.
const TOPICS: [(&str, &str, &str); 13] = [
    ("customer.created", "customers", "customer_id"),
    ("customer.updated", "customers", "customer_id"),
    ("order.created", "orders", "order_id"),
    ("order.confirmed", "orders", "order_id"),
    ("order.rejected", "orders", "order_id"),
    ("order.cancelled", "orders", "order_id"),
    ("order.fulfilled", "orders", "order_id"),
    ("order.paid", "billing", "order_id"),
    ("payment.refunded", "billing", "order_id"),
    ("stock.updated", "inventory", "sku"),
    ("low.stock", "inventory", "sku"),
    ("stock.reserved", "inventory", "reservation_id"),
    ("stock.rejected", "inventory", "order_id"),
];

/// The public events of an accepted event of a service, in the order in which they are numbered.
pub fn events_of(service: &str, name: &str, event: &Value) -> Vec<Event> {
    let events = match service {
        "customers" => customers(name, event),
        "orders" => orders(name, event),
        "inventory" => inventory(name, event),
        "billing" => billing(name, event),
        _ => Vec::new(),
    };
    let complete = |(topic, value): (&str, Value)| {
        let (topic, _, subject) = TOPICS.iter().find(|(it, publisher, _)| *it == topic && *publisher == service)?;
        let subject = value[subject].as_str()?.to_owned();
        Some(Event { topic, subject, version: number(&value, "version"), value: present_fields(&value) })
    };
    events.into_iter().filter_map(complete).collect()
}

type Topical = Vec<(&'static str, Value)>;

fn customers(name: &str, event: &Value) -> Topical {
    let changed = || picked(&event["customer"], &["customer_id", "active", "version"]);
    match name {
        "CustomerCreated" => vec![("customer.created", changed())],
        "CustomerUpdated" | "CustomerDeactivated" => vec![("customer.updated", changed())],
        _ => Vec::new(),
    }
}

fn orders(name: &str, event: &Value) -> Topical {
    let order = |more: Value| merged(picked(event, &["order_id", "customer_id", "version"]), more);
    match name {
        "OrderPlaced" => {
            let lines = each(&event["lines"], &["sku", "quantity", "unit_price"]);
            let more = json!({"currency": event["currency"], "lines": lines, "total": event["total"]});
            vec![("order.created", order(more))]
        }
        "OrderConfirmed" => vec![("order.confirmed", order(json!({})))],
        "OrderRejected" => vec![("order.rejected", order(rejected(&event["rejection"])))],
        "OrderCancelled" => vec![("order.cancelled", order(json!({})))],
        "OrderFulfilled" => vec![("order.fulfilled", order(json!({"lines": stock_lines(event)})))],
        _ => Vec::new(),
    }
}

fn billing(name: &str, event: &Value) -> Topical {
    let totals = &event["totals"];
    let order = |more: Value| {
        let version = json!({"version": totals["version"]});
        merged(merged(picked(event, &["order_id", "customer_id", "currency"]), version), more)
    };
    match name {
        // What is due is nothing, or all of it was paid.
        "InvoiceOpened" | "PaymentRecorded" if totals["state"] == "paid" => {
            vec![("order.paid", order(json!({"amount": totals["amount_paid"]})))]
        }
        "InvoiceRefunded" => {
            let in_all = picked(totals, &["amount_paid", "amount_refunded"]);
            vec![("payment.refunded", order(merged(json!({"amount": event["amount"]}), in_all)))]
        }
        _ => Vec::new(),
    }
}

fn inventory(name: &str, event: &Value) -> Topical {
    let line_by_line = || event["lines"].as_array().map_or(&[][..], Vec::as_slice);
    let itself = std::slice::from_ref(event);
    let (cause, movements) = match name {
        "StockReceived" => ("received", itself),
        "StockAdjusted" => ("adjusted", itself),
        "ThresholdSet" => ("threshold_changed", itself),
        "ReservationHeld" => ("reserved", line_by_line()),
        "ReservationReleased" => ("released", line_by_line()),
        "ReservationExpired" => ("expired", line_by_line()),
        "ReservationCommitted" => ("committed", line_by_line()),
        _ => ("", &[][..]),
    };
    let updated = movements.iter().map(|moved| ("stock.updated", stock_updated(cause, &event["reservation"], moved)));
    let fell = movements.iter().filter(|moved| !is_low(&moved["before"]) && is_low(&moved["after"]));
    let low = fell.map(|moved| {
        let after = json!({
            "available": available(&moved["after"]), "low_stock_threshold": moved["after"]["low_stock_threshold"],
        });
        ("low.stock", merged(picked(moved, &["sku", "version"]), after))
    });
    updated.chain(low).chain(outcome(name, event)).collect()
}

fn stock_updated(cause: &str, reservation: &Value, moved: &Value) -> Value {
    let level = |name: &str| picked(&moved[name], &["on_hand", "reserved", "low_stock_threshold"]);
    let by = reserved_by(reservation);
    json!({
        "sku": moved["sku"],
        "delta": available(&moved["after"]) - available(&moved["before"]),
        "cause": cause,
        "reservation_id": by.map(|(_, id)| id),
        "reserved_for": by.map(|(whom, _)| whom),
        "before": level("before"),
        "after": level("after"),
        "version": moved["version"],
    })
}

fn outcome(name: &str, event: &Value) -> Option<(&'static str, Value)> {
    match name {
        "ReservationHeld" => {
            let by = reserved_by(&event["reservation"]);
            let more = json!({
                "reservation_id": by.map(|(_, id)| id),
                "reserved_for": by.map(|(whom, _)| whom),
                "lines": stock_lines(event),
            });
            Some(("stock.reserved", merged(picked(event, &["order_id", "version"]), more)))
        }
        "ReservationRejected" => {
            Some(("stock.rejected", merged(picked(event, &["order_id", "version"]), rejected(event))))
        }
        _ => None,
    }
}

/// For whom units are set aside, `order` or `caller`, and under which id.
fn reserved_by(reservation: &Value) -> Option<(&str, &str)> {
    let (whom, id) = reservation.as_object()?.iter().next()?;
    Some((whom, id.as_str()?))
}

/// Units that can be promised at this level.
pub fn available(level: &Value) -> i64 {
    number(level, "on_hand") - number(level, "reserved")
}

/// Whether fewer units than the threshold can be promised at this level.
pub fn is_low(level: &Value) -> bool {
    available(level) < number(level, "low_stock_threshold")
}

fn rejected(event: &Value) -> Value {
    json!({"reason": event["reason"], "shortages": each(&event["shortages"], &["sku", "requested", "available"])})
}

fn stock_lines(event: &Value) -> Value {
    each(&event["lines"], &["sku", "quantity"])
}

/// These fields of each element.
fn each(rows: &Value, fields: &[&str]) -> Value {
    rows.as_array().into_iter().flatten().map(|row| picked(row, fields)).collect()
}

fn picked(from: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), from[field].clone())).collect()
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

/// The fields of an object that are not null. What is inside of them stays.
pub fn present_fields(object: &Value) -> Value {
    let Value::Object(fields) = object else { return object.clone() };
    fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests;
