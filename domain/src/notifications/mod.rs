//! Notifications: what people and roles should know, each read or unread.
//!
//! They are asked for by callers (`POST /notify`) or follow from news of stock and payments. A notification that follows
//! from news has an id that follows from it too, so news that comes twice is told once.
//!
//! Deliberately absent: sending them anywhere, and the count of unread ones, which is the inbox's: a read model.

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
