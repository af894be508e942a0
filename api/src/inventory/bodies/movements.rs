//! A SKU's movements in responses.

use chrono::{DateTime, Utc};
use orderlog_domain::inventory::{self, MovementCause as StoredCause, ReservedFor as StoredReservedFor, StockLevel};
use orderlog_http::prelude::*;
use orderlog_projections::inventory::MovementRow;
use serde_json::{Value, json};

use super::EXAMPLE_SKU;

mirror! {
    /// The cause of a stock movement.
    pub enum MovementCause of StoredCause {
        /// Goods came in.
        Received,
        /// A count was corrected.
        Adjusted,
        /// Units were set aside.
        Reserved,
        /// Units that had been set aside were given back.
        Released,
        /// A reservation's time was up.
        Expired,
        /// Units that had been set aside left the house.
        Committed,
        /// Another low-stock threshold; no unit moved.
        ThresholdChanged,
    }
}

mirror! {
    /// Who made a reservation.
    pub enum ReservedFor of StoredReservedFor {
        /// An order, as its own.
        Order,
        /// A caller, who may have called it as an order is called.
        Caller,
    }
}

/// The stock of a SKU at a point in time.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
pub struct Level {
    /// Units on hand.
    pub on_hand: u32,
    /// Units on hand that are reserved.
    pub reserved: u32,
    /// Units on hand that are not reserved.
    pub available: u32,
    /// Stock counts as low while fewer units than this are available; 0 means never.
    pub low_stock_threshold: u32,
}

impl From<StockLevel> for Level {
    fn from(level: StockLevel) -> Self {
        let StockLevel { on_hand, reserved, low_stock_threshold } = level;
        Self { on_hand, reserved, available: level.available(), low_stock_threshold }
    }
}

/// A stock movement of a SKU.
#[derive(Clone, Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct Movement {
    /// The SKU.
    pub sku: String,
    /// The cause of the movement.
    pub cause: MovementCause,
    /// The change of `available`, in units.
    pub delta: i64,
    /// The reservation that moved the stock: the name its caller chose, or an order's id for an order's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<String>,
    /// Who made the reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_for: Option<ReservedFor>,
    /// The reason for the correction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The stock before the movement.
    pub before: Level,
    /// The stock after the movement.
    pub after: Level,
    /// The SKU's version after the movement.
    pub version: u64,
    /// The offset of its record in the journal `inventory`.
    pub offset: u64,
    /// When the stock moved.
    pub moved_at: DateTime<Utc>,
}

impl From<&MovementRow> for Movement {
    fn from(row: &MovementRow) -> Self {
        let MovementRow { offset, time_ms, movement } = row;
        let inventory::Movement { sku, cause, delta, reservation, before, after, version, reason } = movement;
        Self {
            sku: sku.as_str().to_owned(),
            cause: (*cause).into(),
            delta: *delta,
            reservation_id: reservation.as_ref().map(ToString::to_string),
            reserved_for: reservation.as_ref().map(|reservation| reservation.reserved_for().into()),
            reason: reason.as_ref().map(|reason| reason.as_str().to_owned()),
            before: (*before).into(),
            after: (*after).into(),
            version: *version,
            offset: *offset,
            moved_at: time(*time_ms),
        }
    }
}

impl ListItem for Movement {}

/// The examples that can't be composed of others without contradictions.
pub fn examples() -> Vec<(&'static str, Value)> {
    let level = |on_hand: u32, available: u32| json!({ "on_hand": on_hand, "reserved": 2, "available": available, "low_stock_threshold": 5 });
    let moved = json!({
        "sku": EXAMPLE_SKU, "delta": -1, "cause": "adjusted", "before": level(10, 8), "after": level(9, 7), "version": 4,
        "offset": 1042, "moved_at": EXAMPLE_TIME,
    });
    vec![("Level", level(10, 8)), ("Movement", moved)]
}
