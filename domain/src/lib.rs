//! The rules of orderlog, without I/O, clock or async.
//!
//! - One module per service ([`customers`], [`orders`], [`inventory`], [`billing`], [`notifications`]): its commands, its
//!   events and their stored format, what it decides, publishes and reacts to.
//! - [`public`]: the events that services tell each other and the world.
//! - [`values`]: money, SKUs, quantities, ids: values that can't be wrong once made.
//! - [`core`]: the state machine that arbitrates, decides and folds for every service; [`header`] and [`key`] are the
//!   format it reads. Live traffic, replay, rebuild, verification and simulation drive this same code.
//! - [`known`]: which events a program can read; a test may have it pass for an older one.
//! - [`planted`]: bugs on purpose, in builds that ask whether tests find them.
//!
//! Deliberately absent: Kafka, SQLite, HTTP, time and randomness. They come in as values.

pub mod billing;
pub mod core;
pub mod customers;
pub mod decider;
pub mod decoding;
mod fingerprint;
pub mod header;
pub mod inventory;
pub mod key;
pub mod known;
pub mod notifications;
pub mod orders;
pub mod planted;
pub mod public;
pub mod values;

#[cfg(test)]
mod story;
