//! Billing: one invoice per order, the payments on it, and what was given back.
//!
//! The invoice settles every race of money: a payment that comes first is refunded when the order is cancelled, a payment
//! that comes second finds a closed invoice. At any prefix of the journal `0 <= refunded <= paid <= due`.
//!
//! Deliberately absent: how money moves. A payment here is the record that it did.

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
