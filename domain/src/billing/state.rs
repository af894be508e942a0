//! The state of an invoice.

use serde::{Deserialize, Serialize};

use super::RefundCause;
use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
    reason::Reason,
};

use crate::values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference};

pub const INVOICES: Kind = "invoices";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    /// Not paid in full, perhaps in part.
    Open,
    /// Paid in full. Part of it may have been refunded.
    Paid,
    /// Nothing is to be paid, and nothing was paid.
    Void,
    /// Everything paid was refunded.
    Refunded,
}

words!(InvoiceState { Open = "open", Paid = "paid", Void = "void", Refunded = "refunded" });

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentEntry {
    pub payment_id: PaymentId,
    /// In minor units.
    pub amount: Money,
    pub reference: PaymentReference,
    /// When it was recorded.
    pub at_ms: Millis,
}

/// A refund on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundEntry {
    /// In minor units.
    pub amount: Money,
    pub cause: RefundCause,
    /// The caller's reason.
    pub reason: Option<Reason>,
    /// When it was recorded.
    pub at_ms: Millis,
}

/// The invoice of one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// The currency of all amounts. `None` while only the order's end is known here.
    pub currency: Option<Currency>,
    pub state: InvoiceState,
    /// The total due, in minor units.
    pub amount_due: Money,
    /// The total paid.
    pub amount_paid: Money,
    pub amount_refunded: Money,
    /// In the order they were recorded.
    pub payments: Vec<PaymentEntry>,
    /// In the order they were recorded.
    pub refunds: Vec<RefundEntry>,
    /// The number of its events.
    pub version: u64,
    pub created_ms: Millis,
    /// When the last event that changed anything was decided.
    pub updated_ms: Millis,
}

impl Invoice {
    pub fn aggregate(order_id: OrderId) -> Ref {
        Ref::new(INVOICES, Key::of(order_id))
    }

    /// The amount still to be paid.
    pub fn open_amount(&self) -> Money {
        match self.state {
            InvoiceState::Open => self.amount_due.checked_sub(self.amount_paid).unwrap_or(Money::ZERO),
            InvoiceState::Paid | InvoiceState::Void | InvoiceState::Refunded => Money::ZERO,
        }
    }

    /// What was paid and not refunded.
    pub fn refundable(&self) -> Money {
        self.amount_paid.checked_sub(self.amount_refunded).unwrap_or(Money::ZERO)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    Invoice(Invoice),
}

impl Entity {
    pub const fn as_invoice(&self) -> Option<&Invoice> {
        let Self::Invoice(invoice) = self;
        Some(invoice)
    }

    pub fn into_invoice(self) -> Option<Invoice> {
        let Self::Invoice(invoice) = self;
        Some(invoice)
    }
}
