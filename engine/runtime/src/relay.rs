//! The relay: publishes the public events of a journal's accepted records.
//!
//! It reads the journal behind the replica, whose rows say which records are void, publishes at least once, and commits only
//! what the log has acknowledged. A duplicate has the same id as the original, so consumers can deduplicate. The relay waits at a
//! parked record until it is folded or discarded, since skipping one would lose an event permanently.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use orderlog_core::{
    decider::Decider,
    machine::Verdict,
    planted::Bug,
    public::{EVENTS_MAX, Envelope, PublicEvent, event_id},
    words,
};
use orderlog_eventlog::{
    AppendError, Batch, EventLog, Landed, Lease, LeaseError, Mark, NewRecord, Partition, ReadError,
};
use orderlog_readmodel::{Rows, StoreError};
use uuid::Uuid;

use crate::{
    background::{Failure, Progress, Unreadable},
    cloudevents, marks,
    replica::{Recorded, RecordedError, Replica},
    trace::{Kind, Span},
};

/// The pause before rows that are being rebuilt are checked again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A record that may have public events cannot be decoded.
    #[error("{at} can't be translated: {source}")]
    Untranslatable { at: Unreadable, source: RecordedError },
    /// A record that may have public events is parked.
    #[error("{at} is parked: `{program} parked show {} {}` shows why, and what to do", at.journal, at.offset, program = words::program())]
    Parked { at: Unreadable },
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not accept the events at the moment.
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Rows(#[from] StoreError),
}

impl Failure for RelayError {
    fn waits_for(&self) -> Option<Unreadable> {
        match self {
            Self::Untranslatable { at, .. } | Self::Parked { at } => Some(*at),
            Self::Read(_) | Self::Append(_) | Self::Lease(_) | Self::Rows(_) => None,
        }
    }
}

/// Publishes accepted events from the last committed position, until something fails.
///
/// # Errors
/// [`RelayError`]. A restart resumes from the last commit.
pub async fn run<D: Decider, R: Rows<D>>(replica: Replica<D, R>, lease: Arc<dyn Lease>) -> Result<(), RelayError> {
    let log = Arc::clone(replica.log());
    let genesis = replica.genesis().await?;
    let (mut progress, from) = Progress::load(&replica, lease, "relay", vec![Replica::<D>::journal()]).await?;
    progress.confirm();
    let mut reading = log.read(from);
    loop {
        tokio::select! {
            biased;
            () = progress.due() => if progress.commit().await?.is_break() {
                return Ok(());
            },
            batch = reading.next() => {
                let Some(batch) = batch else { return Ok(()) };
                let batch = batch?;
                let Settled { accepted, last, ends } = settled(&replica, &batch).await?;
                let (mut events, spans): (Vec<_>, Vec<_>) =
                    accepted.iter().flat_map(|recorded| translate(genesis.log_id, recorded)).unzip();
                if Bug::PublishInReverse.is_loose() {
                    events.reverse();
                }
                publish(log.as_ref(), events, &mut progress).await?;
                drop(spans);
                if let Some(last) = last {
                    progress.done(last);
                }
                if let Some(why) = ends {
                    return stand(progress, why).await;
                }
            }
        }
    }
}

/// The leading records of a batch whose verdicts are known.
pub(crate) struct Settled<D: Decider> {
    pub accepted: Vec<Recorded<D>>,
    /// The last of these records; `None` if there are none.
    pub last: Option<Mark>,
    /// Why this is not the batch's last record.
    pub ends: Option<RelayError>,
}

/// Waits until the rows have the verdicts of a batch. Returns its records up to the first one that waits for repair.
pub(crate) async fn settled<D: Decider, R: Rows<D>>(
    replica: &Replica<D, R>,
    batch: &Batch,
) -> Result<Settled<D>, RelayError> {
    let mut settled = Settled { accepted: Vec::with_capacity(batch.records.len()), last: None, ends: None };
    let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else { return Ok(settled) };
    let unaccepted = loop {
        drop(replica.committed().wait_for(|committed| *committed > last.offset).await);
        let unaccepted = replica.store().unaccepted(first.offset, last.offset + 1).await?;
        // Rows that are being rebuilt are behind the position just reported.
        if unaccepted.next > last.offset {
            break unaccepted.verdicts;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let verdict = |offset| match unaccepted.binary_search_by_key(&offset, |it| it.0) {
        Ok(at) if unaccepted[at].1 == Verdict::Void && Bug::PublishVoid.is_loose() => Verdict::Accepted,
        Ok(at) => unaccepted[at].1,
        Err(_) => Verdict::Accepted,
    };
    let unknown = replica.setup().environment.unknown();
    let mut settled_last = None;
    for record in &batch.records {
        let at = Unreadable { journal: D::JOURNAL, offset: record.offset, written_ms: record.time_ms };
        match verdict(record.offset) {
            Verdict::Accepted => match Recorded::<D>::decode_without(record, unknown) {
                Ok(recorded) => settled.accepted.extend(recorded),
                Err(source) => settled.ends = Some(RelayError::Untranslatable { at, source }),
            },
            Verdict::Parked if Bug::PassOverParked.is_loose() => {}
            Verdict::Parked => settled.ends = Some(RelayError::Parked { at }),
            Verdict::Void | Verdict::Discarded => {}
        }
        if settled.ends.is_some() {
            break;
        }
        settled_last = Some(record);
    }
    settled.last = settled_last.map(|record| marks::of(&batch.partition, record));
    Ok(settled)
}

/// Saves a background task's progress, and ends the task with `why`, unless it is asked to end anyway.
pub(crate) async fn stand(mut progress: Progress, why: RelayError) -> Result<(), RelayError> {
    if progress.commit().await?.is_break() { Ok(()) } else { Err(why) }
}

/// The public events of a record, with their attributes except for the trace, which is that of the publication.
pub(crate) fn events_of<D: Decider>(log_id: Uuid, recorded: &Recorded<D>) -> Vec<(Envelope, D::Published)> {
    let origin = &recorded.header.origin;
    let envelope = |id| Envelope {
        id,
        time_ms: recorded.header.time_ms,
        correlation: origin.correlation.unwrap_or(id),
        cause: origin.cause.filter(|_| !Bug::PublishWithoutCause.is_loose()),
        trace: None,
    };
    let events = D::publish(&recorded.event);
    debug_assert!(events.len() <= EVENTS_MAX, "{}@{} has too many events", D::JOURNAL, recorded.offset);
    let events = events.into_iter().enumerate();
    events.map(|(index, event)| (envelope(event_id(log_id, recorded.offset, index)), event)).collect()
}

/// The records that publish these events, each with the span of its publication.
fn translate<D: Decider>(log_id: Uuid, recorded: &Recorded<D>) -> Vec<(NewRecord, Span)> {
    let origin = &recorded.header.origin;
    let events = events_of(log_id, recorded).into_iter();
    events
        .map(|(mut envelope, event)| {
            let name = || format!("publish {}", event.topic());
            let mut span = Span::follow(Kind::Producer, name, (origin.trace.as_deref(), recorded.header.time_ms));
            span.set("orderlog.service", D::JOURNAL);
            span.set("messaging.system", "orderlog");
            span.set("messaging.operation.type", "send");
            span.set("messaging.destination.name", event.topic());
            envelope.trace = span.trace().map(str::to_owned);
            (cloudevents::encode(&envelope, &event, D::JOURNAL), span)
        })
        .collect()
}

async fn publish(log: &dyn EventLog, events: Vec<NewRecord>, progress: &mut Progress) -> Result<(), RelayError> {
    if events.is_empty() {
        return Ok(());
    }
    let print = |event: &NewRecord| marks::print(event.key.as_ref(), &event.headers, &event.value);
    let published: Vec<_> = events.iter().map(|event| (Arc::clone(&event.topic), print(event))).collect();
    for ((topic, print), result) in published.into_iter().zip(log.append(events).await) {
        match result {
            Ok(Landed { partition, offset }) => {
                progress.add_output(Mark { partition: Partition::new(topic, partition), offset, print });
            }
            Err(_) if Bug::IgnoreFailedPublication.is_loose() => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}
