//! The shop's rules, without I/O, clock or async.
//!
//! - One module per service ([`customers`], [`orders`], [`inventory`], [`billing`], [`notifications`]): its commands, its
//!   events and their stored format, what it decides and reacts to. Its `public` module has the events it tells others and the world.
//! - [`values`]: money, SKUs, quantities, ids: values that can't be wrong once made.
//! - [`planted`]: bugs on purpose, in builds that ask whether tests find them.
//!
//! Deliberately absent: Kafka, SQLite, HTTP, time and randomness. They come in as values.

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

/// The shop's services. An export has exactly their journals, each once: another set of services needs another format of exports.
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
