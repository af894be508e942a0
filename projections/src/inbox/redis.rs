//! The inbox in Redis: a second sink that follows the SQLite checkpoint of the notifications service.
//!
//! Redis may lose the last second, or everything. So its data is stored together with its offset, and each script compares
//! the offset before it changes anything: a batch that is wrong, repeated or late has no effect. Each new inbox has keys of
//! its own (a `run`), so that clearing an earlier one can't affect a later one.
//!
//! Redis must not evict (`maxmemory-policy noeviction`, the default): missing data is only detected when it is read.

mod address;
mod calls;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{
    Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use async_trait::async_trait;
use orderlog_domain::{
    notifications::{Notification, Notifications},
    values::Recipient,
};
use orderlog_readmodel::{Cursor, Page, Paging, RedisAddress, Store};
use uuid::Uuid;

use super::{Inbox, InboxError};
use crate::notifications::{self, InboxPage};

/// The time limit of a call.
const PATIENCE: Duration = Duration::from_secs(2);
/// Notifications per script. Redis blocks while a script runs.
const CHUNK: u32 = 500;
/// Increased when the stored data changes its meaning. An inbox of another layout is replaced and filled from the rows.
/// Layout 2 stores recipients that are UUIDs in lower case.
const LAYOUT: u32 = 2;
/// How often a read is retried if the inbox is replaced meanwhile.
const LOOKS: u32 = 3;

/// The result of applying notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Applied. The offset is now the new one.
    Now,
    /// They were applied before, by another instance or by an earlier attempt whose answer was lost.
    AlreadyThere,
    /// Nothing was changed, because Redis is at another offset. The caller resumes from there. A Redis that lost
    /// everything, or contains another history, is at 0.
    Behind { stored: u64 },
}

/// The current run and its offset, as last read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    name: String,
    next: u64,
}

pub struct RedisInbox {
    connection: ConnectionManager,
    /// `{orderlog:<prefix>}`: the braces keep all keys in one slot of a cluster.
    tag: String,
    /// The journal's id and the layout. Identifies an inbox of another log or another version.
    log_id: String,
    run: Mutex<Option<Run>>,
    /// The revision of the rows last followed. An inbox that exists when the process starts followed rows that were never
    /// revised, or may have missed a revision.
    revision: AtomicU64,
    begin: Script,
    apply: Script,
    read: Script,
    sweep: Script,
}

impl RedisInbox {
    /// Creates the inbox of the journal `log_id`. Deployments that share one Redis need different prefixes. Connects on
    /// first use, so that a process can start while Redis is down.
    pub fn new(at: &RedisAddress, prefix: &str, log_id: Uuid) -> Result<Self, InboxError> {
        let client = address::client(at).map_err(InboxError::Redis)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(500));
        Ok(Self {
            connection: ConnectionManager::new_lazy_with_config(client, config).map_err(InboxError::Redis)?,
            tag: format!("{{orderlog:{prefix}}}"),
            log_id: format!("{}.{LAYOUT}", log_id.simple()),
            run: Mutex::new(None),
            revision: AtomicU64::new(0),
            begin: Script::new(include_str!("begin.lua")),
            apply: Script::new(include_str!("apply.lua")),
            read: Script::new(include_str!("read.lua")),
            sweep: Script::new(include_str!("sweep.lua")),
        })
    }

    /// Applies every notification last changed by a record from `expected` up to, but excluding, `new`, and advances to
    /// `new`. Atomic. If the answer is lost, the offset is read again to find out whether it was applied.
    ///
    /// # Errors
    /// [`InboxError`] if Redis can't be reached. Call [`RedisInbox::follow`] later, which starts by reading the offset.
    pub async fn apply(&self, expected: u64, new: u64, notifications: &[Notification]) -> Result<Applied, InboxError> {
        let run = self.stand().await?;
        match self.call_apply(&run, expected, new, notifications).await {
            Ok(applied) => Ok(applied),
            Err(InboxError::Unexpected { detail }) => Err(InboxError::Unexpected { detail }),
            Err(InboxError::Late { .. } | InboxError::Redis(_) | InboxError::Store(_)) => {
                // It may have been applied. A late script is harmless: it compares the offset.
                self.forget();
                let run = self.stand().await?;
                if run.next == new {
                    Ok(Applied::Now)
                } else {
                    self.call_apply(&run, expected, new, notifications).await
                }
            }
        }
    }

    /// Brings Redis to the offset of the rows of `store`, from any offset, and returns it. A Redis that lost its data, or
    /// contains another history, is filled anew. Call it after every write, after an error, and periodically while nothing
    /// is written, since Redis does not report losses. The rows' indexes should exist.
    ///
    /// # Errors
    /// [`InboxError`] if Redis or the rows can't be reached. What was applied until then is kept.
    pub async fn follow(&self, store: &Store<Notifications>) -> Result<u64, InboxError> {
        // Rows below the offset that was followed have changed: records that were parked are folded now.
        let revision = store.revision().await?;
        if self.revision.load(Ordering::Relaxed) != revision {
            tracing::info!(tag = self.tag, "the rows were revised: the inbox in Redis is refilled");
            self.call_drop().await?;
            self.revision.store(revision, Ordering::Relaxed);
        }
        // Do not use the cached offset: Redis may have been restarted.
        self.forget();
        loop {
            let Run { next: stored, .. } = self.stand().await?;
            let news = notifications::news(store, stored, CHUNK).await?;
            // Includes a Redis that is ahead, because it followed another instance whose rows are newer.
            if news.to <= stored {
                return Ok(stored);
            }
            match self.apply(stored, news.to, &news.notifications).await? {
                Applied::Now | Applied::AlreadyThere => {}
                Applied::Behind { stored: elsewhere } => {
                    tracing::warn!(
                        expected = stored,
                        stored = elsewhere,
                        "Redis stands elsewhere: following from there"
                    );
                }
            }
        }
    }

    /// Deletes the inbox in Redis and fills it from `store`.
    pub async fn rebuild_from_store(&self, store: &Store<Notifications>) -> Result<u64, InboxError> {
        self.call_drop().await?;
        self.forget();
        self.follow(store).await
    }

    /// The current run and its offset, cached or read. Creates an empty inbox if it is missing or foreign.
    async fn stand(&self) -> Result<Run, InboxError> {
        let known = self.known();
        if let Some(run) = known {
            return Ok(run);
        }
        let minted = Uuid::new_v4().simple().to_string();
        let run = self.call_begin(&minted).await?;
        if run.name == minted {
            tracing::info!(tag = self.tag, "began an empty inbox in Redis");
            // Keys of an earlier run only take space.
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "could not clear away what an earlier inbox left in Redis");
            }
        }
        self.remember(Some(run.clone()));
        Ok(run)
    }

    fn known(&self) -> Option<Run> {
        self.run.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn remember(&self, run: Option<Run>) {
        *self.run.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = run;
    }

    fn forget(&self) {
        self.remember(None);
    }

    /// Reads from the current run, and retries if the run was replaced.
    async fn look(&self, which: &Which<'_>, bound: &str, limit: u32) -> Result<Entries, InboxError> {
        for _ in 0..LOOKS {
            let run = self.stand().await?;
            match self.call_read(&run, which, bound, limit).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => self.forget(),
                Err(error) => {
                    self.forget();
                    return Err(error);
                }
            }
        }
        Err(InboxError::Unexpected { detail: "it kept starting over".to_owned() })
    }
}

enum Which<'a> {
    All,
    /// One recipient's, ascending.
    Of(&'a Recipient),
    /// One recipient's, descending.
    Page {
        recipient: &'a Recipient,
        unread_only: bool,
    },
}

/// The result of a read, as of one moment.
struct Entries {
    position: u64,
    counted: u64,
    notifications: Vec<Notification>,
}

#[async_trait]
impl Inbox for RedisInbox {
    async fn page(&self, recipient: &Recipient, unread_only: bool, paging: &Paging) -> Result<InboxPage, InboxError> {
        let bound = match &paging.after {
            Some(cursor) => format!("({}", cursor.numbers::<1>()?[0]),
            None => "+inf".to_owned(),
        };
        let limit = paging.limit();
        let found = self.look(&Which::Page { recipient, unread_only }, &bound, limit + 1).await?;
        let row =
            |notification: Notification| (Cursor::of_numbers(&[notification.sequence.cast_signed()]), notification);
        let page = Page::cut(found.notifications.into_iter().map(row).collect(), limit);
        Ok(InboxPage { page, unread: found.counted, position: found.position })
    }

    async fn since(
        &self,
        after: Option<u64>,
        recipient: Option<&Recipient>,
        limit: u32,
    ) -> Result<Vec<Notification>, InboxError> {
        let which = recipient.map_or(Which::All, Which::Of);
        let bound = after.map_or_else(|| "-inf".to_owned(), |sequence| format!("({sequence}"));
        Ok(self.look(&which, &bound, limit).await?.notifications)
    }

    async fn position(&self) -> Result<u64, InboxError> {
        // Do not use the cached offset: another instance may have followed further, or Redis may have lost everything.
        self.forget();
        Ok(self.stand().await?.next)
    }
}
