//! The inbox in Redis: a second sink that follows the SQLite checkpoint of the notifications service.
//!
//! Redis may forget the last second, or everything. So what it holds counts only together with the offset it stands at,
//! which each script compares before it changes anything: whoever sends the wrong part, twice, or late, changes nothing.
//! Each begun inbox has keys of its own (a `run`), so that clearing away an earlier one can't hit a later one.
//!
//! Redis must not evict (`maxmemory-policy noeviction`, the default): a part that is gone is only noticed where it is read.

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

/// For how long any call may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Notifications per script: Redis does nothing else meanwhile.
const CHUNK: u32 = 500;
/// Counted up when what is kept changes its meaning: an inbox of another layout is begun anew and filled from the rows.
/// 2: recipients that are UUIDs are in lower case.
const LAYOUT: u32 = 2;
/// How often a reader looks again whose inbox was begun anew under its hands.
const LOOKS: u32 = 3;

/// What became of notifications that were to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// They are there, and the offset stands at the new one.
    Now,
    /// They were there before: another instance, or an earlier attempt whose answer was lost, applied them.
    AlreadyThere,
    /// Nothing was changed: the offset stands elsewhere. Whoever follows rewinds to there; a Redis that lost everything, or
    /// holds another history, stands at 0.
    Behind { stored: u64 },
}

/// Where the data of the inbox stands, as last heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    name: String,
    next: u64,
}

/// The inbox in Redis.
pub struct RedisInbox {
    connection: ConnectionManager,
    /// `{orderlog:<prefix>}`: the braces keep all keys in one slot of a cluster.
    tag: String,
    /// The journal's id and the layout, by which an inbox of another log or another program is recognised.
    log_id: String,
    run: Mutex<Option<Run>>,
    /// Of the rows that were followed last. An inbox that is there when the process starts followed rows that were never revised,
    /// or may have missed a revision.
    revision: AtomicU64,
    begin: Script,
    apply: Script,
    read: Script,
    sweep: Script,
}

impl RedisInbox {
    /// The inbox of the journal `log_id` in this Redis. Deployments that share one Redis
    /// need a `prefix` each. Connects when it is first used: a Redis that is down at the start stops nobody.
    ///
    /// # Errors
    /// [`InboxError::Redis`] if the URL is none.
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

    /// Applies every notification that records from `expected` up to and without `new` changed last, and advances to
    /// `new`. All or nothing. If the answer is lost, the offset is read again: it says whether it was done.
    ///
    /// # Errors
    /// If Redis can't be reached: then call [`RedisInbox::follow`] later, which begins by asking where it stands.
    pub async fn apply(&self, expected: u64, new: u64, notifications: &[Notification]) -> Result<Applied, InboxError> {
        let run = self.stand().await?;
        match self.call_apply(&run, expected, new, notifications).await {
            Ok(applied) => Ok(applied),
            Err(InboxError::Unexpected { detail }) => Err(InboxError::Unexpected { detail }),
            Err(InboxError::Late { .. } | InboxError::Redis(_) | InboxError::Store(_)) => {
                // It may have been done. What comes too late is harmless: the script compares.
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

    /// Brings Redis to where the rows of `store` stand, from wherever it stands, and answers with that offset. A Redis that
    /// lost its data, or holds another history, is filled anew. Call it after every write, after an error, and now and then
    /// while nothing is written, since Redis does not say when it has lost something. The rows' indexes should be there.
    ///
    /// # Errors
    /// If Redis or the rows can't be reached. What was applied until then is there.
    pub async fn follow(&self, store: &Store<Notifications>) -> Result<u64, InboxError> {
        // Rows with lower offsets than those that were followed have changed: what was parked is folded by now.
        let revision = store.revision().await?;
        if self.revision.load(Ordering::Relaxed) != revision {
            tracing::info!(tag = self.tag, "the rows were revised: the inbox in Redis is filled anew");
            self.call_drop().await?;
            self.revision.store(revision, Ordering::Relaxed);
        }
        // Never from memory: Redis may have been restarted since.
        self.forget();
        loop {
            let Run { next: stored, .. } = self.stand().await?;
            let news = notifications::news(store, stored, CHUNK).await?;
            // Also if Redis is ahead: it followed another instance, whose rows are further than these.
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

    /// Throws away what Redis holds and fills it anew out of `store`.
    ///
    /// # Errors
    /// If Redis or the rows can't be reached.
    pub async fn rebuild_from_store(&self, store: &Store<Notifications>) -> Result<u64, InboxError> {
        self.call_drop().await?;
        self.forget();
        self.follow(store).await
    }

    /// Where Redis stands: as last heard, or asked anew. A missing or foreign inbox is begun, empty.
    async fn stand(&self) -> Result<Run, InboxError> {
        let known = self.known();
        if let Some(run) = known {
            return Ok(run);
        }
        let minted = Uuid::new_v4().simple().to_string();
        let run = self.call_begin(&minted).await?;
        if run.name == minted {
            tracing::info!(tag = self.tag, "began an empty inbox in Redis");
            // What an earlier run left only takes space.
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

    /// Reads until the run is the one that was asked for.
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
        Err(InboxError::Unexpected { detail: "it was begun anew again and again".to_owned() })
    }
}

enum Which<'a> {
    All,
    /// Of a recipient, ascending.
    Of(&'a Recipient),
    /// A page: of a recipient, descending; only the unread ones, or all.
    Page {
        recipient: &'a Recipient,
        unread_only: bool,
    },
}

/// What was read, as of one moment.
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
        // Never from memory: another instance may have followed further, or Redis may have lost all.
        self.forget();
        Ok(self.stand().await?.next)
    }
}
