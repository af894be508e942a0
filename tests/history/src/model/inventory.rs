//! Stock and reservations: nothing is oversold at any prefix, and what is set aside is what reservations hold.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Expected, GAPLESS, Model, counted, holds, number, text};
use crate::history::Ask;

const OVERSOLD: &str = "nothing is oversold at any prefix";
const CARRIES: &str = "an event carries the levels that it leads to";

/// A SKU.
#[derive(Clone, Debug, Default)]
pub struct Sku {
    received: bool,
    on_hand: i64,
    reserved: i64,
    threshold: i64,
    version: i64,
    /// How often it became low, and was low no longer.
    pub n_turns: u64,
}

impl Sku {
    fn is_low(&self) -> bool {
        self.on_hand - self.reserved < self.threshold
    }

    fn level(&self) -> Value {
        json!({"on_hand": self.on_hand, "reserved": self.reserved, "low_stock_threshold": self.threshold})
    }
}

/// A reservation.
#[derive(Clone, Debug, Default)]
pub struct Reservation {
    /// `held`, or how it ended.
    pub state: &'static str,
    lines: Vec<(String, i64)>,
    version: i64,
    /// When it ends by itself.
    pub expires_at_ms: Option<i64>,
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// By SKU.
    pub stock: BTreeMap<String, Sku>,
    /// By the JSON of the id.
    pub reservations: BTreeMap<String, Reservation>,
    /// How many corrections downwards there were.
    pub n_corrections: usize,
}

/// The lines of an event, or of a document: SKU and units.
fn lines(event: &Value) -> Vec<(String, i64)> {
    let lines = event["lines"].as_array().map_or(&[][..], Vec::as_slice);
    lines.iter().map(|line| (text(line, "sku"), number(line, "quantity"))).collect()
}

impl Inventory {
    /// One movement of one SKU.
    fn moved(&mut self, event: &Value, on_hand: i64, reserved: i64) -> Result<(), &'static str> {
        let sku = self.stock.entry(text(event, "sku")).or_default();
        let was_low = sku.is_low();
        let is_carried = !sku.received || event["before"] == sku.level();
        sku.received = true;
        sku.on_hand += on_hand;
        sku.reserved += reserved;
        sku.n_turns += u64::from(was_low != sku.is_low());
        holds(0 <= sku.reserved && sku.reserved <= sku.on_hand, OVERSOLD)?;
        holds(is_carried && event["after"] == sku.level(), CARRIES)?;
        counted(&mut sku.version, event)
    }

    fn all_moved(&mut self, event: &Value, on_hand: i64, reserved: i64) -> Result<(), &'static str> {
        for line in event["lines"].as_array().map_or(&[][..], Vec::as_slice) {
            let units = number(line, "quantity");
            self.moved(line, on_hand * units, reserved * units)?;
        }
        Ok(())
    }

    fn reservation(&mut self, id: &Value, event: &Value) -> Result<&mut Reservation, &'static str> {
        let reservation = self.reservations.entry(id.to_string()).or_default();
        counted(&mut reservation.version, event)?;
        Ok(reservation)
    }

    /// A reservation that was held ends, or was never heard of and ends at once.
    fn ends(&mut self, event: &Value, state: &'static str) -> Result<bool, &'static str> {
        let reservation = self.reservation(&event["reservation"], event)?;
        let (was, held) = (reservation.state, lines(event));
        let is_whole = was.is_empty() || reservation.lines == held;
        (reservation.state, reservation.lines) = (state, held);
        holds(matches!(was, "" | "held"), "a reservation ends once")?;
        holds(is_whole, "a reservation ends with all its lines")?;
        Ok(was == "held")
    }

    fn is_short(&self, wanted: &[(String, i64)]) -> bool {
        let mut sums = BTreeMap::<&String, i64>::new();
        for (sku, units) in wanted {
            *sums.entry(sku).or_default() += units;
        }
        sums.into_iter().any(|(sku, units)| self.stock.get(sku).is_none_or(|it| units > it.on_hand - it.reserved))
    }

    /// What is set aside is what reservations hold.
    ///
    /// # Errors
    /// If it is not.
    fn adds_up(&self) -> Result<(), &'static str> {
        let mut held = BTreeMap::<&String, i64>::new();
        for reservation in self.reservations.values().filter(|it| it.state == "held") {
            for (sku, units) in &reservation.lines {
                *held.entry(sku).or_default() += units;
            }
        }
        let is_so = |(sku, it): (&String, &Sku)| it.reserved == held.get(sku).copied().unwrap_or_default();
        holds(self.stock.iter().all(is_so), "what is set aside is what reservations hold")
    }

    fn happens(&mut self, name: &str, event: &Value) -> Result<(), &'static str> {
        match name {
            "StockReceived" => self.moved(event, number(event, "quantity"), 0),
            "StockAdjusted" => {
                self.n_corrections += usize::from(number(event, "delta") < 0);
                self.moved(event, number(event, "delta"), 0)
            }
            "ThresholdSet" => {
                let sku = self.stock.entry(text(event, "sku")).or_default();
                let was_low = sku.is_low();
                sku.threshold = number(&event["after"], "low_stock_threshold");
                sku.n_turns += u64::from(was_low != sku.is_low());
                holds(event["after"] == sku.level(), CARRIES)?;
                counted(&mut sku.version, event)
            }
            "ThresholdUnchanged" => counted(&mut self.stock.entry(text(event, "sku")).or_default().version, event),
            "ReservationHeld" => {
                let reservation = self.reservation(&event["reservation"], event)?;
                let is_new = reservation.state.is_empty();
                (reservation.state, reservation.lines) = ("held", lines(event));
                reservation.expires_at_ms = event["expires_at_ms"].as_i64();
                holds(is_new, "a reservation that ended holds nothing again")?;
                self.all_moved(event, 0, 1)
            }
            "ReservationReleased" => self.ends(event, "released").and_then(|_| self.all_moved(event, 0, -1)),
            "ReservationExpired" => self.ends(event, "expired").and_then(|_| self.all_moved(event, 0, -1)),
            "ReservationCommitted" => {
                let was_held = self.ends(event, "committed")?;
                self.all_moved(event, -1, if was_held { -1 } else { 0 })
            }
            "ReservationRejected" | "ReservationCancelled" => {
                let reservation = self.reservation(&json!({"order": event["order_id"]}), event)?;
                let is_new = reservation.state.is_empty();
                reservation.state = if name == "ReservationRejected" { "rejected" } else { "released" };
                for seen in event["seen"].as_array().map_or(&[][..], Vec::as_slice) {
                    counted(&mut self.stock.entry(text(seen, "sku")).or_default().version, seen)?;
                }
                holds(is_new, "a reservation is rejected once")
            }
            _ => self.reservation(&event["reservation"], event).map(drop),
        }
    }
}

impl Model for Inventory {
    const KINDS: &'static [&'static str] = &["stock", "reservations"];

    fn apply(&mut self, name: &str, event: &Value) -> Result<(), &'static str> {
        let happens = self.happens(name, event);
        let adds_up = self.adds_up();
        // A wrong level is worse than a wrong version, and leads to it.
        match happens {
            Err(GAPLESS) => adds_up.and(happens),
            happens => happens.and(adds_up),
        }
    }

    fn refuses(&self, ask: &Ask) -> bool {
        let state = |name: &String| {
            self.reservations.get(&json!({ "caller": name }).to_string()).map_or("", |reservation| reservation.state)
        };
        let received = |sku: &String| self.stock.get(sku).filter(|it| it.received);
        match ask {
            Ask::Adjust(sku, delta) => received(sku).is_none_or(|it| it.on_hand + delta < it.reserved),
            Ask::SetThreshold(sku) => received(sku).is_none(),
            Ask::Reserve(name, lines) => !state(name).is_empty() || self.is_short(lines),
            Ask::Release(name) => !matches!(state(name), "held" | "released"),
            _ => false,
        }
    }

    fn rows(&self) -> BTreeMap<(&'static str, String), Expected> {
        let stock = self.stock.iter().map(|(name, sku)| {
            let doc = if sku.received {
                ("Stock", json!({"level": sku.level(), "version": sku.version}))
            } else {
                ("Unreceived", json!({"version": sku.version}))
            };
            (("stock", name.clone()), doc)
        });
        let reservations = self.reservations.iter().map(|(id, it)| {
            let lines: Vec<_> = it.lines.iter().map(|(sku, units)| json!({"sku": sku, "quantity": units})).collect();
            let doc = json!({"state": it.state, "lines": lines, "version": it.version});
            (("reservations", id.clone()), ("Reservation", doc))
        });
        stock.chain(reservations).collect()
    }

    fn id(kind: &str, document: &Map<String, Value>) -> Option<String> {
        Some(match kind {
            "stock" => document["sku"].as_str().unwrap_or_default().to_owned(),
            _ => document["id"].to_string(),
        })
    }
}
