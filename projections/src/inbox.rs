//! What `GET /notifications` and its stream need, whoever keeps it: SQLite always, Redis where a deployment has one.

mod redis;

use async_trait::async_trait;
use orderlog_domain::{
    notifications::{Notification, Notifications},
    values::Recipient,
};

pub use self::redis::{Applied, RedisInbox};
use orderlog_readmodel::{Paging, Store, StoreError};

use crate::notifications::{self, InboxPage};

/// Why an inbox gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The rows in SQLite could not be read, or the cursor is foreign.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis did not answer in time. Whether it did what was asked is unknown.
    #[error("Redis did not answer within {waited_ms} ms")]
    Late {
        /// For how long it was waited.
        waited_ms: u128,
    },
    /// Redis refused, or could not be reached. Whether it did what was asked is unknown.
    #[error("Redis failed")]
    Redis(#[source] ::redis::RedisError),
    /// Redis holds what this program never wrote, or is being rebuilt under the reader's hands.
    #[error("Redis holds something unexpected: {detail}")]
    Unexpected { detail: String },
}

/// Notifications as their recipients see them.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// A page of a recipient's notifications, newest first, only the unread ones if wished, with the count of unread ones.
    async fn page(&self, recipient: &Recipient, unread_only: bool, paging: &Paging) -> Result<InboxPage, InboxError>;

    /// Notifications whose sequence is above `after`, ascending, at most `limit`; of one recipient, or of all.
    async fn since(
        &self,
        after: Option<u64>,
        recipient: Option<&Recipient>,
        limit: u32,
    ) -> Result<Vec<Notification>, InboxError>;

    /// The first offset of the journal that is not in this inbox.
    async fn position(&self) -> Result<u64, InboxError>;
}

#[async_trait]
impl Inbox for Store<Notifications> {
    async fn page(&self, recipient: &Recipient, unread_only: bool, paging: &Paging) -> Result<InboxPage, InboxError> {
        Ok(notifications::inbox(self, recipient, unread_only, paging).await?)
    }

    async fn since(
        &self,
        after: Option<u64>,
        recipient: Option<&Recipient>,
        limit: u32,
    ) -> Result<Vec<Notification>, InboxError> {
        let notified = notifications::since(self, after, recipient, limit).await?;
        Ok(notified.into_iter().map(|it| it.notification).collect())
    }

    async fn position(&self) -> Result<u64, InboxError> {
        Ok(self.moment().await?.next().await?)
    }
}
