//! What can be asked of the notifications service, and why it may be refused.

use std::fmt;

use orderlog_core::decider::Ref;

use crate::{
    fingerprint,
    values::{Body, NotificationId, Recipient, Subject},
};

use super::{events::Source, state::Notification};

/// What another service has somebody notified of, where no public event says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub recipient: String,
    pub subject: String,
    pub body: String,
}

/// What a log may show: the recipient.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.recipient)
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Notify {
        /// Minted for this command, or derived from the news that it follows from: `source` says which.
        notification_id: NotificationId,
        source: Source,
        recipient: Recipient,
        /// The recipient as the caller wrote it. Only the fingerprint rests on it: those of commands from before UUIDs had one
        /// spelling do, and a repeat has to be recognised.
        recipient_as_given: String,
        subject: Subject,
        body: Body,
    },
    /// The recipient has seen it.
    MarkRead { notification_id: NotificationId },
}

impl Command {
    /// The aggregate that it is about, if that exists before.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Notify { .. } => None,
            Self::MarkRead { notification_id } => Some(Notification::aggregate(*notification_id)),
        }
    }

    /// What tells two parsed commands apart, without an id that was minted for this one.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Notify { notification_id: _, source, recipient: _, recipient_as_given, subject, body } => {
                fingerprint::text(&("notify", source, recipient_as_given, subject, body))
            }
            Self::MarkRead { notification_id } => fingerprint::text(&("read", notification_id)),
        }
    }
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such notification.
    #[error("there is no notification {notification_id}")]
    UnknownNotification {
        /// Which was asked for.
        notification_id: NotificationId,
    },
}
