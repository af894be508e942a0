//! The inbox behind `GET /notifications` and its stream. SQLite always has one; a deployment may add Redis.

mod redis;

use async_trait::async_trait;
use orderlog_domain::{
    notifications::{Notification, Notifications},
    values::Recipient,
};

pub use self::redis::{Applied, RedisInbox};
use orderlog_readmodel::{Paging, Store, StoreError};

use crate::notifications::{self, InboxPage};

/// Why an inbox could not answer.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The rows in SQLite could not be read, or the cursor is invalid.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis did not answer in time. The operation may have been applied.
    #[error("Redis did not answer within {waited_ms} ms")]
    Late {
        /// How long the call waited.
        waited_ms: u128,
    },
    /// Redis reported an error, or could not be reached. The operation may have been applied.
    #[error("Redis failed")]
    Redis(#[source] ::redis::RedisError),
    /// Redis contains data that this program did not write, or is being rebuilt during the read.
    #[error("Redis holds something unexpected: {detail}")]
    Unexpected { detail: String },
}

/// Notifications as their recipients see them.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// A page of a recipient's notifications, newest first, with the number of unread ones. Only unread ones with
    /// `unread_only`.
    async fn page(&self, recipient: &Recipient, unread_only: bool, paging: &Paging) -> Result<InboxPage, InboxError>;

    /// Notifications whose sequence is above `after`, ascending, at most `limit`. Of one recipient, or of all if `None`.
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
