//! What an invoice is.

use serde::{Deserialize, Serialize};

use super::RefundCause;
use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
    reason::Reason,
};

use crate::values::{Currency, CustomerId, Money, OrderId, PaymentId, PaymentReference};

/// The kind of aggregate that an invoice is.
pub const INVOICES: Kind = "invoices";

/// Where an invoice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    /// Something is still to be paid, perhaps not all.
    Open,
    /// Paid in full; part of it may have been given back.
    Paid,
    /// Nothing is to be paid, nothing ever was.
    Void,
    /// All that was paid was given back.
    Refunded,
}

impl InvoiceState {
    /// Its name, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Void => "void",
            Self::Refunded => "refunded",
        }
    }
}

/// A payment on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentEntry {
    pub payment_id: PaymentId,
    /// Minor units.
    pub amount: Money,
    pub reference: PaymentReference,
    /// When it was recorded.
    pub at_ms: Millis,
}

/// Money that was given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundEntry {
    /// Minor units.
    pub amount: Money,
    /// What led to it.
    pub cause: RefundCause,
    /// Why, in somebody's words.
    pub reason: Option<Reason>,
    /// When it was recorded.
    pub at_ms: Millis,
}

/// The invoice of one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    pub order_id: OrderId,
    pub customer_id: CustomerId,
    /// Of all amounts; none as long as only the order's end is known here.
    pub currency: Option<Currency>,
    pub state: InvoiceState,
    /// What is to be paid in all, minor units.
    pub amount_due: Money,
    /// What was paid in all.
    pub amount_paid: Money,
    /// What was given back in all.
    pub amount_refunded: Money,
    /// In the order in which they came.
    pub payments: Vec<PaymentEntry>,
    /// In the order in which they were made.
    pub refunds: Vec<RefundEntry>,
    /// How often it was changed.
    pub version: u64,
    /// When it was opened.
    pub created_ms: Millis,
    /// When the last event that changed anything was decided.
    pub updated_ms: Millis,
}

impl Invoice {
    /// The invoice of an order, as an aggregate.
    pub fn aggregate(order_id: OrderId) -> Ref {
        Ref::new(INVOICES, Key::of(order_id))
    }

    /// What is still to be paid.
    pub fn open_amount(&self) -> Money {
        match self.state {
            InvoiceState::Open => self.amount_due.checked_sub(self.amount_paid).unwrap_or(Money::ZERO),
            InvoiceState::Paid | InvoiceState::Void | InvoiceState::Refunded => Money::ZERO,
        }
    }

    /// What is left of what was paid.
    pub fn refundable(&self) -> Money {
        self.amount_paid.checked_sub(self.amount_refunded).unwrap_or(Money::ZERO)
    }
}

/// An aggregate of billing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    Invoice(Invoice),
}

impl Entity {
    pub const fn as_invoice(&self) -> Option<&Invoice> {
        let Self::Invoice(invoice) = self;
        Some(invoice)
    }
}
