//! The aggregate of the notifications service. It changes only by copying what events say.

use serde::{Deserialize, Serialize};

use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
};

use crate::values::{Body, NotificationId, Recipient, Subject};

/// The kind of [`Notification`].
pub const NOTIFICATIONS: Kind = "notifications";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub notification_id: NotificationId,
    /// Whom it is for.
    pub recipient: Recipient,
    /// What it is about.
    pub subject: Subject,
    pub body: Body,
    /// Whether the recipient has seen it.
    pub read: bool,
    /// Counts this notification's events.
    pub version: u64,
    /// When it was made.
    pub created_ms: Millis,
    /// When it was read first.
    pub read_ms: Option<Millis>,
    /// Where in the journal it was made: notifications are listed, and the stream resumed, by this.
    pub sequence: u64,
}

/// What stands where a notification would, if its making was discarded from the journal but later records name it. It
/// counts the records that name the key, as every aggregate does, and is no notification to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayNotification {
    pub notification_id: NotificationId,
    /// Counts the events about it.
    pub version: u64,
}

/// An aggregate of the notifications service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    /// Of kind [`NOTIFICATIONS`].
    Notification(Notification),
    /// Of kind [`NOTIFICATIONS`] too: only its place in the table is a notification's.
    StrayNotification(StrayNotification),
}

impl Entity {
    /// The notification, if this is one.
    pub const fn as_notification(&self) -> Option<&Notification> {
        match self {
            Self::Notification(notification) => Some(notification),
            Self::StrayNotification(_) => None,
        }
    }

    /// What stands for a notification without content, if this does.
    pub const fn as_stray_notification(&self) -> Option<&StrayNotification> {
        match self {
            Self::StrayNotification(stray) => Some(stray),
            Self::Notification(_) => None,
        }
    }
}

impl Notification {
    /// Where this notification is found.
    pub fn aggregate(notification_id: NotificationId) -> Ref {
        Ref::new(NOTIFICATIONS, Key::of(notification_id))
    }
}
