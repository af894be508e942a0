//! Reads lists of notifications: from Redis if it is configured and up to date, otherwise from SQLite, with the same
//! result.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use orderlog_domain::{notifications::Notifications, values::Recipient};
use orderlog_http::service::mounted::{Collector, Dependency};
use orderlog_projections::{
    Inbox, InboxError, RedisInbox,
    notifications::{self as projections, InboxPage},
};
use orderlog_readmodel::{Paging, Store, StoreError};
use tokio::time::{Instant, sleep, timeout_at};

/// How long Redis may take to answer with everything that the read model contains.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause before Redis is asked again while it lags.
const AGAIN: Duration = Duration::from_millis(15);
/// How long Redis is not asked after a failure.
const REST: Duration = Duration::from_secs(1);
/// The shortest interval between log messages about Redis not being used.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Redis, set once the journal's id is known.
#[derive(Default)]
pub struct Redis(pub OnceLock<Arc<RedisInbox>>);

impl Dependency for Redis {
    fn answers(&self) -> BoxFuture<'_, Result<(), String>> {
        async move {
            match self.0.get() {
                Some(redis) => redis.position().await.map(drop).map_err(|error| error.to_string()),
                None => Err("it is not used yet".to_owned()),
            }
        }
        .boxed()
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(RedisInbox::requests())]
    }
}

/// Reads lists. Only the log shows which store a list came from.
#[derive(Default)]
pub struct Reading {
    redis: Option<Arc<Redis>>,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    rests_until: Option<Instant>,
    warned: Option<Instant>,
}

/// Why Redis gave no answer.
enum Without {
    /// The cursor is invalid, in either store.
    Cursor(StoreError),
    /// Redis does not answer, or lags.
    Trouble(String),
}

impl Reading {
    /// Reads from Redis, if there is one.
    pub fn new(redis: Option<Arc<Redis>>) -> Self {
        Self { redis, trouble: Mutex::default() }
    }

    /// A page that reflects everything below offset `committed`, which `rows` must already contain.
    ///
    /// # Errors
    /// [`StoreError`] if the cursor is invalid, or the read model can't be read. Never because of Redis.
    pub async fn page(
        &self,
        rows: &Store<Notifications>,
        committed: u64,
        recipient: &Recipient,
        unread_only: bool,
        paging: &Paging,
    ) -> Result<InboxPage, StoreError> {
        if let Some(redis) = self.redis.as_ref().and_then(|redis| redis.0.get()).filter(|_| !self.is_resting()) {
            match caught_up(redis.as_ref(), committed, recipient, unread_only, paging).await {
                Ok(page) => return Ok(page),
                Err(Without::Cursor(error)) => return Err(error),
                Err(Without::Trouble(why)) => self.rest(&why),
            }
        }
        projections::inbox(rows, recipient, unread_only, paging).await
    }

    fn is_resting(&self) -> bool {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, why: &str) {
        let now = Instant::now();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.rests_until = Some(now + REST);
        if trouble.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
            trouble.warned = Some(now);
            tracing::warn!(service = "notifications", "notifications are read from SQLite, not from Redis: {why}");
        }
    }
}

/// The page, once Redis contains everything below `committed`.
async fn caught_up(
    redis: &dyn Inbox,
    committed: u64,
    recipient: &Recipient,
    unread_only: bool,
    paging: &Paging,
) -> Result<InboxPage, Without> {
    let deadline = Instant::now() + PATIENCE;
    let mut stands_at = None;
    while Instant::now() < deadline {
        match timeout_at(deadline, redis.page(recipient, unread_only, paging)).await {
            Ok(Ok(page)) if page.position >= committed => return Ok(page),
            Ok(Ok(page)) => stands_at = Some(page.position),
            Ok(Err(InboxError::Store(error))) => return Err(Without::Cursor(error)),
            Ok(Err(error @ (InboxError::Late { .. } | InboxError::Redis(_) | InboxError::Unexpected { .. }))) => {
                return Err(Without::Trouble(error.to_string()));
            }
            Err(_) => break,
        }
        sleep(AGAIN).await;
    }
    Err(Without::Trouble(match stands_at {
        Some(offset) => format!("it is at offset {offset}, the rows are at {committed}"),
        None => format!("it did not answer within {} ms", PATIENCE.as_millis()),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use orderlog_domain::notifications::Notification;
    use orderlog_readmodel::Page;

    use super::*;

    /// Advances by one offset at each query.
    struct Following(AtomicU64);

    #[async_trait]
    impl Inbox for Following {
        async fn page(&self, _: &Recipient, _: bool, _: &Paging) -> Result<InboxPage, InboxError> {
            let position = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(InboxPage { page: Page { items: Vec::new(), next: None }, unread: 0, position })
        }

        async fn since(&self, _: Option<u64>, _: Option<&Recipient>, _: u32) -> Result<Vec<Notification>, InboxError> {
            Ok(Vec::new())
        }

        async fn position(&self) -> Result<u64, InboxError> {
            Ok(self.0.load(Ordering::Relaxed))
        }
    }

    async fn asked(committed: u64) -> Result<u64, String> {
        let (redis, recipient) = (Following(AtomicU64::new(3)), Recipient::new("operations").unwrap());
        match caught_up(&redis, committed, &recipient, false, &Paging::first(1)).await {
            Ok(page) => Ok(page.position),
            Err(Without::Trouble(why)) => Err(why),
            Err(Without::Cursor(error)) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_page_waits_until_redis_holds_what_the_rows_hold() {
        assert_eq!(asked(3).await, Ok(3));
        assert_eq!(asked(6).await, Ok(6));
    }

    #[tokio::test]
    async fn a_redis_that_lags_too_far_is_not_waited_for_for_ever() {
        let why = asked(1_000_000).await.unwrap_err();
        assert!(why.contains("the rows are at 1000000"), "{why}");
    }

    #[tokio::test]
    async fn a_redis_in_trouble_rests_a_while() {
        let reading = Reading::new(None);
        assert!(!reading.is_resting());
        reading.rest("it is down");
        assert!(reading.is_resting());
    }
}
