//! Orders: what customers ordered, whether it can be supplied, and whether it is paid.
//!
//! An order has two independent axes. Its state (`placed`, then `confirmed` or `rejected`, later `fulfilled` or
//! `cancelled`) is changed by stock and by callers. Its payment (`unpaid`, `paid`, `refunded`) is changed by billing only
//! and never goes back. Public events of stock and payments arrive on separate topics in no mutual order, repeated and
//! late. Each becomes a record of this journal, even if it only says why nothing was done.
//!
//! Deliberately absent: stock and invoices, which have services of their own, and decisions based on querying them.

mod commands;
mod decide;
mod events;
mod lines;
pub mod public;
mod react;
mod state;

pub use commands::{Action, Command, MAX_LINES, Rejection};
pub use decide::total_of_order;
pub use events::{
    DeclineReason, Event, OrderCancelled, OrderConfirmed, OrderFulfilled, OrderMarkedPaid, OrderMarkedRefunded,
    OrderPlaced, OrderReactionDeclined, OrderRejected, OrderUnchanged, Reaction, Standing,
};
pub use lines::{QuantityOverflow, added_up, total_of};
pub use public::{OrderLine, Published};
pub use react::Heard;
pub use state::{Entity, KNOWN_CUSTOMERS, KnownCustomer, ORDERS, Order, OrderState, Payment, StrayOrder, Unsupplied};

#[derive(Clone, Copy, Debug)]
pub enum Orders {}
