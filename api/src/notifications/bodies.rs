//! The request and response bodies of the notifications service.

use chrono::{DateTime, Utc};
use orderlog_domain::{
    notifications::{self, Command, Event, Notifications, Source},
    paths::EXAMPLE_NOTIFICATION,
    values::{Body, NotificationId, Recipient, Subject},
};
use orderlog_http::prelude::*;
use serde_json::{Value, json};

use crate::values::CheckValues;

/// A notification to send.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(deny_unknown_fields, example)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// The recipient: a customer's id or a role such as `operations`; 1 to 64 letters, digits, dots, dashes or
    /// underscores, with at least one letter or digit. UUIDs are case-insensitive and returned in lower case.
    #[oai(validator(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    pub recipient: String,
    /// The subject, 1 to 200 characters on one line, none of them invisible.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub subject: String,
    /// The text, 1 to 10,000 characters.
    #[oai(validator(min_length = 1, max_length = 10_000))]
    pub body: String,
}

impl Example for Notify {
    fn example() -> Self {
        let Notification { recipient, subject, body, .. } = Notification::example();
        Self { recipient, subject, body }
    }
}

impl Checked for Notify {
    type Values = Command;

    fn checked(self) -> ApiResult<Command> {
        let mut faults = Faults::default();
        let recipient_as_given = self.recipient;
        let recipient = faults.check("#/recipient", Recipient::new(&*recipient_as_given));
        let subject = faults.check("#/subject", Subject::new(self.subject));
        let body = faults.check("#/body", Body::new(self.body));
        let (Some(recipient), Some(subject), Some(body)) = (recipient, subject, body) else {
            return Err(faults.into());
        };
        let (notification_id, source) = (NotificationId(mint()), Source::Caller);
        Ok(Command::Notify { notification_id, source, recipient, recipient_as_given, subject, body })
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none, example)]
pub struct Notification {
    /// The notification's id.
    pub notification_id: Uuid,
    /// Its position among all notifications: later ones have higher numbers. Used to resume the stream.
    pub sequence: u64,
    /// The recipient.
    pub recipient: String,
    /// The subject.
    pub subject: String,
    /// The text.
    pub body: String,
    /// Whether the recipient has read it.
    pub read: bool,
    /// Incremented by every change to it.
    pub version: u64,
    /// When the notification was made.
    pub created_at: DateTime<Utc>,
    /// When it was first read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_at: Option<DateTime<Utc>>,
}

impl Example for Notification {
    fn example() -> Self {
        Self {
            notification_id: EXAMPLE_NOTIFICATION,
            sequence: 7,
            recipient: notifications::OPERATIONS.to_owned(),
            subject: "Stocktaking on Friday".to_owned(),
            body: "The warehouse is closed from 2 pm.".to_owned(),
            read: false,
            version: 1,
            created_at: time(1_790_000_000_000),
            read_at: None,
        }
    }
}

impl From<&notifications::Notification> for Notification {
    fn from(notification: &notifications::Notification) -> Self {
        Self {
            notification_id: notification.notification_id.0,
            sequence: notification.sequence,
            recipient: notification.recipient.as_str().to_owned(),
            subject: notification.subject.as_str().to_owned(),
            body: notification.body.as_str().to_owned(),
            read: notification.read,
            version: notification.version,
            created_at: time(notification.created_ms),
            read_at: notification.read_ms.map(time),
        }
    }
}

impl Notification {
    /// The response for the record of a new notification.
    pub fn of(executed: &Executed<Notifications>) -> ApiResult<Self> {
        let Event::NotificationMade(made) = &*executed.accepted.event else {
            return Err(unexpected(&executed.accepted.event));
        };
        Ok(Self {
            notification_id: made.notification_id.0,
            sequence: executed.accepted.at.offset,
            recipient: made.recipient.as_str().to_owned(),
            subject: made.subject.as_str().to_owned(),
            body: made.body.as_str().to_owned(),
            read: false,
            version: made.version,
            created_at: time_of(&executed.accepted.at),
            read_at: None,
        })
    }
}

/// A notification after it was marked as read.
#[derive(Debug, Object, Deserialize, Serialize)]
pub struct NotificationRead {
    /// The notification's id.
    pub notification_id: Uuid,
    /// Always `true`.
    pub read: bool,
    /// When it was first read.
    pub read_at: DateTime<Utc>,
    /// Incremented by every change to it.
    pub version: u64,
}

impl NotificationRead {
    /// The response for the record.
    pub fn of(executed: &Executed<Notifications>) -> ApiResult<Self> {
        let event = &executed.accepted.event;
        let read_ms = event.read_ms().ok_or_else(|| unexpected(event))?;
        let (notification_id, version) = (event.notification_id().0, event.version());
        Ok(Self { notification_id, read: true, read_at: time(read_ms), version })
    }
}

/// A recipient's notifications, newest first.
#[derive(Debug, Object, Deserialize, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub struct NotificationList {
    /// The notifications on this page.
    pub items: Vec<Notification>,
    /// The recipient's total number of unread notifications, on all pages.
    pub unread_count: u64,
    /// Pass this as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The examples that can't be composed of others without contradictions.
pub fn examples() -> Vec<(&'static str, Value)> {
    let read = json!({ "notification_id": EXAMPLE_NOTIFICATION, "read": true, "version": 2, "read_at": EXAMPLE_TIME });
    vec![("NotificationRead", read)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_value_of_a_notification_is_told_at_once() {
        let wrong = Notify { recipient: "a b".into(), subject: String::new(), body: " ".into() };
        let faults = wrong.checked().unwrap_err().faults();
        let pointers: Vec<_> = faults.into_iter().filter_map(|fault| fault.pointer).collect();
        assert_eq!(pointers, ["#/recipient", "#/subject", "#/body"]);
        assert!(Notify::example().checked().is_ok());
    }
}
