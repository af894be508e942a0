//! Has the inbox in Redis follow the rows of the notifications service.
//!
//! Redis is a copy of a copy: whatever it lost is filled in again out of the rows, and readers use the rows while it lags.

use std::{error::Error, sync::Arc, time::Duration};

use orderlog_domain::notifications::Notifications;
use orderlog_eventlog::ReadError;
use orderlog_projections::{Inbox, InboxError, RedisInbox};
use orderlog_runtime::replica::Replica;
use tracing::warn;

/// How often Redis is asked where it stands though nothing happened: it may have lost its data meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why Redis does not follow.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Redis, or the rows.
    #[error("the inbox in Redis does not follow: {}", with_causes(.0))]
    Inbox(#[from] InboxError),
    /// Where the journal ends is not known.
    #[error("the inbox in Redis does not follow: {}", with_causes(.0))]
    Journal(#[from] ReadError),
}

/// Bring Redis to where the rows stand, again and again, until it fails.
///
/// # Errors
/// [`FollowError`]; started again it asks Redis where it stands, and goes on from there.
pub async fn run(replica: Replica<Notifications>, redis: Arc<RedisInbox>) -> Result<(), FollowError> {
    let mut committed = replica.committed();
    // First where Redis stands: of this history it can't be where the journal does not reach a moment later.
    let position = redis.position().await?;
    let ends = replica.log().ends(&[Replica::<Notifications>::journal()]).await?;
    if ends.first().is_some_and(|end| position > *end) {
        warn!(position, "the log is older than the inbox in Redis, which is filled anew");
        redis.rebuild_from_store(&replica.store()).await?;
    }
    loop {
        // Asked anew, never taken from memory: whoever flushed Redis told nobody.
        redis.position().await?;
        loop {
            committed.borrow_and_update();
            redis.follow(&replica.store()).await?;
            let changed = tokio::select! {
                biased;
                () = replica.is_to_end() => return Ok(()),
                changed = tokio::time::timeout(LOOK_EVERY, committed.changed()) => changed,
            };
            match changed {
                Ok(Ok(())) => {}
                // The replica is gone, and with it everybody who would read.
                Ok(Err(_)) => return Ok(()),
                Err(_) => break,
            }
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
