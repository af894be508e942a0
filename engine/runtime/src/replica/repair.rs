//! What an operator has done about records that are parked, and what a discard makes the loop do.
//!
//! A discard is appended like any record, and counts if the log accepts it. A retry only folds again what is parked; so does
//! every start. Where a discard hits a record that this instance has folded (its program could read it, another one's could
//! not), the rows are built anew without it.

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

/// How long a discard may take until it stands in the rows.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the log rests before it is asked again for records that it could not give.
const FETCH_AGAIN: Duration = Duration::from_secs(1);

/// Records at offsets of the journal, each if it is there.
type Found = Vec<(u64, Option<Record>)>;
/// Records that the core asks for, on their way.
type Fetching = BoxFuture<'static, Result<Found, ReadError>>;

/// A discard that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// The record that has no effect.
    pub offset: u64,
    pub by: u64,
    /// It was in force before.
    pub already: bool,
}

/// What came of folding again what is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Records that were parked.
    pub before: usize,
    /// Records that still are.
    pub after: usize,
}

/// Why a repair was not made.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// There is nothing to discard.
    #[error(transparent)]
    Cannot(#[from] CannotDiscard),
    /// The discard is void: somebody whose program can read the record, or somebody who discards too, was first.
    #[error("{journal}@{offset} is not discarded: somebody wrote on its keys at the same moment. Look at it again")]
    Overtaken { journal: &'static str, offset: u64 },
    /// The log did not take the discard.
    #[error("the log did not take the discard; nothing was changed")]
    Refused,
    /// The discard may or may not be in force, now or later. Asking again is harmless.
    #[error("there was no word from the log in time: look whether the record is still parked")]
    Unknown,
    /// The service can't do it now.
    #[error("the service can't do this now: {0}")]
    Unavailable(String),
    /// The rows can't be read.
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// Told the offset of a discard that the log has taken.
type Discarding = oneshot::Sender<Result<u64, RepairError>>;

/// What is asked of the loop.
pub(super) enum Repair {
    /// Have this record have no effect.
    Discard { offset: u64, reason: Reason, reply: Discarding },
    /// Fold what is parked.
    Retry(oneshot::Sender<Retried>),
}

#[derive(Default)]
pub(super) struct Repairs {
    discards: HashMap<RecordId, Discarding>,
    /// With the change set that they are written in, and how many records were parked.
    retries: Vec<(u64, usize, oneshot::Sender<Retried>)>,
    /// Folding waits for them.
    fetching: Option<Fetching>,
}

impl Repairs {
    pub fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }

    /// What was fetched; never, if nothing is.
    pub async fn fetched(&mut self) -> Result<Found, ReadError> {
        let found = if_any(&mut self.fetching).await;
        self.fetching = None;
        found
    }
}

impl<D: Decider, R: Rows<D>> Replica<D, R> {
    /// Have a parked record have no effect, for ever and in every replay, and fold what stands behind it.
    ///
    /// # Errors
    /// [`RepairError`] says what became of it.
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
        // The rows have the last word: ours is void if somebody else's came first.
        let discarded = self.store().discarded().await?.into_iter().find(|row| row.offset == offset);
        let by = discarded.map(|row| row.by).ok_or(RepairError::Overtaken { journal: D::JOURNAL, offset })?;
        Ok(Discarded { offset, by, already: own != Some(by) })
    }

    /// Fold what is parked as far as this program can, without a rebuild: once it stands in the rows.
    ///
    /// # Errors
    /// [`RepairError::Unavailable`] if the service is not ready.
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
                        self.core.discard_record(offset, reason, self.surroundings.now_ms())
                    }
                    Err(failure) => Err(failure),
                };
                match record {
                    Ok(record) => {
                        self.repairs.discards.insert(record.id, reply);
                        self.append(vec![record]);
                    }
                    // Whoever asked may have gone away.
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

    /// The log has spoken on a record, which may be a discard.
    pub(super) fn heard_of_discard(&mut self, id: RecordId, result: Appended) {
        if let Some(reply) = self.repairs.discards.remove(&id) {
            drop(reply.send(match result {
                Appended::At(offset) => Ok(offset),
                Appended::Refused | Appended::TooLarge => Err(RepairError::Refused),
                Appended::Unknown => Err(RepairError::Unknown),
            }));
        }
    }

    /// Tell who asked for a retry: what it changed stands in the rows by now, if that was gathered in change sets up to `written`.
    pub(super) fn tell_retried(&mut self, written: u64) {
        let after = self.core.n_parked();
        for (_, before, reply) in self.repairs.retries.extract_if(.., |(change_set, _, _)| *change_set <= written) {
            reply.send(Retried { before, after }).ok();
        }
    }

    /// Have records fetched that the core asks for. Nothing is folded until they are here, but the loop goes round, so that
    /// commands are told when their time is up. The core asks again for what it still lacks then.
    pub(super) fn fetch(&mut self, offsets: Vec<u64>) {
        if !offsets.is_empty() && !self.repairs.is_fetching() {
            let log = Arc::clone(&self.log);
            self.repairs.fetching = Some(async move { fetch::<D>(log.as_ref(), &offsets).await }.boxed());
        }
    }

    /// Hand them to the core.
    pub(super) fn fetched(&mut self, found: Result<Found, ReadError>) -> Result<(), LoopError> {
        self.core.provide_records(found?.into_iter().map(|(offset, record)| {
            let record = record.and_then(|record| Some((record.header(HEADER)?.clone(), record.value)));
            (offset, record)
        }));
        Ok(())
    }

    /// A record that was folded is discarded: delete all rows and fold the journal anew without it. Queries and commands get 503
    /// meanwhile, and commands under way no answer.
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
        let end = self.log.ends(&[Partition::journal(D::JOURNAL)]).await?.first().copied().unwrap_or(0);
        self.forget(end);
        self.shared.committed.send_replace(0);
        self.shared.copied.send_replace(Vec::new());
        self.core = (self.new_core)(self.rows.store.checkpoint().await?);
        self.core.recall(SetAside { parked: Vec::new(), discarded });
        info!(service = D::JOURNAL, "{} begins again at offset 0", D::JOURNAL);
        Ok(())
    }
}

async fn fetch<D: Decider>(log: &dyn EventLog, offsets: &[u64]) -> Result<Found, ReadError> {
    match fetch_patiently::<D>(log, offsets).await {
        Ok(records) => Ok(records.into_iter().map(|record| (record.offset, Some(record))).collect()),
        // Which ones are not there is only told one by one.
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

/// For as long as the log can't be read: so does reading on, and whoever waits for it has a deadline.
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
