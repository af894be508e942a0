//! Notifications.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Expected, Model, counted, holds, text};
use crate::history::Ask;

/// A notification.
#[derive(Clone, Debug, Default)]
pub struct Notification {
    /// Whom it is for.
    pub recipient: String,
    /// What it is about.
    pub subject: String,
    /// Whether another service's news led to it.
    pub is_news: bool,
    read: bool,
    version: i64,
}

/// The service.
#[derive(Clone, Debug, Default)]
pub struct Notifications {
    /// By id.
    pub notifications: BTreeMap<String, Notification>,
}

impl Model for Notifications {
    const KINDS: &'static [&'static str] = &["notifications"];

    fn apply(&mut self, name: &str, event: &Value) -> Result<(), &'static str> {
        let notification = self.notifications.entry(text(event, "notification_id")).or_default();
        counted(&mut notification.version, event)?;
        match name {
            "NotificationMade" => {
                notification.recipient = text(event, "recipient");
                notification.subject = text(event, "subject");
                notification.is_news = text(event, "source") == "news";
                holds(notification.version == 1, "a notification is made once")
            }
            "NotificationRead" => {
                let was_read = std::mem::replace(&mut notification.read, true);
                holds(!was_read, "a notification is read for the first time once")
            }
            _ => Ok(()),
        }
    }

    fn refuses(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::MarkRead(id) if !self.notifications.contains_key(id))
    }

    fn rows(&self) -> BTreeMap<(&'static str, String), Expected> {
        let row = |(id, it): (&String, &Notification)| {
            let doc = json!({"recipient": it.recipient, "subject": it.subject, "read": it.read, "version": it.version});
            (("notifications", id.clone()), ("Notification", doc))
        };
        self.notifications.iter().map(row).collect()
    }

    fn id(_kind: &str, document: &Map<String, Value>) -> Option<String> {
        Some(document["notification_id"].as_str().unwrap_or_default().to_owned())
    }
}
