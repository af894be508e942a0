//! The shop's rules, without I/O, clock or async.
//!
//! - One module per service ([`customers`], [`orders`], [`inventory`], [`billing`], [`notifications`]): its commands, its
//!   events and their stored format, its decisions and reactions. Its `public` module defines the events it publishes.
//! - [`values`]: money, SKUs, quantities, ids: types whose values are always valid.
//! - [`planted`]: deliberate bugs, compiled only into builds that check whether tests find them.
//!
//! Kafka, SQLite, HTTP, time and randomness are deliberately absent. Their results come in as values.

#[macro_use]
mod variants;

pub mod billing;
pub mod customers;
mod fingerprint;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod paths;
pub mod planted;
pub mod values;

#[cfg(test)]
mod public_format_tests;

use orderlog_core::{
    decider::Decider,
    public::{PublicEvent, Services, Topic},
};

/// The shop's services. An export contains exactly their journals, each once; another set of services needs a new export
/// format.
pub const SERVICES: &Services = &[
    of::<customers::Customers>(),
    of::<orders::Orders>(),
    of::<inventory::Inventory>(),
    of::<billing::Billing>(),
    of::<notifications::Notifications>(),
];

const fn of<D: Decider>() -> (&'static str, &'static [Topic]) {
    (D::JOURNAL, D::Published::TOPICS)
}
