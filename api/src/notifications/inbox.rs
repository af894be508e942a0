//! Makes the inbox in Redis follow the read model of the notifications service.
//!
//! Redis is a copy of a copy: whatever it loses is restored from the read model, which also serves queries while Redis
//! lags.

use std::{error::Error, sync::Arc, time::Duration};

use orderlog_domain::notifications::Notifications;
use orderlog_eventlog::ReadError;
use orderlog_projections::{Inbox, InboxError, RedisInbox};
use orderlog_runtime::{background::Failure, replica::Replica};
use tracing::warn;

/// How often to check the position of Redis when nothing happens: it may have lost its data.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why Redis does not follow.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Redis or the read model failed.
    #[error("the inbox in Redis does not follow: {}", with_causes(.0))]
    Inbox(#[from] InboxError),
    #[error("the inbox in Redis does not follow: {}", with_causes(.0))]
    Journal(#[from] ReadError),
}

impl Failure for FollowError {}

/// Keeps Redis up to date with the read model, until it fails.
///
/// # Errors
/// [`FollowError`]; when restarted it resumes from the position of Redis.
pub async fn run(replica: Replica<Notifications>, redis: Arc<RedisInbox>) -> Result<(), FollowError> {
    let mut committed = replica.committed();
    // First the position of Redis: if the journal ends before it a moment later, Redis has another history.
    let position = redis.position().await?;
    let ends = replica.log().ends(&[Replica::<Notifications>::journal()]).await?;
    if ends.first().is_some_and(|end| position > *end) {
        warn!(position, "the log is older than the inbox in Redis, which is refilled");
        redis.rebuild_from_store(&replica.store()).await?;
    }
    loop {
        // Asked again, not remembered: a flush of Redis goes unnoticed otherwise.
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
                // The replica is gone, and with it all readers.
                Ok(Err(_)) => return Ok(()),
                Err(_) => break,
            }
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
