//! The aggregates of the orders service. They change only by copying what events say.

use std::fmt;

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

/// The kind of [`Order`], and of [`StrayOrder`], which stands in its place.
pub const ORDERS: Kind = "orders";
/// The kind of [`KnownCustomer`].
pub const KNOWN_CUSTOMERS: Kind = "known_customers";

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It is not known yet whether it can be supplied.
    Placed,
    /// All its stock is set aside.
    Confirmed,
    /// It can't be supplied. The end.
    Rejected,
    /// It left the house. The end.
    Fulfilled,
    /// It was called off. The end.
    Cancelled,
}

impl OrderState {
    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Fulfilled => "fulfilled",
            Self::Cancelled => "cancelled",
        }
    }

    pub const fn is_ended(self) -> bool {
        match self {
            Self::Placed | Self::Confirmed => false,
            Self::Rejected | Self::Fulfilled | Self::Cancelled => true,
        }
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an order's payment stands. It only ever grows: news of a payment that comes after that of its refund is late news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// Not paid in full.
    Unpaid,
    Paid,
    Refunded,
}

impl Payment {
    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Paid => "paid",
            Self::Refunded => "refunded",
        }
    }
}

impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an order was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsupplied {
    pub reason: ShortageReason,
    /// Each SKU of which there was not enough.
    pub shortages: Vec<Shortage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// Of the prices and the total.
    pub currency: Currency,
    /// As ordered; SKUs may repeat.
    pub lines: Vec<OrderLine>,
    /// Sum of the lines.
    pub total: Money,
    /// Where it came from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// How far it has come.
    pub state: OrderState,
    /// How its payment stands.
    pub payment: Payment,
    /// Why it was rejected, if it was.
    pub rejection: Option<Unsupplied>,
    /// Counts this order's events.
    pub version: u64,
    /// When it was placed.
    pub created_ms: Millis,
    /// When the last event that changed anything was decided.
    pub updated_ms: Millis,
}

/// What stands where an order would, if news came of one that was never placed here. It counts the records that name the
/// key, as every aggregate does, and is no order to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayOrder {
    /// The id that the news named.
    pub order_id: OrderId,
    /// Counts the events about it.
    pub version: u64,
}

/// What this service knows of a customer: a copy of the customers service's news, of which the highest version counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCustomer {
    pub customer_id: CustomerId,
    /// Whether they may place orders.
    pub active: bool,
    pub version: u64,
}

/// An aggregate of the orders service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    /// Of kind [`ORDERS`].
    Order(Order),
    /// Of kind [`ORDERS`] too: only its place in the table is an order's.
    StrayOrder(StrayOrder),
    /// Of kind [`KNOWN_CUSTOMERS`].
    KnownCustomer(KnownCustomer),
}

impl Entity {
    /// The order, if this is one.
    pub const fn as_order(&self) -> Option<&Order> {
        match self {
            Self::Order(order) => Some(order),
            Self::StrayOrder(_) | Self::KnownCustomer(_) => None,
        }
    }

    /// What stands for an order that was never placed, if this does.
    pub const fn as_stray_order(&self) -> Option<&StrayOrder> {
        match self {
            Self::StrayOrder(stray) => Some(stray),
            Self::Order(_) | Self::KnownCustomer(_) => None,
        }
    }

    /// The known customer, if this is one.
    pub const fn as_known_customer(&self) -> Option<&KnownCustomer> {
        match self {
            Self::KnownCustomer(customer) => Some(customer),
            Self::Order(_) | Self::StrayOrder(_) => None,
        }
    }
}

impl Order {
    /// Where this order is found.
    pub fn aggregate(order_id: OrderId) -> Ref {
        Ref::new(ORDERS, Key::of(order_id))
    }
}

impl KnownCustomer {
    /// Where what is known of this customer is found.
    pub fn aggregate(customer_id: CustomerId) -> Ref {
        // Not the bare id: that is the key of an order with the same id, which anybody may ask for.
        Ref::new(KNOWN_CUSTOMERS, Key::named("known_customer", &customer_id.to_string()))
    }
}
