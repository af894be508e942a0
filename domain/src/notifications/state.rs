//! The aggregates of the notifications service. They only copy what events say.

use serde::{Deserialize, Serialize};

use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
};

use crate::values::{Body, NotificationId, Recipient, Subject};

pub const NOTIFICATIONS: Kind = "notifications";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub notification_id: NotificationId,
    pub recipient: Recipient,
    pub subject: Subject,
    pub body: Body,
    /// Whether the recipient has seen it.
    pub read: bool,
    /// The number of this notification's events.
    pub version: u64,
    /// When it was created.
    pub created_ms: Millis,
    /// When it was first read.
    pub read_ms: Option<Millis>,
    /// The journal offset of its creation. Lists are sorted, and the stream is resumed, by it.
    pub sequence: u64,
}

/// A placeholder for a notification whose creation was discarded from the journal but that later records name. Like every
/// aggregate it counts the records that name its key. It is not visible as a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayNotification {
    pub notification_id: NotificationId,
    /// The number of events about it.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    Notification(Notification),
    /// Also of kind [`NOTIFICATIONS`], as a placeholder.
    StrayNotification(StrayNotification),
}

variants!(Entity {
    Notification(Notification) as_notification into_notification,
    StrayNotification(StrayNotification) as_stray_notification into_stray_notification,
});

impl Notification {
    pub fn aggregate(notification_id: NotificationId) -> Ref {
        Ref::new(NOTIFICATIONS, Key::of(notification_id))
    }
}
