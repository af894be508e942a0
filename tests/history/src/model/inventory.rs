//! Stock and reservations: nothing is oversold at any prefix, and what is set aside is what reservations hold.

use std::collections::BTreeMap;

use orderlog_core::key::Key;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Answer, At, Document, GAPLESS, Model, counted, holds, list, number, optional_text, orders::UNITS_MAX, text,
};
use crate::{
    ask::{Ask, Refusal, Units, added_up},
    history::Ledgers,
};

const OVERSOLD: &str = "nothing is oversold at any prefix";
const CARRIES: &str = "an event carries the levels that it leads to";
const TRUE_SHORTAGE: &str = "an order is rejected only for what is short";

/// The most units of one SKU in the house.
const ON_HAND_MAX: i64 = 1_000_000_000;
/// The most SKUs of a reservation.
const LINES_MAX: usize = 100;

#[derive(Clone, Debug, Default)]
pub struct Sku {
    sku: String,
    received: bool,
    on_hand: i64,
    reserved: i64,
    threshold: i64,
    version: i64,
    updated_ms: i64,
}

impl Sku {
    /// What can be set aside at once.
    fn available(&self) -> i64 {
        (self.on_hand - self.reserved).min(UNITS_MAX)
    }

    fn level(&self) -> Value {
        json!({"on_hand": self.on_hand, "reserved": self.reserved, "low_stock_threshold": self.threshold})
    }

    /// An event that leads to another level.
    fn to(&self, on_hand: i64, reserved: i64, threshold: i64) -> Value {
        let after = Self { on_hand, reserved, threshold, ..self.clone() };
        json!({ "sku": self.sku, "before": self.level(), "after": after.level(), "version": self.version + 1 })
    }
}

/// A reservation.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reservation {
    id: Value,
    order_id: Option<String>,
    /// Each SKU once, sorted.
    pub lines: Vec<Units>,
    /// `held`, or how it ended.
    pub state: &'static str,
    ttl_seconds: Option<i64>,
    expires_at_ms: Option<i64>,
    version: i64,
    created_ms: i64,
    updated_ms: i64,
    /// Reason and shortages, if it was rejected.
    #[serde(skip)]
    pub rejection: Option<Value>,
}

impl Reservation {
    fn event(&self, lines: &[Value]) -> Value {
        json!({
            "reservation": self.id, "order_id": self.order_id, "lines": lines, "ttl_seconds": self.ttl_seconds,
            "expires_at_ms": self.expires_at_ms, "version": self.version + 1,
        })
    }

    /// The event that says that it is as it was asked for.
    fn repeated(&self) -> (&'static str, Value) {
        let lines: Vec<_> = self.lines.iter().map(|line| json!(line)).collect();
        let mut event = self.event(&lines);
        event["state"] = json!(self.state);
        ("ReservationRepeated", event)
    }

    fn ended(&self) -> Vec<Refusal> {
        vec![Refusal::new("reservation_ended", json!({ "state": self.state }))]
    }
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// By key.
    pub stock: BTreeMap<Key, Sku>,
    /// By key.
    pub reservations: BTreeMap<Key, Reservation>,
    movements: Ledgers,
}

fn sku_key(sku: &str) -> Key {
    Key::named("sku", sku)
}

/// Where the reservation with this id is: `{"caller": name}` or `{"order": id}`.
pub fn reservation_key(id: &Value) -> Key {
    match &id["caller"] {
        Value::String(name) => Key::named("reservation", name),
        _ => Key::named("reservation/order", &text(id, "order")),
    }
}

/// The lines of an event.
fn lines(event: &Value) -> Vec<Units> {
    list(event, "lines").iter().map(|it| Units { sku: text(it, "sku"), quantity: number(it, "quantity") }).collect()
}

/// How a command is answered.
impl Inventory {
    fn sku(&self, name: &str) -> Sku {
        self.stock.get(&sku_key(name)).cloned().unwrap_or_else(|| Sku { sku: name.to_owned(), ..Sku::default() })
    }

    fn received(&self, name: &str) -> Result<Sku, Vec<Refusal>> {
        let unknown = || vec![Refusal::new("unknown_sku", json!({ "sku": name }))];
        Some(self.sku(name)).filter(|sku| sku.received).ok_or_else(unknown)
    }

    fn receive(&self, name: &str, quantity: i64) -> Answer {
        let sku = self.sku(name);
        if sku.on_hand + quantity > ON_HAND_MAX {
            return Err(vec![Refusal::new("too_much_stock", json!({ "on_hand": sku.on_hand }))]);
        }
        let mut received = sku.to(sku.on_hand + quantity, sku.reserved, sku.threshold);
        received["quantity"] = json!(quantity);
        Ok(("StockReceived", received))
    }

    fn adjust(&self, name: &str, delta: i64, reason: &str) -> Answer {
        let sku = self.received(name)?;
        let Sku { on_hand, reserved, threshold, .. } = sku;
        if on_hand + delta < reserved {
            let facts = json!({ "delta": delta, "on_hand": on_hand, "reserved": reserved });
            return Err(vec![Refusal::new("below_reserved", facts)]);
        }
        if on_hand + delta > ON_HAND_MAX {
            return Err(vec![Refusal::new("too_much_stock", json!({ "on_hand": on_hand }))]);
        }
        let mut adjusted = sku.to(on_hand + delta, reserved, threshold);
        (adjusted["delta"], adjusted["reason"]) = (json!(delta), json!(reason));
        Ok(("StockAdjusted", adjusted))
    }

    fn set_threshold(&self, name: &str, threshold: i64) -> Answer {
        let sku = self.received(name)?;
        if sku.threshold == threshold {
            let unchanged = json!({ "sku": name, "level": sku.level(), "version": sku.version + 1 });
            return Ok(("ThresholdUnchanged", unchanged));
        }
        Ok(("ThresholdSet", sku.to(sku.on_hand, sku.reserved, threshold)))
    }

    /// Every SKU of which there is too little, and the code that stands for all of them.
    fn shortage(&self, wanted: &[Units]) -> Option<Refusal> {
        let short = wanted.iter().map(|it| (it, self.sku(&it.sku))).filter(|(it, sku)| it.quantity > sku.available());
        let shortages: Vec<_> = short
            .map(|(it, sku)| json!({ "sku": it.sku, "requested": it.quantity, "available": sku.available() }))
            .collect();
        let is_unknown = wanted.iter().any(|it| !self.sku(&it.sku).received);
        let code = if is_unknown { "unknown_sku" } else { "not_enough_stock" };
        (!shortages.is_empty()).then(|| Refusal::new(code, json!({ "shortages": shortages })))
    }

    fn reserve(&self, new: &Reservation) -> Answer {
        if new.lines.is_empty() {
            return Err(vec![Refusal::new("no_lines", Value::Null)]);
        }
        if new.lines.len() > LINES_MAX {
            return Err(vec![Refusal::new("too_many_lines", Value::Null)]);
        }
        let too_large = new.lines.iter().filter(|it| it.quantity > UNITS_MAX);
        let too_large: Vec<_> =
            too_large.map(|it| Refusal::new("quantity_too_large", json!({ "sku": it.sku }))).collect();
        if !too_large.is_empty() {
            return Err(too_large);
        }
        if let Some(found) = self.reservations.get(&reservation_key(&new.id)) {
            let same = |it: &Reservation| (it.lines.clone(), it.ttl_seconds, it.order_id.clone());
            return match found.state {
                "held" if same(found) == same(new) => Ok(found.repeated()),
                "held" => Err(vec![Refusal::new("reservation_exists", Value::Null)]),
                _ => Err(found.ended()),
            };
        }
        if let Some(shortage) = self.shortage(&new.lines) {
            return Err(vec![shortage]);
        }
        Ok(("ReservationHeld", new.event(&self.moved_lines(&new.lines, 1))))
    }

    /// The lines of an event that sets units aside, or gives them back.
    fn moved_lines(&self, lines: &[Units], sign: i64) -> Vec<Value> {
        let moved = |line: &Units| {
            let sku = self.sku(&line.sku);
            let mut moved = sku.to(sku.on_hand, sku.reserved + sign * line.quantity, sku.threshold);
            moved["quantity"] = json!(line.quantity);
            moved
        };
        lines.iter().map(moved).collect()
    }

    fn release(&self, name: &str) -> Answer {
        let id = json!({ "caller": name });
        let unknown = || vec![Refusal::new("unknown_reservation", json!({ "reservation": name }))];
        let found = self.reservations.get(&reservation_key(&id)).ok_or_else(unknown)?;
        match found.state {
            "held" => Ok(("ReservationReleased", found.event(&self.moved_lines(&found.lines, -1)))),
            "released" => Ok(found.repeated()),
            _ => Err(found.ended()),
        }
    }
}

/// What events do.
impl Inventory {
    /// One movement of one SKU, by so many units. `extra` is what its line in the list of movements has besides.
    fn moved(
        &mut self,
        (at, line): (At, i64),
        event: &Value,
        (on_hand, reserved): (i64, i64),
        extra: Value,
    ) -> Result<(), &'static str> {
        let name = text(event, "sku");
        let sku = self.stock.entry(sku_key(&name)).or_default();
        let (before, was_available) = (sku.level(), sku.on_hand - sku.reserved);
        sku.sku.clone_from(&name);
        sku.received = true;
        sku.on_hand += on_hand;
        sku.reserved += reserved;
        sku.updated_ms = at.time_ms;
        let mut movement = extra;
        movement["delta"] = json!(sku.on_hand - sku.reserved - was_available);
        (movement["before"], movement["after"]) = (before.clone(), sku.level());
        movement["version"] = json!(sku.version + 1);
        self.movements
            .insert(("movements".to_owned(), at.offset, line), vec![json!(name), json!(at.time_ms), movement]);
        holds(0 <= sku.reserved && sku.reserved <= sku.on_hand, OVERSOLD)?;
        holds(event["before"] == before && event["after"] == sku.level(), CARRIES)?;
        counted(&mut sku.version, event)
    }

    /// The lines of a reservation move, each by so many times its units.
    fn all_moved(
        &mut self,
        at: At,
        event: &Value,
        (on_hand, reserved): (i64, i64),
        cause: &str,
    ) -> Result<(), &'static str> {
        for (number_of_line, line) in (0..).zip(list(event, "lines")) {
            let units = number(line, "quantity");
            let extra = json!({ "cause": cause, "reservation": event["reservation"] });
            self.moved((at, number_of_line), line, (on_hand * units, reserved * units), extra)?;
        }
        Ok(())
    }

    fn reservation(&mut self, id: &Value, event: &Value) -> Result<&mut Reservation, &'static str> {
        let reservation = self.reservations.entry(reservation_key(id)).or_default();
        reservation.id = id.clone();
        counted(&mut reservation.version, event)?;
        Ok(reservation)
    }

    fn reservation_of(&mut self, order_id: &Value) -> &mut Reservation {
        self.reservations.entry(reservation_key(&json!({ "order": order_id }))).or_default()
    }

    /// A reservation begins, or another state begins for it.
    fn becomes(&mut self, at: At, event: &Value, state: &'static str) -> Result<&'static str, &'static str> {
        let id = match &event["reservation"] {
            Value::Null => json!({ "order": event["order_id"] }),
            id => id.clone(),
        };
        let reservation = self.reservation(&id, event)?;
        let (was, held) = (reservation.clone(), lines(event));
        reservation.state = state;
        reservation.updated_ms = at.time_ms;
        if was.state.is_empty() {
            reservation.order_id = optional_text(event, "order_id");
            reservation.lines = held;
            reservation.ttl_seconds = event["ttl_seconds"].as_i64();
            reservation.expires_at_ms = event["expires_at_ms"].as_i64();
            reservation.created_ms = at.time_ms;
        } else {
            let is_as_it_was = reservation.lines == held
                && reservation.order_id == optional_text(event, "order_id")
                && reservation.ttl_seconds == event["ttl_seconds"].as_i64()
                && reservation.expires_at_ms == event["expires_at_ms"].as_i64();
            holds(is_as_it_was, "a reservation ends with all that it began with")?;
        }
        holds(matches!(was.state, "" | "held"), "a reservation ends once")?;
        Ok(was.state)
    }

    /// What is set aside is what reservations hold.
    ///
    /// # Errors
    /// If it is not.
    fn adds_up(&self) -> Result<(), &'static str> {
        let mut held = BTreeMap::<&String, i64>::new();
        for reservation in self.reservations.values().filter(|it| it.state == "held") {
            for line in &reservation.lines {
                *held.entry(&line.sku).or_default() += line.quantity;
            }
        }
        let is_so = |it: &Sku| it.reserved == held.get(&it.sku).copied().unwrap_or_default();
        holds(self.stock.values().all(is_so), "what is set aside is what reservations hold")
    }

    /// An order could not be supplied: each SKU that it names was looked at.
    fn rejected(&mut self, event: &Value) -> Result<(), &'static str> {
        let (shortages, mut is_true) = (list(event, "shortages"), true);
        for short in shortages {
            let sku = self.sku(&text(short, "sku"));
            is_true &= number(short, "available") == sku.available() && number(short, "requested") > sku.available();
        }
        let is_short = |sku: &Sku| shortages.iter().any(|short| short["sku"] == *sku.sku);
        let mut is_unknown = false;
        for seen in list(event, "seen") {
            let name = text(seen, "sku");
            let sku = self.stock.entry(sku_key(&name)).or_default();
            sku.sku = name;
            counted(&mut sku.version, seen)?;
            is_unknown |= !sku.received;
            is_true &= sku.received || is_short(sku);
        }
        let reason = if is_unknown { "unknown_sku" } else { "out_of_stock" };
        holds(is_true && !shortages.is_empty() && event["reason"] == reason, TRUE_SHORTAGE)
    }

    fn happens(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        match name {
            "StockReceived" => {
                self.moved((at, 0), event, (number(event, "quantity"), 0), json!({ "cause": "received" }))
            }
            "StockAdjusted" => {
                let delta = number(event, "delta");
                let extra = json!({ "cause": "adjusted", "reason": event["reason"] });
                self.moved((at, 0), event, (delta, 0), extra)
            }
            "ThresholdSet" => {
                let sku = self.stock.entry(sku_key(&text(event, "sku"))).or_default();
                let before = sku.level();
                sku.threshold = number(&event["after"], "low_stock_threshold");
                sku.updated_ms = at.time_ms;
                let movement = json!({
                    "cause": "threshold_changed", "delta": 0, "before": before, "after": sku.level(),
                    "version": sku.version + 1,
                });
                let line = vec![json!(sku.sku), json!(at.time_ms), movement];
                self.movements.insert(("movements".to_owned(), at.offset, 0), line);
                holds(event["before"] == before && event["after"] == sku.level(), CARRIES)?;
                counted(&mut sku.version, event)
            }
            "ThresholdUnchanged" => {
                counted(&mut self.stock.entry(sku_key(&text(event, "sku"))).or_default().version, event)
            }
            "ReservationHeld" => {
                let was = self.becomes(at, event, "held")?;
                holds(was.is_empty(), "a reservation that ended holds nothing again")?;
                self.all_moved(at, event, (0, 1), "reserved")
            }
            "ReservationReleased" => {
                self.becomes(at, event, "released")?;
                self.all_moved(at, event, (0, -1), "released")
            }
            "ReservationExpired" => {
                self.becomes(at, event, "expired")?;
                self.all_moved(at, event, (0, -1), "expired")
            }
            "ReservationCommitted" => {
                let was = self.becomes(at, event, "committed")?;
                self.all_moved(at, event, (-1, if was == "held" { -1 } else { 0 }), "committed")
            }
            "ReservationRejected" => {
                let was = self.becomes(at, event, "rejected")?;
                let why = json!({ "reason": event["reason"], "shortages": event["shortages"] });
                self.reservation_of(&event["order_id"]).rejection = Some(why);
                holds(was.is_empty(), "a reservation is rejected once")?;
                self.rejected(event)
            }
            "ReservationCancelled" => {
                let was = self.becomes(at, event, "released")?;
                holds(was.is_empty(), "a reservation that was never held is cancelled once")
            }
            _ => self.reservation(&event["reservation"], event).map(drop),
        }
    }
}

impl Model for Inventory {
    fn apply(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        let happens = self.happens(at, name, event);
        let adds_up = self.adds_up();
        // A wrong level is worse than a wrong version, and leads to it.
        match happens {
            Err(GAPLESS) => adds_up.and(happens),
            happens => happens.and(adds_up),
        }
    }

    fn answer(&self, ask: &Ask, _minted: &str, now_ms: i64) -> Answer {
        match ask {
            Ask::Receive { sku, quantity } => self.receive(sku, *quantity),
            Ask::Adjust { sku, delta, reason } => self.adjust(sku, *delta, reason),
            Ask::SetThreshold { sku, threshold } => self.set_threshold(sku, *threshold),
            Ask::Reserve { name, lines, ttl_seconds, order } => self.reserve(&Reservation {
                id: json!({ "caller": name }),
                order_id: order.clone(),
                lines: added_up(lines),
                ttl_seconds: *ttl_seconds,
                expires_at_ms: ttl_seconds.map(|seconds| now_ms + 1000 * seconds),
                ..Reservation::default()
            }),
            Ask::Release { name } => self.release(name),
            _ => Err(Vec::new()),
        }
    }

    fn target(ask: &Ask) -> Option<Key> {
        match ask {
            Ask::Receive { sku, .. } | Ask::Adjust { sku, .. } | Ask::SetThreshold { sku, .. } => Some(sku_key(sku)),
            Ask::Release { name } => Some(reservation_key(&json!({ "caller": name }))),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.stock.keys().chain(self.reservations.keys()).copied().collect()
    }

    fn row(&self, key: Key) -> Option<Document> {
        let Some(sku) = self.stock.get(&key) else {
            return Some(("reservations", json!({ "Reservation": self.reservations.get(&key)? })));
        };
        let Sku { sku: name, version, updated_ms, .. } = sku;
        let doc = if sku.received {
            json!({ "Stock": { "sku": name, "level": sku.level(), "version": version, "updated_ms": updated_ms } })
        } else {
            json!({ "Unreceived": { "sku": name, "version": version } })
        };
        Some(("stock", doc))
    }

    fn ledgers(&self) -> Ledgers {
        self.movements.clone()
    }
}
