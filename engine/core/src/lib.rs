//! The rules of event sourcing, without I/O, clock or async.
//!
//! - [`decider`]: the trait that a service implements: commands, events, decisions.
//! - [`machine`]: the state machine that arbitrates, decides and folds for every service. [`header`] and [`key`] define the
//!   record format it reads. Live traffic, replay, rebuild, verification and simulation run this same code.
//! - [`public`]: the events that services publish to each other and the world. [`schema`]: their contract.
//! - [`decoding`]: JSON errors that contain no values. [`text`] and [`reason`]: rules for text that people write.
//! - [`path`]: values in URL paths. [`words`]: those of the program in messages.
//! - [`known`]: which events a program can read; a test can make it behave like an older version.
//! - [`story`]: given/when/then tests of deciders.
//! - [`planted`]: deliberate bugs, compiled only into builds that check whether tests find them.
//!
//! Kafka, SQLite, HTTP, time and randomness are deliberately absent. Their results come in as values.

#[cfg(test)]
extern crate self as orderlog_core;

pub mod decider;
pub mod decoding;
pub mod header;
pub mod key;
pub mod known;
pub mod machine;
pub mod path;
pub mod planted;
pub mod public;
pub mod reason;
pub mod schema;
pub mod story;
pub mod text;
pub mod words;
