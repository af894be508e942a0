//! Notifications.

use std::collections::BTreeMap;

use orderlog_core::key::Key;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, At, Document, Model, counted, holds, id_key, text};
use crate::ask::{Ask, Refusal};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Notification {
    notification_id: String,
    recipient: String,
    subject: String,
    body: String,
    read: bool,
    version: i64,
    created_ms: i64,
    read_ms: Option<i64>,
    sequence: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Notifications {
    /// By the key of the id.
    pub notifications: BTreeMap<Key, Notification>,
}

/// A recipient has one inbox, however its id is spelled.
fn one_inbox(recipient: &str) -> String {
    Uuid::try_parse(recipient).map_or_else(|_| recipient.to_owned(), |id| id.to_string())
}

impl Model for Notifications {
    fn apply(&mut self, at: At, name: &str, event: &Value) -> Result<(), &'static str> {
        let id = text(event, "notification_id");
        let notification = self.notifications.entry(id_key(&id)).or_default();
        counted(&mut notification.version, event)?;
        match name {
            "NotificationMade" => {
                notification.notification_id = id;
                notification.recipient = text(event, "recipient");
                notification.subject = text(event, "subject");
                notification.body = text(event, "body");
                (notification.created_ms, notification.sequence) = (at.time_ms, at.offset);
                holds(notification.version == 1, "a notification is made once")
            }
            "NotificationRead" => {
                let was_read = std::mem::replace(&mut notification.read, true);
                notification.read_ms = Some(at.time_ms);
                holds(!was_read, "a notification is read for the first time once")?;
                holds(event["read_ms"] == at.time_ms, "what is read has the time of that")
            }
            "NotificationAlreadyRead" => {
                holds(event["read_ms"].as_i64() == notification.read_ms, "what was read keeps the time of that")
            }
            _ => Ok(()),
        }
    }

    fn answer(&self, ask: &Ask, minted: &str, now_ms: i64) -> Answer {
        match ask {
            Ask::Notify { recipient, subject, body } => {
                let made = json!({
                    "notification_id": minted, "source": "caller", "recipient": one_inbox(recipient),
                    "subject": subject, "body": body, "version": 1,
                });
                Ok(("NotificationMade", made))
            }
            Ask::MarkRead { notification: id } => {
                let unknown = || vec![Refusal::new("unknown_notification", json!({ "notification_id": id }))];
                let notification = self.notifications.get(&id_key(id)).ok_or_else(unknown)?;
                let name = if notification.read { "NotificationAlreadyRead" } else { "NotificationRead" };
                let read_ms = notification.read_ms.unwrap_or(now_ms);
                let version = notification.version + 1;
                Ok((name, json!({ "notification_id": id, "read_ms": read_ms, "version": version })))
            }
            _ => Err(Vec::new()),
        }
    }

    fn target(ask: &Ask) -> Option<Key> {
        match ask {
            Ask::MarkRead { notification } => Some(id_key(notification)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.notifications.keys().copied().collect()
    }

    fn row(&self, key: Key) -> Option<Document> {
        Some(("notifications", json!({ "Notification": self.notifications.get(&key)? })))
    }
}
