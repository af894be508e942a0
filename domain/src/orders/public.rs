//! The public events of the orders service.
//!
//! ## Storage format: these names and fields are a contract
//! See [`orderlog_core::public`].

use orderlog_core::{decider::Decider, public_events, schema::Schema};
use serde::{Deserialize, Serialize};

use super::Orders;
use crate::{
    inventory::{Shortage, ShortageReason, StockLine},
    values::{Currency, CustomerId, Money, OrderId, Quantity, Sku},
};

public_events! {
    /// The public events of the orders service.
    pub enum Published by Orders::JOURNAL {
        /// An order was placed.
        Created(OrderCreated) = "order.created", order_id;
        /// All stock of an order is reserved.
        Confirmed(OrderConfirmed) = "order.confirmed", order_id;
        /// An order can't be supplied.
        Rejected(OrderRejected) = "order.rejected", order_id;
        /// An order was cancelled.
        Cancelled(OrderCancelled) = "order.cancelled", order_id;
        /// An order was fulfilled.
        Fulfilled(OrderFulfilled) = "order.fulfilled", order_id;
    }
}

/// A line of an order: a SKU at the price promised to the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderLine {
    pub sku: Sku,
    pub quantity: Quantity,
    /// The price per unit.
    pub unit_price: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderCreated {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The currency of the prices and the total.
    pub currency: Currency,
    /// As ordered. SKUs may repeat.
    pub lines: Vec<OrderLine>,
    /// The sum of the lines.
    pub total: Money,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderConfirmed {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderRejected {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub reason: ShortageReason,
    /// Every SKU in short supply.
    pub shortages: Vec<Shortage>,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderFulfilled {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The units shipped, each SKU once.
    pub lines: Vec<StockLine>,
    pub version: u64,
}
