//! How operators repair parked records, and how a discard affects the loop.
//!
//! A discard is appended like any record and counts if the log accepts it. A retry only folds parked records again, as every
//! start does. If a discard names a record that this instance has folded (its version could read it, another's could not), the
//! rows are rebuilt without it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use orderlog_core::{
    decider::Decider,
    header::HEADER,
    key::RecordId,
    machine::{Appended, CannotDiscard, SetAside},
    reason::Reason,
};
use orderlog_eventlog::{EventLog, Partition, ReadError, Record};
use orderlog_readmodel::{Rows, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{LoopError, Replica, State, SwitchError, intake::if_any, run::Loop, writer::Done};

/// How long a discard may take until it is in the rows.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause before parked records are fetched again after a failure.
const FETCH_AGAIN: Duration = Duration::from_secs(1);

/// Offsets of the journal, each with its record if there is one.
type FetchedRecords = Vec<(u64, Option<Record>)>;
/// A running fetch of records that the core needs.
type Fetching = BoxFuture<'static, Result<FetchedRecords, ReadError>>;

/// A discard in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// The discarded record.
    pub offset: u64,
    pub by: u64,
    /// Whether it was already in effect.
    pub already: bool,
}

/// The result of folding parked records again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// The number of records that were parked.
    pub before: usize,
    /// The number of records that still are.
    pub after: usize,
}

/// Why a repair failed.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// There is nothing to discard.
    #[error(transparent)]
    Cannot(#[from] CannotDiscard),
    /// The discard is void: an instance that can read the record, or another discard, wrote first.
    #[error(
        "{journal}@{offset} is not discarded: another record with its keys was written at the same time. Check it again"
    )]
    Overtaken { journal: &'static str, offset: u64 },
    #[error("the log rejected the discard; nothing was changed")]
    Refused,
    /// The discard may be in effect, now or later. Retrying it is harmless.
    #[error("the log did not answer in time: check whether the record is still parked")]
    Unknown,
    /// The service cannot do this at the moment.
    #[error("the service can't do this now: {0}")]
    Unavailable(String),
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// Receives the offset of an appended discard.
type Discarding = oneshot::Sender<Result<u64, RepairError>>;

/// A request to the loop.
pub(super) enum Repair {
    Discard {
        offset: u64,
        reason: Reason,
        reply: Discarding,
    },
    /// Folds parked records again.
    Retry(oneshot::Sender<Retried>),
}

#[derive(Default)]
pub(super) struct Repairs {
    discards: HashMap<RecordId, Discarding>,
    /// Each with the change set that contains its changes, and the number of records that were parked before.
    retries: Vec<(u64, usize, oneshot::Sender<Retried>)>,
    /// Folding waits for this fetch.
    fetching: Option<Fetching>,
}

impl Repairs {
    pub fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }

    /// Waits for the running fetch. Pending forever if there is none.
    pub async fn fetched(&mut self) -> Result<FetchedRecords, ReadError> {
        let found = if_any(&mut self.fetching).await;
        self.fetching = None;
        found
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Discards a parked record permanently, in every replay, and folds the records queued behind it.
    pub async fn discard(&self, offset: u64, reason: Reason) -> Result<Discarded, RepairError> {
        let (reply, outcome) = oneshot::channel();
        let appended = self.repair(Repair::Discard { offset, reason, reply }, outcome).await;
        let own = match appended.and_then(|outcome| outcome) {
            Ok(by) => {
                if tokio::time::timeout(PATIENCE, self.has_committed(by + 1)).await.is_err() {
                    return Err(RepairError::Unknown);
                }
                Some(by)
            }
            Err(RepairError::Cannot(CannotDiscard::Already { .. })) => None,
            Err(failure) => return Err(failure),
        };
        // The rows decide: this discard is void if another one came first.
        let discarded = self.store().discarded().await?.into_iter().find(|row| row.offset == offset);
        let by = discarded.map(|row| row.by).ok_or(RepairError::Overtaken { journal: D::JOURNAL, offset })?;
        Ok(Discarded { offset, by, already: own != Some(by) })
    }

    /// Folds parked records again, as far as this version can read them, without a rebuild. Returns once the result is in the rows.
    pub async fn retry(&self) -> Result<Retried, RepairError> {
        let (reply, outcome) = oneshot::channel();
        self.repair(Repair::Retry(reply), outcome).await
    }

    async fn repair<T>(&self, repair: Repair, outcome: oneshot::Receiver<T>) -> Result<T, RepairError> {
        let stopping = || RepairError::Unavailable("it is stopping".to_owned());
        match &*self.state().borrow() {
            State::Ready => {}
            State::CatchingUp | State::Preparing => {
                return Err(RepairError::Unavailable("it is still starting".to_owned()));
            }
            State::Stopped(why) => return Err(RepairError::Unavailable(why.clone())),
        }
        self.repairs.send(repair).await.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())
    }
}

impl<D: Decider, R: Rows<D>> Loop<D, R> {
    pub(super) async fn repair(&mut self, repair: Repair) -> Result<(), LoopError> {
        match repair {
            Repair::Discard { offset, reason, reply } => {
                let record = match self.core.named_by_discard(offset) {
                    Ok(wanted) => {
                        let loaded = self.rows.store.load(&wanted).await?;
                        self.core.provide(loaded);
                        self.core.discard_record(offset, reason, self.setup.environment.now_ms())
                    }
                    Err(failure) => Err(failure),
                };
                match record {
                    Ok(record) => {
                        self.repairs.discards.insert(record.id, reply);
                        self.append(vec![record]);
                    }
                    // The caller may have gone away.
                    Err(failure) => drop(reply.send(Err(failure.into()))),
                }
            }
            Repair::Retry(reply) => {
                self.repairs.retries.push((self.core.change_set(), self.core.n_parked(), reply));
                self.core.retry();
            }
        }
        Ok(())
    }

    /// Handles the outcome of an append, which may be that of a discard.
    pub(super) fn heard_of_discard(&mut self, id: RecordId, result: Appended) {
        if let Some(reply) = self.repairs.discards.remove(&id) {
            drop(reply.send(match result {
                Appended::At(offset) => Ok(offset),
                Appended::Refused | Appended::TooLarge => Err(RepairError::Refused),
                Appended::Unknown => Err(RepairError::Unknown),
            }));
        }
    }

    /// Answers the retries whose changes are in change sets up to `written`, which the rows now contain.
    pub(super) fn tell_retried(&mut self, written: u64) {
        let after = self.core.n_parked();
        for (_, before, reply) in self.repairs.retries.extract_if(.., |(change_set, _, _)| *change_set <= written) {
            reply.send(Retried { before, after }).ok();
        }
    }

    /// Starts to fetch the records that the core needs. Nothing is folded until they arrive, but the loop keeps running, so that
    /// commands still expire at their deadlines. The core requests again what it still lacks after that.
    pub(super) fn fetch(&mut self, offsets: Vec<u64>) {
        if !offsets.is_empty() && !self.repairs.is_fetching() {
            let log = Arc::clone(&self.setup.log);
            self.repairs.fetching = Some(async move { fetch::<D>(log.as_ref(), &offsets).await }.boxed());
        }
    }

    /// Passes the fetched records to the core.
    pub(super) fn fetched(&mut self, found: Result<FetchedRecords, ReadError>) -> Result<(), LoopError> {
        self.core.provide_records(found?.into_iter().map(|(offset, record)| {
            let record = record.and_then(|record| Some((record.header(HEADER)?.clone(), record.value)));
            (offset, record)
        }));
        Ok(())
    }

    /// Handles the discard of a record that this instance has folded: deletes all rows and folds the journal again without it.
    /// Meanwhile queries and commands get 503, and commands in progress get no answer.
    pub(super) async fn start_over(&mut self, offset: u64, by: u64) -> Result<(), LoopError> {
        warn!(
            service = D::JOURNAL,
            "{0}@{by} discards {0}@{offset}, which this program has folded: the rows of {0} are built anew without it",
            D::JOURNAL
        );
        self.refuse_to_switch(SwitchError::StartedOver(D::JOURNAL));
        while !self.rows.writer.is_idle() {
            let done = self.rows.writer.done().await?;
            self.done(done);
        }
        self.shared.state.send_replace(State::CatchingUp);
        self.rows.writer.clear();
        while !matches!(self.rows.writer.done().await?, Done::Cleared) {}
        let discarded = self.core.discarded().chain([offset]).collect();
        let end = self.setup.log.ends(&[Partition::journal(D::JOURNAL)]).await?.first().copied().unwrap_or(0);
        self.forget(end);
        self.shared.committed.send_replace(0);
        self.shared.copied.send_replace(Vec::new());
        self.core = (self.new_core)(self.rows.store.checkpoint().await?);
        self.core.recall(SetAside { parked: Vec::new(), discarded });
        info!(service = D::JOURNAL, "{} begins again at offset 0", D::JOURNAL);
        Ok(())
    }
}

async fn fetch<D: Decider>(log: &dyn EventLog, offsets: &[u64]) -> Result<FetchedRecords, ReadError> {
    match fetch_patiently::<D>(log, offsets).await {
        Ok(records) => Ok(records.into_iter().map(|record| (record.offset, Some(record))).collect()),
        // The log does not report which offsets are missing, so fetch them one by one.
        Err(ReadError::OutOfRange { .. }) => {
            let mut found = Vec::with_capacity(offsets.len());
            for &offset in offsets {
                match fetch_patiently::<D>(log, &[offset]).await {
                    Ok(records) => found.push((offset, records.into_iter().next())),
                    Err(ReadError::OutOfRange { .. }) => found.push((offset, None)),
                    Err(failure) => return Err(failure),
                }
            }
            Ok(found)
        }
        Err(failure) => Err(failure),
    }
}

/// Retries while the log is unavailable. Nothing can be read from the journal then either, and callers have deadlines.
async fn fetch_patiently<D: Decider>(log: &dyn EventLog, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
    let journal = Partition::journal(D::JOURNAL);
    loop {
        match log.fetch(&journal, offsets).await {
            Err(ReadError::Unavailable { reason }) => {
                warn!(service = D::JOURNAL, "records of {} that are parked can't be read yet: {reason}", D::JOURNAL);
                tokio::time::sleep(FETCH_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}
