//! What the inventory publishes.
//!
//! ## Storage format: these names and fields are a contract
//! See [`orderlog_core::public`].

use orderlog_core::{decider::Decider, public_events};
use serde::{Deserialize, Serialize};

use super::Inventory;
use crate::values::{OrderId, Quantity, Sku};

public_events! {
    /// What the inventory publishes.
    pub enum Published by Inventory::JOURNAL {
        /// Stock moved.
        StockUpdated(StockUpdated) = "stock.updated", sku;
        /// Stock became low.
        LowStock(LowStock) = "low.stock", sku;
        /// Stock was set aside.
        StockReserved(StockReserved) = "stock.reserved", reservation_id;
        /// An order's stock could not be set aside.
        StockRejected(StockRejected) = "stock.rejected", order_id;
    }
}

/// Units of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLine {
    pub sku: Sku,
    pub quantity: Quantity,
}

/// A SKU of which there is not enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub sku: Sku,
    /// How many were asked for.
    pub requested: u32,
    /// How many there are to be had; 0 for a SKU that nobody has received yet.
    pub available: u32,
}

/// Why an order could not be supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShortageReason {
    /// Too few units of at least one SKU.
    OutOfStock,
    /// At least one SKU has never been received.
    UnknownSku,
}

/// Who made a reservation. Only the order flow's own reservations decide about orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservedFor {
    /// An order, by `order.created`.
    Order,
    /// A caller of `POST /stock/reserve`; an order id is a mere label there.
    Caller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementCause {
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
    /// The threshold below which stock counts as low was changed; no unit moved.
    ThresholdChanged,
}

/// The level of a SKU at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevel {
    /// Units in the house.
    pub on_hand: u32,
    /// Of these, set aside. Never more than `on_hand`.
    pub reserved: u32,
    /// Below this many available units stock counts as low; 0 means never.
    pub low_stock_threshold: u32,
}

impl StockLevel {
    /// Units that can be promised.
    pub const fn available(&self) -> u32 {
        self.on_hand.saturating_sub(self.reserved)
    }

    /// Whether too few units are available.
    pub const fn is_low(&self) -> bool {
        self.available() < self.low_stock_threshold
    }
}

/// `stock.updated`: a movement of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockUpdated {
    pub sku: Sku,
    /// By how much the available units changed.
    pub delta: i64,
    pub cause: MovementCause,
    /// The reservation, where one moved it: an order's id for an order's own.
    pub reservation_id: Option<String>,
    /// Who made that reservation: a caller may have called it as an order is called. Absent where none moved it, and in
    /// events from before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_for: Option<ReservedFor>,
    pub before: StockLevel,
    pub after: StockLevel,
    /// Of the stock item.
    pub version: u64,
}

/// `low.stock`: the available units of a SKU fell below its threshold. Told once, and again only after it has recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowStock {
    pub sku: Sku,
    /// How many units are available.
    pub available: u32,
    /// How many there should be at least.
    pub low_stock_threshold: u32,
    /// Of the stock item.
    pub version: u64,
}

/// `stock.reserved`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    /// The reservation: an order's id for an order's own.
    pub reservation_id: String,
    pub reserved_for: ReservedFor,
    /// The order; a mere label unless `reserved_for` is `order`.
    pub order_id: Option<OrderId>,
    /// What was set aside, each SKU once.
    pub lines: Vec<StockLine>,
    pub version: u64,
}

/// `stock.rejected`: an order could not be supplied; nothing was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRejected {
    pub order_id: OrderId,
    pub reason: ShortageReason,
    /// Each SKU of which there is not enough.
    pub shortages: Vec<Shortage>,
    pub version: u64,
}
