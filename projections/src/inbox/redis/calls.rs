//! The calls to Redis, each with a time limit and the decoding of its answer.

use std::{sync::LazyLock, time::Instant};

use ::redis::RedisResult;
use orderlog_core::decoding;
use orderlog_domain::{notifications::Notification, values::Recipient};
use prometheus::{HistogramOpts, HistogramVec};
use tokio::time::timeout;

use super::{Applied, Entries, InboxError, PATIENCE, RedisInbox, Run, Which};

/// Keys scanned per call.
const SWEPT: usize = 500;

fn unexpected(detail: impl Into<String>) -> InboxError {
    InboxError::Unexpected { detail: detail.into() }
}

fn offset(text: &str) -> Result<u64, InboxError> {
    text.parse().map_err(|_| unexpected(format!("`{text}` is no offset")))
}

/// The calls of this process to Redis.
static REQUESTS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Requests to Redis, by outcome: answered, failed, or late if there was no answer in time";
    let opts = HistogramOpts::new("orderlog_redis_request_duration_seconds", help);
    let buckets = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
    let requests = HistogramVec::new(opts.buckets(buckets), &["outcome"]).expect("the name is well formed");
    // A series that appears only with its first event has no rate for it.
    ["answered", "failed", "late"].iter().for_each(|outcome| drop(requests.with_label_values(&[outcome])));
    requests
});

/// Awaits one call, up to the time limit.
async fn answer<T>(call: impl Future<Output = RedisResult<T>>) -> Result<T, InboxError> {
    let begun = Instant::now();
    let (outcome, answer) = match timeout(PATIENCE, call).await {
        Ok(Ok(answered)) => ("answered", Ok(answered)),
        Ok(Err(error)) => ("failed", Err(InboxError::Redis(error))),
        Err(_) => ("late", Err(InboxError::Late { waited_ms: PATIENCE.as_millis() })),
    };
    REQUESTS.with_label_values(&[outcome]).observe(begun.elapsed().as_secs_f64());
    answer
}

impl RedisInbox {
    /// Returns the metrics of the calls to Redis.
    pub fn requests() -> HistogramVec {
        REQUESTS.clone()
    }

    fn state_key(&self) -> String {
        format!("{}:state", self.tag)
    }

    /// A key of a run's data.
    fn key(&self, run: &Run, what: &str) -> String {
        format!("{}:{}:{what}", self.tag, run.name)
    }

    fn of_recipient(&self, run: &Run, recipient: &Recipient) -> String {
        self.key(run, &format!("of:{recipient}"))
    }

    fn unread_of_recipient(&self, run: &Run, recipient: &Recipient) -> String {
        self.key(run, &format!("unread:{recipient}"))
    }

    pub(super) async fn call_begin(&self, minted: &str) -> Result<Run, InboxError> {
        let mut connection = self.connection.clone();
        let mut call = self.begin.key(self.state_key());
        let call = call.arg(&self.log_id).arg(minted);
        let (name, next): (String, String) = answer(call.invoke_async(&mut connection)).await?;
        Ok(Run { name, next: offset(&next)? })
    }

    pub(super) async fn call_apply(
        &self,
        run: &Run,
        expected: u64,
        new: u64,
        notifications: &[Notification],
    ) -> Result<Applied, InboxError> {
        let mut connection = self.connection.clone();
        let mut call = self.apply.prepare_invoke();
        call.key(self.state_key()).key(self.key(run, "docs")).key(self.key(run, "all"));
        call.arg(&self.log_id).arg(&run.name).arg(expected).arg(new);
        for notification in notifications {
            let doc = serde_json::to_string(notification).map_err(|error| unexpected(error.to_string()))?;
            call.key(self.of_recipient(run, &notification.recipient));
            call.key(self.unread_of_recipient(run, &notification.recipient));
            call.arg(notification.notification_id.0.simple().to_string()).arg(notification.sequence);
            call.arg(u8::from(!notification.read)).arg(doc);
        }
        let (outcome, stored): (String, String) = answer(call.invoke_async(&mut connection)).await?;
        let stored = offset(&stored)?;
        let (applied, known) = match outcome.as_str() {
            "applied" => (Applied::Now, Some(Run { next: stored, ..run.clone() })),
            "already" => (Applied::AlreadyThere, Some(Run { next: stored, ..run.clone() })),
            "behind" => (Applied::Behind { stored }, Some(Run { next: stored, ..run.clone() })),
            "missing" => (Applied::Behind { stored: 0 }, None),
            other => return Err(unexpected(format!("the answer `{other}`"))),
        };
        self.remember(known);
        Ok(applied)
    }

    /// Reads from a run. `None` if it is not the current run.
    pub(super) async fn call_read(
        &self,
        run: &Run,
        which: &Which<'_>,
        bound: &str,
        limit: u32,
    ) -> Result<Option<Entries>, InboxError> {
        let mut connection = self.connection.clone();
        let (set, counted, direction) = match which {
            Which::All => (self.key(run, "all"), self.key(run, "all"), "up"),
            Which::Of(recipient) => (self.of_recipient(run, recipient), self.of_recipient(run, recipient), "up"),
            Which::Page { recipient, unread_only: true } => {
                let unread = self.unread_of_recipient(run, recipient);
                (unread.clone(), unread, "down")
            }
            Which::Page { recipient, unread_only: false } => {
                (self.of_recipient(run, recipient), self.unread_of_recipient(run, recipient), "down")
            }
        };
        let mut call = self.read.prepare_invoke();
        call.key(self.state_key()).key(self.key(run, "docs")).key(set).key(counted);
        call.arg(&self.log_id).arg(&run.name).arg(direction).arg(bound).arg(limit);
        let parts: Vec<String> = answer(call.invoke_async(&mut connection)).await?;
        match parts.as_slice() {
            [missing] if missing == "missing" => Ok(None),
            [found, position, counted, docs @ ..] if found == "found" => Ok(Some(Entries {
                position: offset(position)?,
                counted: offset(counted)?,
                notifications: docs
                    .iter()
                    .map(|doc| decoding::from_slice(doc.as_bytes()).map_err(|error| unexpected(error.to_string())))
                    .collect::<Result<_, _>>()?,
            })),
            [torn, ..] if torn == "torn" => {
                // Data was evicted or deleted by hand. Start anew, since the rows contain everything.
                self.call_drop().await?;
                Ok(None)
            }
            _ => Err(unexpected("an answer of another form")),
        }
    }

    /// Deletes the state of the inbox, which invalidates all its data.
    pub(super) async fn call_drop(&self) -> Result<(), InboxError> {
        let mut connection = self.connection.clone();
        answer(::redis::cmd("del").arg(self.state_key()).exec_async(&mut connection)).await
    }

    /// Deletes the keys of all runs but the current one. Run names are never reused, so a key deleted here is never needed.
    pub(super) async fn sweep(&self) -> Result<(), InboxError> {
        let mut connection = self.connection.clone();
        let state = self.state_key();
        // Escape characters that are special in a pattern, in case the prefix contains any.
        let special = |c: char| "*?[]\\".contains(c);
        let escaped: String =
            self.tag.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect();
        let mut cursor = 0_u64;
        loop {
            let mut scan = ::redis::cmd("scan");
            scan.arg(cursor).arg("match").arg(format!("{escaped}:*")).arg("count").arg(SWEPT);
            let (next, keys): (u64, Vec<String>) = answer(scan.query_async(&mut connection)).await?;
            let data: Vec<&String> = keys.iter().filter(|key| **key != state).collect();
            if !data.is_empty() {
                let mut call = self.sweep.prepare_invoke();
                call.key(&state).key(data).arg(&self.tag);
                answer::<()>(call.invoke_async(&mut connection)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
