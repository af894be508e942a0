//! The public events of the inventory.
//!
//! ## Storage format: these names and fields are a contract
//! See [`orderlog_core::public`].

use orderlog_core::{decider::Decider, public_events, schema::Schema};
use serde::{Deserialize, Serialize};

use super::Inventory;
use crate::values::{OrderId, Quantity, Sku};

public_events! {
    /// The public events of the inventory.
    pub enum Published by Inventory::JOURNAL {
        /// Stock of a SKU moved.
        StockUpdated(StockUpdated) = "stock.updated", sku;
        /// The available units of a SKU fell below its threshold. Published once until the SKU has recovered.
        LowStock(LowStock) = "low.stock", sku;
        /// Stock was reserved.
        StockReserved(StockReserved) = "stock.reserved", reservation_id;
        /// An order's stock could not be reserved.
        StockRejected(StockRejected) = "stock.rejected", order_id;
    }
}

/// Units of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct StockLine {
    pub sku: Sku,
    pub quantity: Quantity,
}

/// A SKU in short supply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Shortage {
    pub sku: Sku,
    /// The units requested.
    pub requested: u32,
    /// The units available. 0 for a SKU that has never been received.
    pub available: u32,
}

/// Why an order could not be supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "snake_case")]
pub enum ShortageReason {
    /// Too few units of at least one SKU.
    OutOfStock,
    /// At least one SKU has never been received.
    UnknownSku,
}

/// Who made a reservation. Only an order's own reservation affects the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "snake_case")]
pub enum ReservedFor {
    /// An order, by `order.created`.
    Order,
    /// A caller of `POST /stock/reserve`. Its order id is only a label.
    Caller,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(rename_all = "snake_case")]
pub enum MovementCause {
    Received,
    /// A count was corrected.
    Adjusted,
    /// Units were reserved.
    Reserved,
    /// Reserved units were released.
    Released,
    /// A reservation expired.
    Expired,
    /// Reserved units shipped.
    Committed,
    /// The low-stock threshold changed. No units moved.
    ThresholdChanged,
}

/// The level of a SKU at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct StockLevel {
    /// Units in the warehouse.
    pub on_hand: u32,
    /// How many of them are reserved. Never more than `on_hand`.
    pub reserved: u32,
    /// Stock is low if fewer units than this are available. 0 means never.
    pub low_stock_threshold: u32,
}

impl StockLevel {
    /// Units that can be promised.
    pub const fn available(&self) -> u32 {
        self.on_hand.saturating_sub(self.reserved)
    }

    pub const fn is_low(&self) -> bool {
        self.available() < self.low_stock_threshold
    }
}

/// `stock.updated`: a movement of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct StockUpdated {
    pub sku: Sku,
    /// The change of the available units.
    pub delta: i64,
    pub cause: MovementCause,
    /// The reservation that moved the stock, if any. The order's id for an order's own reservation.
    pub reservation_id: Option<String>,
    /// Who made that reservation, since a caller's name may equal an order's id. Absent if no reservation moved the stock,
    /// and in events older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_for: Option<ReservedFor>,
    pub before: StockLevel,
    pub after: StockLevel,
    /// The stock item's version.
    pub version: u64,
}

/// `low.stock`: the available units of a SKU fell below its threshold. Published once, and again only after stock has
/// recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct LowStock {
    pub sku: Sku,
    /// The units available.
    pub available: u32,
    pub low_stock_threshold: u32,
    /// The stock item's version.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct StockReserved {
    /// The reservation. The order's id for an order's own reservation.
    pub reservation_id: String,
    pub reserved_for: ReservedFor,
    /// The order. Only a label unless `reserved_for` is `order`.
    pub order_id: Option<OrderId>,
    /// The units reserved, each SKU once.
    pub lines: Vec<StockLine>,
    pub version: u64,
}

/// `stock.rejected`: an order could not be supplied. Nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct StockRejected {
    pub order_id: OrderId,
    pub reason: ShortageReason,
    /// Every SKU in short supply.
    pub shortages: Vec<Shortage>,
    pub version: u64,
}
