//! The aggregates of the orders service. They only copy what events say.

use serde::{Deserialize, Serialize};

use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
};

use crate::{
    inventory::{Shortage, ShortageReason},
    orders::OrderLine,
    values::{Channel, Currency, CustomerId, Money, OrderId},
};

/// The kind of [`Order`], and of [`StrayOrder`], its placeholder.
pub const ORDERS: Kind = "orders";
pub const KNOWN_CUSTOMERS: Kind = "known_customers";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It is not known yet whether it can be supplied.
    Placed,
    /// All its stock is reserved.
    Confirmed,
    /// It can't be supplied. Terminal state.
    Rejected,
    /// Shipped. Terminal state.
    Fulfilled,
    /// Cancelled. Terminal state.
    Cancelled,
}

words!(OrderState {
    Placed = "placed",
    Confirmed = "confirmed",
    Rejected = "rejected",
    Fulfilled = "fulfilled",
    Cancelled = "cancelled",
});

impl OrderState {
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Placed | Self::Confirmed => false,
            Self::Rejected | Self::Fulfilled | Self::Cancelled => true,
        }
    }
}

/// The payment of an order. It only advances: a payment that arrives after its refund is ignored as late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// Not paid in full.
    Unpaid,
    Paid,
    Refunded,
}

words!(Payment { Unpaid = "unpaid", Paid = "paid", Refunded = "refunded" });

/// Why an order was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsupplied {
    pub reason: ShortageReason,
    /// Every SKU in short supply.
    pub shortages: Vec<Shortage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The currency of the prices and the total.
    pub currency: Currency,
    /// As ordered. SKUs may repeat.
    pub lines: Vec<OrderLine>,
    /// The sum of the lines.
    pub total: Money,
    /// Where the order came from, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    pub state: OrderState,
    pub payment: Payment,
    /// Why it was rejected, if it was.
    pub rejection: Option<Unsupplied>,
    /// The number of this order's events.
    pub version: u64,
    /// When it was placed.
    pub created_ms: Millis,
    /// When the last event that changed anything was decided.
    pub updated_ms: Millis,
}

/// A placeholder for an order that public events named but that was never placed here. Like every aggregate it counts the
/// records that name its key. It is not visible as an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayOrder {
    /// The id that the public event named.
    pub order_id: OrderId,
    /// The number of events about it.
    pub version: u64,
}

/// What this service knows of a customer: a copy of the customers service's public events. The highest version wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCustomer {
    pub customer_id: CustomerId,
    /// Whether they may place orders.
    pub active: bool,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    Order(Order),
    /// Also of kind [`ORDERS`], as a placeholder.
    StrayOrder(StrayOrder),
    KnownCustomer(KnownCustomer),
}

variants!(Entity {
    Order(Order) as_order into_order,
    StrayOrder(StrayOrder) as_stray_order into_stray_order,
    KnownCustomer(KnownCustomer) as_known_customer into_known_customer,
});

impl Order {
    pub fn aggregate(order_id: OrderId) -> Ref {
        Ref::new(ORDERS, Key::of(order_id))
    }
}

impl KnownCustomer {
    pub fn aggregate(customer_id: CustomerId) -> Ref {
        // Not the bare id: that is the key of an order with the same id, which any caller may request.
        Ref::new(KNOWN_CUSTOMERS, Key::named("known_customer", &customer_id.to_string()))
    }
}
