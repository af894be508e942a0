//! The read models of the shop.
//!
//! - One module per service: its tables, and its lists as functions of its store.
//! - [`Inbox`]: notifications as their recipients see them, in SQLite or, following it, in Redis ([`RedisInbox`]).
//!
//! Only this crate and the engine's read models contain SQL, and only this one uses Redis. Deliberately absent: rules,
//! which are in `orderlog-domain`.

pub mod billing;
pub mod customers;
mod inbox;
pub mod inventory;
pub mod notifications;
pub mod orders;

pub use inbox::{Applied, Inbox, InboxError, RedisInbox};
