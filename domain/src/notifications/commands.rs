//! The commands of the notifications service, and why they may be rejected.

use std::fmt;

use orderlog_core::decider::Ref;

use crate::{
    fingerprint,
    values::{Body, NotificationId, Recipient, Subject},
};

use super::{events::Source, state::Notification};

/// A notification that another service requests for something that it does not publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub recipient: String,
    pub subject: String,
    pub body: String,
}

/// Shows only the recipient, so that it is safe to log.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.recipient)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Notify {
        /// Minted for this command, or derived from a public event, depending on `source`.
        notification_id: NotificationId,
        source: Source,
        recipient: Recipient,
        /// The recipient as the caller wrote it. Used only by the fingerprint: it must match that of commands from before
        /// UUIDs were normalized, so that repeats are recognized.
        recipient_as_given: String,
        subject: Subject,
        body: Body,
    },
    /// The recipient has seen it.
    MarkRead { notification_id: NotificationId },
}

impl Command {
    /// The existing aggregate that the command is about, if any.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Notify { .. } => None,
            Self::MarkRead { notification_id } => Some(Notification::aggregate(*notification_id)),
        }
    }

    /// Identifies a parsed command, without an id that was minted for it.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Notify { notification_id: _, source, recipient: _, recipient_as_given, subject, body } => {
                fingerprint::text(&("notify", source, recipient_as_given, subject, body))
            }
            Self::MarkRead { notification_id } => fingerprint::text(&("read", notification_id)),
        }
    }
}

/// Why a command was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such notification.
    #[error("there is no notification {notification_id}")]
    UnknownNotification {
        /// The notification in the command.
        notification_id: NotificationId,
    },
}
