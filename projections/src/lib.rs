//! The read models of the shop.
//!
//! - One module per service: its tables, and its lists as functions of its store.
//! - [`Inbox`]: what recipients of notifications see, in SQLite or, following it, in Redis ([`RedisInbox`]).
//!
//! Only this crate and the engine's read models know SQL, and only this one Redis. Deliberately absent: rules (they are in
//! `orderlog-domain`).

pub mod billing;
pub mod customers;
mod inbox;
pub mod inventory;
pub mod notifications;
pub mod orders;

pub use inbox::{Applied, Inbox, InboxError, RedisInbox};
