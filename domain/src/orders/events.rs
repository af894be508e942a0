//! What happens to orders, as stored in the journal `orders`.
//!
//! ## Storage format: change nothing here without a new event
//! The log is kept for ever. Events and fields are never renamed, removed or given another meaning; a new field needs a
//! default. The golden tests beside this file fail before a log does.

use serde::{Deserialize, Serialize};

use crate::{
    inventory::StockLine,
    orders::OrderLine,
    values::{Channel, Currency, CustomerId, Money, OrderId},
};

use super::state::{OrderState, Payment, Unsupplied};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// Of the prices and the total.
    pub currency: Currency,
    /// As ordered; SKUs may repeat.
    pub lines: Vec<OrderLine>,
    /// Sum of the lines.
    pub total: Money,
    /// Where it came from; absent where nobody said so, and in events from before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    pub version: u64,
}

/// All the order's stock is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub version: u64,
}

/// The order can't be supplied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRejected {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub rejection: Unsupplied,
    pub version: u64,
}

/// The order was called off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// How its payment stands: what is paid stays so until billing tells of the refund.
    pub payment: Payment,
    pub version: u64,
}

/// The order left the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFulfilled {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// How its payment stands.
    pub payment: Payment,
    /// What left, each SKU once.
    pub lines: Vec<StockLine>,
    pub version: u64,
}

/// The order's invoice is paid in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMarkedPaid {
    pub order_id: OrderId,
    /// The invoice's version that says so.
    pub invoice_version: u64,
    pub version: u64,
}

/// All that was paid for the order was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMarkedRefunded {
    pub order_id: OrderId,
    /// The invoice's version that says so.
    pub invoice_version: u64,
    pub version: u64,
}

/// The order already was as the command wanted. Recorded, since the log has the last word on that; told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderUnchanged {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// How far it has come.
    pub state: OrderState,
    /// How its payment stands.
    pub payment: Payment,
    pub version: u64,
}

/// News of an order about which there is nothing to do. Recorded, so that a redelivery can't decide otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReactionDeclined {
    pub order_id: OrderId,
    /// What the news asked.
    pub reaction: Reaction,
    /// Why it was not done.
    pub because: DeclineReason,
    /// Of the order, or of what stands in its place.
    pub version: u64,
}

/// What another service's news asks of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// By `stock.reserved`.
    Confirm,
    /// By `stock.rejected`.
    Reject,
    /// By `order.paid`.
    MarkPaid,
    /// By `payment.refunded`.
    MarkRefunded,
}

/// Why news of an order changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    /// No such order was ever placed here.
    UnknownOrder,
    /// The order waits for this no longer.
    StateIs(OrderState),
    /// The payment has already come as far, or farther.
    PaymentIs(Payment),
}

#[expect(clippy::enum_variant_names, reason = "these are stored names, and an event is called in full in a log")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    OrderPlaced(OrderPlaced),
    /// All the order's stock is set aside.
    OrderConfirmed(OrderConfirmed),
    /// The order can't be supplied.
    OrderRejected(OrderRejected),
    /// The order was called off.
    OrderCancelled(OrderCancelled),
    /// The order left the house.
    OrderFulfilled(OrderFulfilled),
    /// The order's invoice is paid in full.
    OrderMarkedPaid(OrderMarkedPaid),
    /// All that was paid for the order was given back.
    OrderMarkedRefunded(OrderMarkedRefunded),
    /// The order already was as the command wanted.
    OrderUnchanged(OrderUnchanged),
    /// News of an order about which there is nothing to do.
    OrderReactionDeclined(OrderReactionDeclined),
}

/// How an order stands after a caller's command: what an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// How far it has come.
    pub state: OrderState,
    /// How its payment stands.
    pub payment: Payment,
    pub version: u64,
}

impl Event {
    /// The order that the event is about.
    pub const fn order_id(&self) -> OrderId {
        match self {
            Self::OrderPlaced(OrderPlaced { order_id, .. })
            | Self::OrderConfirmed(OrderConfirmed { order_id, .. })
            | Self::OrderRejected(OrderRejected { order_id, .. })
            | Self::OrderCancelled(OrderCancelled { order_id, .. })
            | Self::OrderFulfilled(OrderFulfilled { order_id, .. })
            | Self::OrderMarkedPaid(OrderMarkedPaid { order_id, .. })
            | Self::OrderMarkedRefunded(OrderMarkedRefunded { order_id, .. })
            | Self::OrderUnchanged(OrderUnchanged { order_id, .. })
            | Self::OrderReactionDeclined(OrderReactionDeclined { order_id, .. }) => *order_id,
        }
    }

    /// The order's version after the event.
    pub const fn version(&self) -> u64 {
        match self {
            Self::OrderPlaced(OrderPlaced { version, .. })
            | Self::OrderConfirmed(OrderConfirmed { version, .. })
            | Self::OrderRejected(OrderRejected { version, .. })
            | Self::OrderCancelled(OrderCancelled { version, .. })
            | Self::OrderFulfilled(OrderFulfilled { version, .. })
            | Self::OrderMarkedPaid(OrderMarkedPaid { version, .. })
            | Self::OrderMarkedRefunded(OrderMarkedRefunded { version, .. })
            | Self::OrderUnchanged(OrderUnchanged { version, .. })
            | Self::OrderReactionDeclined(OrderReactionDeclined { version, .. }) => *version,
        }
    }

    /// How the order stands, if the event answers a caller's command; news of other services answer nobody.
    pub fn standing(&self) -> Option<Standing> {
        let (customer_id, state, payment) = match self {
            Self::OrderPlaced(placed) => (placed.customer_id, OrderState::Placed, Payment::Unpaid),
            Self::OrderCancelled(cancelled) => (cancelled.customer_id, OrderState::Cancelled, cancelled.payment),
            Self::OrderFulfilled(fulfilled) => (fulfilled.customer_id, OrderState::Fulfilled, fulfilled.payment),
            Self::OrderUnchanged(unchanged) => (unchanged.customer_id, unchanged.state, unchanged.payment),
            Self::OrderConfirmed(_)
            | Self::OrderRejected(_)
            | Self::OrderMarkedPaid(_)
            | Self::OrderMarkedRefunded(_)
            | Self::OrderReactionDeclined(_) => return None,
        };
        Some(Standing { order_id: self.order_id(), customer_id, state, payment, version: self.version() })
    }
}

#[cfg(test)]
mod tests;
