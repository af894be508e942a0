//! Publishes again the events that a public topic has lost.
//!
//! For each key, everything from its first missing event on is appended, so that the last copies of its events are in the journal's order.
//! Copies have the same id, key and value as the originals. The journal's lease is held meanwhile, so that no relay publishes at the same
//! time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use orderlog_core::decider::Decider;
use orderlog_eventlog::{AppendError, EventLog, Lease, LeaseError, NewRecord, Position, ReadError};
use orderlog_readmodel::{PublicationsError, ToPublish};
use serde::Serialize;
use uuid::Uuid;

use super::{
    RebuildError,
    published::{Checking, Collected, published_by},
};
use crate::{assembly::group_of, marks, replica::Replica};

/// How long to wait for the lease. That of a killed process is free after its session timeout, 6 s.
const HELD_WITHIN: Duration = Duration::from_secs(10);
/// The number of events appended at a time.
const N_AT_A_TIME: u32 = 500;

#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// Another process holds the lease.
    #[error("a server of {0} is running: stop all of them first")]
    Running(&'static str),
    #[error("not all events are published: {0}; repeat the command to publish the rest")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Check(#[from] RebuildError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl From<ReadError> for RepublishError {
    fn from(error: ReadError) -> Self {
        Self::Check(error.into())
    }
}

impl From<PublicationsError> for RepublishError {
    fn from(error: PublicationsError) -> Self {
        Self::Check(error.into())
    }
}

/// An event that was published again, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Republished {
    pub id: Uuid,
    pub key: String,
    /// The offset of its record in the journal.
    pub record: u64,
    /// Whether the topic lacked it. Otherwise it follows a missing event of the same key.
    pub was_missing: bool,
}

/// Called with the events that are in the topic.
pub type Tell<'a> = dyn for<'b> FnMut(&'b [Republished]) + Send + 'a;

/// Publishes the events that `topic` lacks, and calls `tell` with those that are in the topic. With `is_dry_run` nothing is written. Returns
/// the number of events that the topic should contain.
///
/// # Errors
/// [`RepublishError`]. What was published before the error stays.
pub async fn republish<D: Decider>(
    replica: &Replica<D>,
    topic: &'static str,
    is_dry_run: bool,
    tell: &mut Tell<'_>,
) -> Result<u64, RepublishError> {
    let lease = if is_dry_run { None } else { Some(acquire::<D>(replica.log().as_ref()).await?) };
    let journal = Replica::<D>::journal();
    let positions = replica.log().positions(&group_of(D::JOURNAL), std::slice::from_ref(&journal)).await?;
    let position = positions.into_iter().next().flatten();
    let rows = replica.store();
    let mut checking = Checking::new(replica.log().as_ref(), rows.as_ref(), vec![topic])?;
    let up_to = position.as_ref().map_or(u64::MAX, |position| position.next);
    let Some(Collected { log_id, n_events, .. }) = checking.collect(up_to).await? else { return Ok(0) };
    let mut last = None;
    loop {
        let events = checking.events.unpublished(last, N_AT_A_TIME)?;
        let Some(newest) = events.last() else { break };
        last = Some(newest.seq);
        publish::<D>(replica, log_id, events, is_dry_run, tell).await?;
    }
    if let Some((lease, position)) = lease.zip(position) {
        forget_lost_marks::<D>(replica.log().as_ref(), lease.as_ref(), topic, position).await?;
    }
    Ok(n_events)
}

async fn acquire<D: Decider>(log: &dyn EventLog) -> Result<Arc<dyn Lease>, RepublishError> {
    let lease = log.lead(&group_of(D::JOURNAL), D::JOURNAL).await?;
    let mut held = lease.held();
    match tokio::time::timeout(HELD_WITHIN, held.wait_for(|held| *held)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return Err(RepublishError::Running(D::JOURNAL)),
    }
    drop(held);
    Ok(lease)
}

async fn publish<D: Decider>(
    replica: &Replica<D>,
    log_id: Uuid,
    events: Vec<ToPublish>,
    is_dry_run: bool,
    tell: &mut Tell<'_>,
) -> Result<(), RepublishError> {
    let mut offsets: Vec<u64> = events.iter().map(|event| event.record).collect();
    offsets.dedup();
    let records = replica.log().fetch(&Replica::<D>::journal(), &offsets).await?;
    let mut published = BTreeMap::new();
    for record in &records {
        published.insert(record.offset, published_by::<D>(log_id, record)?);
    }
    let mut copies: Vec<NewRecord> = Vec::with_capacity(events.len());
    for event in &events {
        let line = usize::try_from(event.line).unwrap_or(usize::MAX);
        let copy = published.get(&event.record).and_then(|events| events.get(line));
        copies.push(copy.map(|(_, copy)| copy.clone()).expect("the record was translated to these events before"));
    }
    let key =
        |copy: &NewRecord| copy.key.as_deref().map_or_else(String::new, |key| String::from_utf8_lossy(key).into());
    let keys: Vec<String> = copies.iter().map(key).collect();
    if !is_dry_run {
        for outcome in replica.log().append(copies).await {
            outcome?;
        }
    }
    let done = events.into_iter().zip(keys).map(|(ToPublish { id, record, is_missing, .. }, key)| Republished {
        id,
        key,
        record,
        was_missing: is_missing,
    });
    tell(&done.collect::<Vec<_>>());
    Ok(())
}

/// Removes the marks of events that the topic has lost from the relay's position. It would take itself to be on another log and publish
/// everything again.
async fn forget_lost_marks<D: Decider>(
    log: &dyn EventLog,
    lease: &dyn Lease,
    topic: &str,
    position: Position,
) -> Result<(), RepublishError> {
    let Position { next, marks } = position;
    let mut kept = Vec::with_capacity(marks.len());
    for mark in marks {
        if *mark.partition.topic != *topic || marks::stands(log, &mark).await? {
            kept.push(mark);
        }
    }
    Ok(lease.commit(&[(Replica::<D>::journal(), Position { next, marks: kept })]).await?)
}
