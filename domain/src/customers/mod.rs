//! Customers: who they are, how to reach them, whether they may place orders.
//!
//! An e-mail address belongs to at most one customer, however it is spelled. That is a claim of its own, an aggregate under the
//! keyed hash of the address, so that two customers who want the same one race for the same key, and the log arbitrates.
//!
//! Deliberately absent: orders (their service decides about a customer by a copied fact) and the making of hashes and ids,
//! which happens at the edge, where the deployment's secret and randomness are.

mod address;
mod commands;
mod decide;
mod events;
pub mod public;
mod react;
mod state;

pub use address::Address;
pub use commands::{Command, Rejection};
pub use events::{
    Claim, CustomerCreated, CustomerDeactivated, CustomerEmailKeyClaimed, CustomerFacts, CustomerUnchanged,
    CustomerUpdated, Event,
};
pub use public::Published;
pub use state::{CUSTOMERS, Customer, EMAIL_CLAIMS, EmailClaim, Entity};

#[derive(Clone, Copy, Debug)]
pub enum Customers {}
