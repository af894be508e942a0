//! The events of notifications, as stored in the journal `notifications`.
//!
//! ## Storage format: change nothing here without a new event
//! The log is kept forever. Events and fields are never renamed, removed or given another meaning; a new field needs a
//! default. The golden tests below catch violations.

use serde::{Deserialize, Serialize};

use orderlog_core::decider::Millis;

use crate::values::{Body, NotificationId, Recipient, Subject};

/// The origin of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A caller of `POST /notify`. The id was minted.
    Caller,
    /// A public event of another service. The id is derived from it.
    News,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationMade {
    pub notification_id: NotificationId,
    pub source: Source,
    pub recipient: Recipient,
    pub subject: Subject,
    pub body: Body,
    pub version: u64,
}

/// The recipient has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationRead {
    pub notification_id: NotificationId,
    pub read_ms: Millis,
    pub version: u64,
}

/// The recipient had already seen it. Recorded, since the log has the last word on that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationAlreadyRead {
    pub notification_id: NotificationId,
    /// When it was first read.
    pub read_ms: Millis,
    pub version: u64,
}

/// The same public event was delivered again. The notification exists and is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationAlreadyMade {
    pub notification_id: NotificationId,
    pub version: u64,
}

#[expect(clippy::enum_variant_names, reason = "these are stored names, and an event is called in full in a log")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    NotificationMade(NotificationMade),
    NotificationRead(NotificationRead),
    NotificationAlreadyRead(NotificationAlreadyRead),
    NotificationAlreadyMade(NotificationAlreadyMade),
}

fields_of_all!(Event {
    NotificationMade, NotificationRead, NotificationAlreadyRead, NotificationAlreadyMade,
} notification_id: NotificationId, version: u64);

impl Event {
    /// When the notification was first read, if the event says so.
    pub const fn read_ms(&self) -> Option<Millis> {
        match self {
            Self::NotificationRead(NotificationRead { read_ms, .. })
            | Self::NotificationAlreadyRead(NotificationAlreadyRead { read_ms, .. }) => Some(*read_ms),
            Self::NotificationMade(_) | Self::NotificationAlreadyMade(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ID: NotificationId = NotificationId(Uuid::from_u128(1));

    /// `event` is stored as `json`, where `ID` stands for the id.
    #[track_caller]
    fn is_stored_as(event: &Event, json: &str) {
        let json = json.replace("ID", "00000000-0000-0000-0000-000000000001");
        assert_eq!(serde_json::to_string(event).unwrap(), json);
        assert_eq!(&serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn stored_format_of_notification_made_is_stable() {
        for (source, name) in [(Source::Caller, "caller"), (Source::News, "news")] {
            is_stored_as(
                &Event::NotificationMade(NotificationMade {
                    notification_id: ID,
                    source,
                    recipient: Recipient::new("operations").unwrap(),
                    subject: Subject::new("Low stock: a").unwrap(),
                    body: Body::new("Two lines\nof text").unwrap(),
                    version: 1,
                }),
                &r#"{"NotificationMade":{"notification_id":"ID","source":"SOURCE","recipient":"operations","subject":"Low stock: a","body":"Two lines\nof text","version":1}}"#
                    .replace("SOURCE", name),
            );
        }
    }

    #[test]
    fn stored_format_of_notification_read_is_stable() {
        is_stored_as(
            &Event::NotificationRead(NotificationRead { notification_id: ID, read_ms: 5, version: 2 }),
            r#"{"NotificationRead":{"notification_id":"ID","read_ms":5,"version":2}}"#,
        );
    }

    #[test]
    fn stored_format_of_notification_already_read_is_stable() {
        is_stored_as(
            &Event::NotificationAlreadyRead(NotificationAlreadyRead { notification_id: ID, read_ms: 5, version: 3 }),
            r#"{"NotificationAlreadyRead":{"notification_id":"ID","read_ms":5,"version":3}}"#,
        );
    }

    #[test]
    fn stored_format_of_notification_already_made_is_stable() {
        is_stored_as(
            &Event::NotificationAlreadyMade(NotificationAlreadyMade { notification_id: ID, version: 4 }),
            r#"{"NotificationAlreadyMade":{"notification_id":"ID","version":4}}"#,
        );
    }
}
