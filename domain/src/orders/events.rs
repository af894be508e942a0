//! The events of orders, as stored in the journal `orders`.
//!
//! ## Storage format: change nothing here without a new event
//! The log is kept forever. Events and fields are never renamed, removed or given another meaning; a new field needs a
//! default. The golden tests next to this file catch violations.

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
    /// The currency of the prices and the total.
    pub currency: Currency,
    /// As ordered. SKUs may repeat.
    pub lines: Vec<OrderLine>,
    /// The sum of the lines.
    pub total: Money,
    /// Where the order came from. Absent if not specified, and in events older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    pub version: u64,
}

/// All the order's stock is reserved.
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The payment when it was cancelled. A paid order stays paid until billing publishes the refund.
    pub payment: Payment,
    pub version: u64,
}

/// The order shipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFulfilled {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The payment when it shipped.
    pub payment: Payment,
    /// The units shipped, each SKU once.
    pub lines: Vec<StockLine>,
    pub version: u64,
}

/// The order's invoice is paid in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMarkedPaid {
    pub order_id: OrderId,
    /// The invoice's version with that payment.
    pub invoice_version: u64,
    pub version: u64,
}

/// Everything paid for the order was refunded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMarkedRefunded {
    pub order_id: OrderId,
    /// The invoice's version with that refund.
    pub invoice_version: u64,
    pub version: u64,
}

/// The order already was as the command requested. Recorded, since the log has the last word on that, but not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderUnchanged {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub state: OrderState,
    pub payment: Payment,
    pub version: u64,
}

/// A public event about an order required no change. Recorded, so that a redelivery can't be decided differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReactionDeclined {
    pub order_id: OrderId,
    /// The change that the event would have made.
    pub reaction: Reaction,
    /// Why it was not made.
    pub because: DeclineReason,
    /// The version of the order, or of its stray placeholder.
    pub version: u64,
}

/// The change to an order that another service's event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// On `stock.reserved`.
    Confirm,
    /// On `stock.rejected`.
    Reject,
    /// On `order.paid`.
    MarkPaid,
    /// On `payment.refunded`.
    MarkRefunded,
}

/// Why a public event about an order changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclineReason {
    /// No such order was ever placed here.
    UnknownOrder,
    /// The order is past the state that expects this event.
    StateIs(OrderState),
    /// The payment has already come as far, or farther.
    PaymentIs(Payment),
}

#[expect(clippy::enum_variant_names, reason = "these are stored names, and an event is called in full in a log")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    OrderPlaced(OrderPlaced),
    OrderConfirmed(OrderConfirmed),
    OrderRejected(OrderRejected),
    OrderCancelled(OrderCancelled),
    OrderFulfilled(OrderFulfilled),
    OrderMarkedPaid(OrderMarkedPaid),
    OrderMarkedRefunded(OrderMarkedRefunded),
    OrderUnchanged(OrderUnchanged),
    OrderReactionDeclined(OrderReactionDeclined),
}

/// The state of an order after a caller's command, for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    pub state: OrderState,
    pub payment: Payment,
    pub version: u64,
}

fields_of_all!(Event {
    OrderPlaced, OrderConfirmed, OrderRejected, OrderCancelled, OrderFulfilled, OrderMarkedPaid, OrderMarkedRefunded,
    OrderUnchanged, OrderReactionDeclined,
} order_id: OrderId, version: u64);

impl Event {
    /// The state of the order, if the event answers a caller's command. `None` for reactions to other services.
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
