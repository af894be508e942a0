//! Billing: one invoice per order, with its payments and refunds.
//!
//! The invoice settles all races between payments and order events: a payment before the cancellation is refunded, and a
//! later one finds a closed invoice. At any prefix of the journal `0 <= refunded <= paid <= due`.
//!
//! Deliberately absent: moving money. A payment here only records that it moved.

mod commands;
mod decide;
mod events;
pub mod public;
mod react;
mod state;

pub use commands::{Command, Rejection};
pub use events::{
    DeclineReason, Event, InvoiceFilledIn, InvoiceOpened, InvoiceRefunded, InvoiceTotals, InvoiceVoided,
    PaymentRecorded, Reaction, ReactionDeclined, RefundCause,
};
pub use public::Published;
pub use state::{Entity, INVOICES, Invoice, InvoiceState, PaymentEntry, RefundEntry};

#[derive(Clone, Copy, Debug)]
pub enum Billing {}
