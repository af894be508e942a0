//! Notifications to people and roles, each read or unread.
//!
//! Callers request them (`POST /notify`), or they follow from public events of stock and payments. The id of such a
//! notification is derived from its event, so that a redelivered event creates only one.
//!
//! Deliberately absent: sending them anywhere, and the count of unread ones, which is part of the inbox, a read model.

mod commands;
mod decide;
mod events;
mod react;
mod state;

pub use commands::{Command, Notice, Rejection};
pub use events::{Event, NotificationAlreadyMade, NotificationAlreadyRead, NotificationMade, NotificationRead, Source};
pub use react::{Heard, OPERATIONS};
pub use state::{Entity, NOTIFICATIONS, Notification, StrayNotification};

#[derive(Clone, Copy, Debug)]
pub enum Notifications {}
