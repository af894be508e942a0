//! Customers: who they are, how to reach them, and whether they may place orders.
//!
//! An e-mail address belongs to at most one customer, however it is spelled. The claim to it is an aggregate of its own,
//! under the keyed hash of the address. Two customers who want the same address race for the same key, and the log
//! arbitrates.
//!
//! Deliberately absent: orders (their service decides about a customer by a copied fact), and hashing and minting ids,
//! which the edge does, since it has the deployment's secret and randomness.

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
