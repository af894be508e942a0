//! Orders: what customers want, whether it can be supplied, whether it is paid.
//!
//! An order has two axes that move by themselves: its state (`placed`, then `confirmed` or `rejected`, later `fulfilled` or
//! `cancelled`), moved by stock and by people, and its payment (`unpaid`, `paid`, `refunded`), which only billing moves and
//! which never goes back. News of stock and payments come on topics without a mutual order, repeated and late: each becomes
//! a record of this journal, if only one that says why nothing was done.
//!
//! Deliberately absent: stock and invoices, which have services of their own; deciding about them by a query.

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
