//! What can be asked of the notifications service, and why it may be refused.

use crate::{
    decider::Ref,
    fingerprint,
    values::{Body, NotificationId, Recipient, Subject},
};

use super::{events::Source, state::Notification};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tell somebody something.
    Notify {
        /// Minted for this command, or derived from the news that it follows from: `source` says which.
        notification_id: NotificationId,
        /// Who asks.
        source: Source,
        /// Whom.
        recipient: Recipient,
        /// What, in short.
        subject: Subject,
        /// What.
        body: Body,
    },
    /// The recipient has seen it.
    MarkRead {
        /// Which.
        notification_id: NotificationId,
    },
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
            Self::Notify { notification_id: _, source, recipient, subject, body } => {
                fingerprint::text(&("notify", source, recipient, subject, body))
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
