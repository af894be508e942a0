//! The relay: publishes what a journal's accepted records tell others.
//!
//! It reads the journal behind the replica, whose rows say which records are void, publishes at least once, and commits only
//! what the log has acknowledged. A copy has the same id as the first, so readers can tell. It stops at a record that it
//! can't translate: skipping one would lose an event for ever.

use std::sync::Arc;

use futures_util::StreamExt;
use orderlog_domain::public::{Envelope, event_id};
use orderlog_eventlog::{AppendError, Batch, EventLog, Lease, LeaseError, NewRecord, ReadError};
use orderlog_projections::{StoreError, Tables};
use uuid::Uuid;

use crate::{
    cloudevents,
    duty::Progress,
    replica::{Recorded, RecordedError, Replica},
    trace::{Kind, Span},
};

/// Why the relay stopped.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A record that others should hear of can't be read.
    #[error("{journal}@{offset} can't be translated: {source}")]
    Untranslatable {
        /// The journal.
        journal: &'static str,
        /// Where.
        offset: u64,
        /// Why.
        source: RecordedError,
    },
    /// The journal can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not take the events now.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The position can't be kept or found.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The rows can't tell which records are void.
    #[error(transparent)]
    Rows(#[from] StoreError),
    /// The journal has not begun.
    #[error("the journal has not begun yet")]
    NotBegun,
}

/// Publish what is accepted, from the last commit on, until something fails.
///
/// # Errors
/// [`RelayError`]; started again it goes on from the last commit.
pub async fn run<D: Tables>(replica: Replica<D>, lease: Arc<dyn Lease>) -> Result<(), RelayError> {
    let log = Arc::clone(replica.log());
    drop(replica.committed().wait_for(|committed| *committed > 0).await);
    let genesis = replica.store().checkpoint().await?.genesis.ok_or(RelayError::NotBegun)?;
    let (mut progress, from) = Progress::load(&replica, lease, "relay", vec![Replica::<D>::journal()]).await?;
    let mut reading = log.read(from);
    loop {
        tokio::select! {
            batch = reading.next() => {
                let Some(batch) = batch else { return Ok(()) };
                let batch = batch?;
                let next = batch.records.last().map_or(0, |record| record.offset + 1);
                let accepted = accepted(&replica, &batch).await?;
                let (events, spans): (Vec<_>, Vec<_>) =
                    accepted.iter().flat_map(|recorded| translate(genesis.log_id, recorded)).unzip();
                publish(log.as_ref(), events).await?;
                drop(spans);
                progress.done(batch.partition, next);
            }
            () = progress.due() => if progress.commit().await?.is_break() {
                return Ok(());
            },
        }
    }
}

/// The accepted events of a batch, once the rows know the verdicts.
pub(crate) async fn accepted<D: Tables>(replica: &Replica<D>, batch: &Batch) -> Result<Vec<Recorded<D>>, RelayError> {
    let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else { return Ok(Vec::new()) };
    drop(replica.committed().wait_for(|committed| *committed > last.offset).await);
    let void = replica.store().void_offsets(first.offset, last.offset + 1).await?;
    let mut accepted = Vec::with_capacity(batch.records.len());
    for record in batch.records.iter().filter(|record| void.binary_search(&record.offset).is_err()) {
        let decoded = Recorded::<D>::decode(record).map_err(|source| RelayError::Untranslatable {
            journal: D::JOURNAL,
            offset: record.offset,
            source,
        })?;
        accepted.extend(decoded);
    }
    Ok(accepted)
}

/// What a record tells others, each with the span of its publication.
fn translate<D: Tables>(log_id: Uuid, recorded: &Recorded<D>) -> Vec<(NewRecord, Span)> {
    let origin = &recorded.header.origin;
    let events = D::publish(&recorded.event).into_iter().enumerate();
    events
        .map(|(index, event)| {
            let id = event_id(log_id, recorded.offset, index);
            let name = || format!("publish {}", event.topic());
            let mut span = Span::follow(Kind::Producer, name, (origin.trace.as_deref(), recorded.header.time_ms));
            span.set("orderlog.service", D::JOURNAL);
            span.set("messaging.system", "orderlog");
            span.set("messaging.operation.type", "send");
            span.set("messaging.destination.name", event.topic());
            let envelope = Envelope {
                id,
                time_ms: recorded.header.time_ms,
                correlation: origin.correlation.unwrap_or(id),
                cause: origin.cause,
                trace: span.trace().map(str::to_owned),
            };
            (cloudevents::encode(&envelope, &event, D::JOURNAL), span)
        })
        .collect()
}

async fn publish(log: &dyn EventLog, events: Vec<NewRecord>) -> Result<(), RelayError> {
    if !events.is_empty() {
        for result in log.append(events).await {
            result?;
        }
    }
    Ok(())
}
