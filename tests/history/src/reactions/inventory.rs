//! What inventory does about orders: all units of an order are set aside, or none; they are given back when it is cancelled, and leave
//! when it is fulfilled.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Reacting};
use crate::{
    contract::{Event, available},
    model::{number, text},
};

struct Reservation {
    state: &'static str,
    lines: Value,
}

#[derive(Default)]
pub struct Inventory {
    reservations: BTreeMap<String, Reservation>,
    /// Units that can be promised, of each SKU that was ever received.
    available: BTreeMap<String, i64>,
}

impl Inventory {
    fn find(&self, order: &Value) -> Option<&Reservation> {
        self.reservations.get(order.as_str()?)
    }

    /// All of these lines as this event, or why not.
    fn supplied(&self, name: &'static str, event: &Value) -> Answer {
        let order = &event["order_id"];
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for line in event["lines"].as_array().into_iter().flatten() {
            *wanted.entry(text(line, "sku")).or_default() += number(line, "quantity");
        }
        let there_is = |sku: &String| self.available.get(sku).copied().unwrap_or_default();
        let short: Vec<_> = wanted.iter().filter(|(sku, units)| **units > there_is(sku)).collect();
        if short.is_empty() {
            let lines: Vec<_> = wanted.iter().map(|(sku, units)| json!({"sku": sku, "quantity": units})).collect();
            let (_, mut held) = whole(name, order, &json!(lines));
            // It never expires.
            held["expires_at_ms"] = Value::Null;
            return (name, held);
        }
        let is_unknown = short.iter().any(|(sku, _)| !self.available.contains_key(*sku));
        let shortages: Vec<_> = short
            .iter()
            .map(|(sku, units)| json!({"sku": sku, "requested": units, "available": there_is(sku)}))
            .collect();
        let reason = if is_unknown { "unknown_sku" } else { "out_of_stock" };
        ("ReservationRejected", json!({"order_id": order, "reason": reason, "shortages": shortages}))
    }
}

/// A reservation of an order, with all its lines.
fn whole(name: &'static str, order: &Value, lines: &Value) -> Answer {
    (name, json!({"reservation": {"order": order}, "order_id": order, "lines": lines}))
}

fn declined(order: &Value, asked: &str, state: &str) -> Answer {
    let because = json!({"already": state});
    ("ReservationDeclined", json!({"reservation": {"order": order}, "asked": asked, "because": because}))
}

impl Reacting for Inventory {
    fn answer(&self, Event { topic, value: event, .. }: &Event) -> Option<Answer> {
        let order = &event["order_id"];
        let found = self.find(order);
        Some(match (*topic, found) {
            ("order.created", None) => self.supplied("ReservationHeld", event),
            ("order.created", Some(found)) => declined(order, "reserve", found.state),
            // Whatever comes later finds it ended.
            ("order.cancelled", None) => ("ReservationCancelled", json!({"order_id": order})),
            ("order.cancelled", Some(Reservation { state: "held", lines })) => {
                whole("ReservationReleased", order, lines)
            }
            ("order.cancelled", Some(found)) => declined(order, "release", found.state),
            ("order.fulfilled", None) => self.supplied("ReservationCommitted", event),
            ("order.fulfilled", Some(Reservation { state: "held", lines })) => {
                whole("ReservationCommitted", order, lines)
            }
            ("order.fulfilled", Some(found)) => declined(order, "commit", found.state),
            _ => return None,
        })
    }

    fn apply(&mut self, name: &str, event: &Value) {
        let itself = std::slice::from_ref(event);
        let moved = event["lines"].as_array().map_or(itself, Vec::as_slice);
        for moved in moved.iter().filter(|moved| moved["after"].is_object()) {
            self.available.insert(text(moved, "sku"), available(&moved["after"]));
        }
        let state = match name {
            "ReservationHeld" => "held",
            "ReservationReleased" | "ReservationCancelled" => "released",
            "ReservationExpired" => "expired",
            "ReservationCommitted" => "committed",
            "ReservationRejected" => "rejected",
            _ => return,
        };
        let lines = event["lines"].as_array().into_iter().flatten();
        let lines = lines.map(|line| json!({"sku": line["sku"], "quantity": line["quantity"]})).collect();
        // Only orders are rejected or cancelled without a reservation.
        let by_order = if event["reservation"].is_null() { &event["order_id"] } else { &event["reservation"]["order"] };
        if let Some(order) = by_order.as_str() {
            self.reservations.insert(order.to_owned(), Reservation { state, lines });
        }
    }

    fn is_reaction(name: &str, event: &Value) -> bool {
        let by_order = event["reservation"]["order"].is_string();
        match name {
            "ReservationRejected" | "ReservationCancelled" | "ReservationCommitted" => true,
            "ReservationHeld" | "ReservationReleased" => by_order,
            "ReservationDeclined" => event["asked"] != "expire",
            _ => false,
        }
    }
}
