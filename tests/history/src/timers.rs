//! A reservation ends by itself once its time is up, by the clock of the process that ends it: not before, not if it has ended
//! otherwise, and as it was held.

use std::collections::BTreeMap;

use orderlog_core::header::Origin;
use serde_json::{Value, json};

use crate::{
    history::{Fault, History, fault},
    reactions::covers,
    rule::{Journals, Judged},
};

const DUE: &str = "a reservation expires when its time is up, and not before";
const AS_HELD: &str = "a reservation ends as it was held";
/// Of the story that a timer's record begins: only time has led to it.
const NOBODY: &str = "an expiry has no cause";

/// A reservation that was held.
struct Held {
    state: &'static str,
    /// What each record about it repeats.
    kept: Value,
    due_ms: Option<i64>,
}

pub fn check(history: &History, journals: &Journals, faults: &mut Vec<Fault>) {
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    let records = journals.get("inventory").map_or(&[][..], Vec::as_slice);
    for judged in records.iter().filter(|judged| judged.accepted) {
        let Some((name, event)) = judged.named().filter(|(_, event)| event["reservation"].is_object()) else {
            continue;
        };
        let id = event["reservation"].to_string();
        let broken = match held.get_mut(&id) {
            None if name == "ReservationHeld" => {
                let reservation = new(event);
                let due_ms = reservation.due_ms;
                held.insert(id, reservation);
                (due_ms != due_after(judged, event)).then_some(DUE)
            }
            None => None,
            Some(reservation) => happens(reservation, name, (judged, event)),
        };
        let is_late = name == "ReservationExpired" && history.is_late(event["expires_at_ms"].as_i64(), judged.taken_ms);
        for promise in broken.into_iter().chain(is_late.then_some(DUE)) {
            fault(
                faults,
                promise,
                format!("inventory@{} at {} ms {}", judged.offset, judged.header.time_ms, judged.event),
            );
        }
    }
    let rested_ms = history.rested_ms.unwrap_or(i64::MIN);
    for (id, reservation) in held {
        if reservation.state == "held" && reservation.due_ms.is_some_and(|due| due <= rested_ms) {
            fault(faults, DUE, format!("{id} was due at {:?} and is held at {rested_ms}", reservation.due_ms));
        }
    }
}

/// When the reservation that a record makes has to end by itself: that long after the record's own time.
fn due_after(judged: &Judged, event: &Value) -> Option<i64> {
    let ttl = event["ttl_seconds"].as_i64()?;
    Some(judged.header.time_ms + 1_000 * ttl)
}

fn new(event: &Value) -> Held {
    let lines = event["lines"].as_array().into_iter().flatten();
    let lines: Value = lines.map(|line| json!({"sku": line["sku"], "quantity": line["quantity"]})).collect();
    let kept = json!({
        "order_id": event["order_id"], "ttl_seconds": event["ttl_seconds"], "expires_at_ms": event["expires_at_ms"],
        "lines": lines,
    });
    Held { state: "held", kept, due_ms: event["expires_at_ms"].as_i64() }
}

/// The promise that a record about a reservation breaks.
fn happens(reservation: &mut Held, name: &str, (judged, event): (&Judged, &Value)) -> Option<&'static str> {
    let was = reservation.state;
    let is_due = reservation.due_ms.is_some_and(|due| due <= judged.header.time_ms);
    match name {
        "ReservationReleased" => reservation.state = "released",
        "ReservationCommitted" => reservation.state = "committed",
        "ReservationExpired" => reservation.state = "expired",
        _ => {}
    }
    if name == "ReservationDeclined" {
        let truth = if was == "held" { json!("not_due") } else { json!({"already": was}) };
        let is_false = event["asked"] == "expire" && (event["because"] != truth || was == "held" && is_due);
        return is_false.then_some(DUE);
    }
    if !covers(event, &reservation.kept) {
        return Some(AS_HELD);
    }
    if name != "ReservationExpired" {
        return None;
    }
    if judged.header.origin != Origin::default() {
        return Some(NOBODY);
    }
    (was != "held" || !is_due).then_some(DUE)
}
