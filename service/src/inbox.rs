//! Has the inbox in Redis follow the rows of the notifications service.
//!
//! Redis is a copy of a copy: whatever it lost is filled in again out of the rows, and readers use the rows while it lags.

use std::{error::Error, sync::Arc, time::Duration};

use orderlog_domain::notifications::Notifications;
use orderlog_projections::{Inbox, InboxError, RedisInbox};

use crate::replica::Replica;

/// How often Redis is asked where it stands though nothing happened: it may have lost its data meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why Redis does not follow.
#[derive(Debug, thiserror::Error)]
#[error("the inbox in Redis does not follow: {}", with_causes(.0))]
pub struct FollowError(#[source] InboxError);

/// Bring Redis to where the rows stand, again and again, until it fails.
///
/// # Errors
/// [`FollowError`]; started again it asks Redis where it stands, and goes on from there.
pub async fn run(replica: Replica<Notifications>, redis: Arc<RedisInbox>) -> Result<(), FollowError> {
    let mut committed = replica.committed();
    loop {
        // Asked anew, never taken from memory: whoever flushed Redis told nobody.
        redis.position().await.map_err(FollowError)?;
        loop {
            committed.borrow_and_update();
            redis.follow(&replica.store()).await.map_err(FollowError)?;
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
