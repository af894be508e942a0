//! The public events of billing.
//!
//! ## Storage format: these names and fields are a contract
//! See [`orderlog_core::public`].

use orderlog_core::{decider::Decider, public_events, schema::Schema};
use serde::{Deserialize, Serialize};

use super::Billing;
use crate::values::{Currency, CustomerId, Money, OrderId};

public_events! {
    pub enum Published by Billing::JOURNAL {
        /// An order was paid in full.
        OrderPaid(OrderPaid) = "order.paid", order_id;
        /// A payment was refunded.
        PaymentRefunded(PaymentRefunded) = "payment.refunded", order_id;
    }
}

/// `order.paid`: the invoice is paid in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct OrderPaid {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The total paid.
    pub amount: Money,
    pub currency: Currency,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct PaymentRefunded {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The amount of this refund.
    pub amount: Money,
    /// The total paid.
    pub amount_paid: Money,
    /// The total refunded.
    pub amount_refunded: Money,
    pub currency: Currency,
    pub version: u64,
}
