//! Operators' view of a service's read model: its status and its rebuilds.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use orderlog_core::{
    decider::Decider,
    machine::{Checkpoint, Verdict},
    reason::Reason,
};
use orderlog_readmodel::{Ahead, Label, SnapshotError, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{
    envelope::Envelopes,
    past::Moment,
    rebuild::{
        self, Goal, Progress, RebuildError, Report,
        republish::{self, RepublishError, Tell},
    },
    replica::{Discarded, RepairError, Replica, Retried, State, ToSettle},
    snapshots,
};

/// The status of a service's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub service: String,
    /// `catching_up`, `preparing`, `ready` or `stopped`.
    pub state: String,
    /// Why it is stopped or impaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The serving generation.
    pub generation: u32,
    /// The previous generation, if it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u32>,
    /// One past the last record in the rows.
    pub position: u64,
    /// One past the last record of the journal.
    pub end: u64,
    /// The positions of the snapshots, ascending.
    pub snapshots: Vec<u64>,
    /// What a program with these or other tables has prepared, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<Ahead>,
    /// The number of records that are not in the rows yet.
    pub lag: u64,
    /// How long the rows have lacked a record, in milliseconds; 0 if they lack none.
    pub lag_ms: u64,
    /// The number of parked records.
    pub n_parked: u64,
    /// What an operator has to settle, by kind. Each service has kinds of its own.
    #[serde(flatten)]
    pub to_settle: ToSettle,
    /// The last rebuild since the start of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    pub goal: Goal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it failed because the journal or the rows are damaged.
    #[serde(default)]
    pub damage: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildRequest {
    pub goal: Goal,
    /// The point from which records are folded again; `None` for all records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
}

#[async_trait]
pub trait Projection: Send + Sync {
    /// Starts a rebuild in the background. [`Projection::status`] reports its progress.
    ///
    /// # Errors
    /// [`RebuildError::UnderWay`] if one is running, [`RebuildError::From`] if the journal has no such starting point.
    async fn begin(&self, request: RebuildRequest) -> Result<(), RebuildError>;

    /// Makes a snapshot of the rows.
    async fn snapshot(&self) -> Result<Label, SnapshotError>;

    /// Returns the status of the rows.
    async fn status(&self) -> Result<Status, String>;

    /// Returns the verdicts of the records in `from..to` that the rows contain, ascending.
    async fn verdicts(&self, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError>;

    async fn parked(&self) -> Result<Vec<ParkedRecord>, StoreError>;

    /// Returns how many objects of each kind have waited this long for an outcome.
    async fn pending(&self, ages: &[Duration]) -> Result<Vec<(&'static str, Vec<u64>)>, StoreError>;

    /// Discards a parked record.
    ///
    /// # Errors
    /// [`RepairError`] if the discard is not in effect, or may not be.
    async fn discard(&self, offset: u64, reason: Reason) -> Result<Discarded, RepairError>;

    /// Folds parked records again, as far as this version can read them.
    async fn retry(&self) -> Result<Retried, RepairError>;

    /// Publishes the events that a public topic of the service lacks. See [`republish`].
    async fn republish(
        &self,
        topic: &'static str,
        is_dry_run: bool,
        tell: &mut Tell<'_>,
    ) -> Result<u64, RepublishError>;
}

/// A record that could not be folded, or that is queued behind one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRecord {
    pub offset: u64,
    /// The keys that it names. Commands on them are rejected.
    pub keys: Vec<String>,
    pub reason: String,
}

/// The rows of a running instance.
pub struct LiveProjection<D: Decider> {
    replica: Replica<D>,
    last: Arc<Mutex<Option<Last>>>,
    /// They were built just now, so a request to replace them is already fulfilled.
    is_built: AtomicBool,
}

struct Last {
    goal: Goal,
    progress: watch::Receiver<Option<Progress>>,
    outcome: Option<Result<Report, RebuildError>>,
}

impl<D: Decider> LiveProjection<D> {
    pub fn of(replica: Replica<D>) -> Self {
        Self { replica, last: Arc::default(), is_built: AtomicBool::new(false) }
    }

    /// Wraps the rows of `replica`, which started without rows and took this long to build all of them.
    pub fn built(replica: Replica<D>, took: Duration) -> Self {
        let position = *replica.committed().borrow();
        let report = Report {
            generation: replica.store().generation(),
            compared_at: position,
            differences: Vec::new(),
            damage: None,
            serves_from: Some(position),
            base: 0,
            snapshots: Vec::new(),
            published: None,
            envelopes: Envelopes::default(),
            snapshots_deleted: false,
            n_records: position,
            replay_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let (_, progress) = watch::channel(None);
        let last = Last { goal: Goal::Replace, progress, outcome: Some(Ok(report)) };
        Self { replica, last: Arc::new(Mutex::new(Some(last))), is_built: AtomicBool::new(true) }
    }

    fn rebuild(&self) -> Option<Rebuild> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Last { goal, progress, outcome } = last.as_ref()?;
        let (report, error) = match outcome {
            None => (None, None),
            Some(Ok(report)) => (Some(report.clone()), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let damage = error.is_some_and(RebuildError::is_damage);
        let error = error.map(ToString::to_string);
        Some(Rebuild { goal: *goal, progress: *progress.borrow(), report, error, damage })
    }
}

#[async_trait]
impl<D: Decider> Projection for LiveProjection<D> {
    async fn begin(&self, RebuildRequest { goal, from }: RebuildRequest) -> Result<(), RebuildError> {
        if goal == Goal::Replace && self.is_built.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let anew = match from {
            Some(from) => self.replica.first_from(from).await?,
            None => 0,
        };
        let rebuilding = self.replica.begin_rebuilding().ok_or(RebuildError::UnderWay(D::JOURNAL))?;
        if goal == Goal::Rollback && self.replica.store().generations().before()?.is_none() {
            return Err(RebuildError::NothingBefore(D::JOURNAL));
        }
        let (progress, seen) = watch::channel(None);
        let begun = Last { goal, progress: seen, outcome: None };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        let last = Arc::clone(&self.last);
        tokio::spawn(async move {
            let outcome = rebuild::run(rebuilding, goal, anew, &progress).await;
            match &outcome {
                Ok(report) => info!(
                    service = D::JOURNAL,
                    "generation {} of {}: {} records, {} rows differ",
                    report.generation,
                    D::JOURNAL,
                    report.n_records,
                    report.differences.len()
                ),
                Err(failure) => error!(service = D::JOURNAL, "the rebuild of {} failed: {failure}", D::JOURNAL),
            }
            if let Some(last) = last.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                last.outcome = Some(outcome);
            }
        });
        Ok(())
    }

    async fn snapshot(&self) -> Result<Label, SnapshotError> {
        self.replica.read_your_writes().await;
        snapshots::make(self.replica.store()).await
    }

    async fn verdicts(&self, from: u64, to: u64) -> Result<Vec<(u64, Verdict)>, StoreError> {
        self.replica.store().verdicts(from, to).await
    }

    async fn parked(&self) -> Result<Vec<ParkedRecord>, StoreError> {
        let mut records: Vec<ParkedRecord> = Vec::new();
        for row in self.replica.store().parked(0, u32::MAX).await? {
            let key = String::from(row.key);
            match records.last_mut() {
                Some(last) if last.offset == row.offset => last.keys.push(key),
                Some(_) | None => {
                    records.push(ParkedRecord { offset: row.offset, keys: vec![key], reason: row.reason })
                }
            }
        }
        Ok(records)
    }

    async fn pending(&self, ages: &[Duration]) -> Result<Vec<(&'static str, Vec<u64>)>, StoreError> {
        let now = self.replica.now_ms();
        let since: Vec<_> =
            ages.iter().map(|age| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))).collect();
        self.replica.store().pending(&since).await
    }

    async fn discard(&self, offset: u64, reason: Reason) -> Result<Discarded, RepairError> {
        self.replica.discard(offset, reason).await
    }

    async fn retry(&self) -> Result<Retried, RepairError> {
        self.replica.retry().await
    }

    async fn republish(
        &self,
        topic: &'static str,
        is_dry_run: bool,
        tell: &mut Tell<'_>,
    ) -> Result<u64, RepublishError> {
        republish::republish(&self.replica, topic, is_dry_run, tell).await
    }

    async fn status(&self) -> Result<Status, String> {
        let store = self.replica.store();
        let (checkpoint, damage) = match store.checkpoint().await {
            Ok(checkpoint) => (checkpoint, None),
            // A rebuild follows.
            Err(error) if error.is_damage() => {
                let next = *self.replica.committed().borrow();
                (Checkpoint { next, ..Checkpoint::default() }, Some(error.to_string()))
            }
            Err(error) => return Err(error.to_string()),
        };
        let ends = self.replica.log().ends(&[Replica::<D>::journal()]).await.map_err(|error| error.to_string())?;
        let end = ends.first().copied().unwrap_or(0);
        let lag = end.saturating_sub(checkpoint.next);
        let age_ms = checkpoint.last.map_or(0, |(last, _)| self.replica.now_ms() - last.time_ms).max(0).unsigned_abs();
        let (state, why) = match self.replica.state().borrow().clone() {
            State::CatchingUp => ("catching_up", None),
            State::Preparing => ("preparing", None),
            State::Ready => ("ready", self.replica.trouble()),
            State::Stopped(why) => ("stopped", Some(why)),
        };
        Ok(Status {
            service: D::JOURNAL.to_owned(),
            state: state.to_owned(),
            why: why.or(damage),
            generation: store.generation(),
            before: store.generations().before().map_err(|error| error.to_string())?,
            position: checkpoint.next,
            end,
            snapshots: store.generations().snapshots().positions().map_err(|error| error.to_string())?,
            prepared: store.generations().prepared().await,
            lag,
            lag_ms: if lag == 0 { 0 } else { age_ms },
            n_parked: match store.n_parked().await {
                Err(error) if error.is_damage() => 0,
                n_parked => n_parked.map_err(|error| error.to_string())?,
            },
            to_settle: self.replica.to_settle(),
            rebuild: self.rebuild(),
        })
    }
}
