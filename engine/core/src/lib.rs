//! The rules of event sourcing, without I/O, clock or async.
//!
//! - [`decider`]: what a service has to say of itself: commands, events, decisions.
//! - [`machine`]: the state machine that arbitrates, decides and folds for every service; [`header`] and [`key`] are the
//!   format it reads. Live traffic, replay, rebuild, verification and simulation drive this same code.
//! - [`public`]: the events that services publish to each other and the world.
//! - [`decoding`]: JSON errors without values. [`text`] and [`reason`]: texts that people write.
//! - [`path`]: values that stand in the paths of URLs.
//! - [`known`]: which events a program can read; a test may make it pass for an older one.
//! - [`story`]: tests of deciders as stories.
//! - [`planted`]: bugs on purpose, in builds that ask whether tests find them.
//!
//! Deliberately absent: Kafka, SQLite, HTTP, time and randomness. They come in as values.

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
pub mod story;
pub mod text;
