//! The reactor: answers other services' public events with commands of this one.
//!
//! Which command answers an event is a pure function in `domain`. Here it is made to happen at least once, and in the journal
//! exactly once: its idempotency key derives from the causing event. The consumer's position is only a hint of where to go
//! on; losing it repeats commands that are known already.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use orderlog_domain::{
    header::{CommandStamp, Origin},
    key::Key,
    public::{Envelope, Public},
};
use orderlog_eventlog::{Lease, LeaseError, Partition, ReadError};
use orderlog_projections::Tables;
use tracing::{error, warn};

use crate::{
    cloudevents::{self, CloudEventError},
    duty::Progress,
    now_ms,
    replica::{ExecuteError, Replica},
};

/// More reactions than this are not under way at once.
const N_UNDER_WAY_MAX: usize = 1_024;
/// How long one attempt of a reaction may take.
const DEADLINE_MS: i64 = 30_000;
/// How long a reaction that can't happen now rests.
const AGAIN: Duration = Duration::from_millis(500);

/// Why the reactor stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// A public event can't be read. It is not skipped: what it asks for would be lost.
    #[error("{partition}@{offset} is no event: {source}")]
    Undecodable {
        /// Where.
        partition: Partition,
        /// Where in it.
        offset: u64,
        /// Why.
        source: CloudEventError,
    },
    /// The topics can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The positions can't be kept or found.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// Answer public events, from the last commit on, until something fails.
///
/// # Errors
/// [`ReactorError`]; started again it goes on from the last commit.
pub async fn run<D: Tables>(replica: Replica<D>, lease: Arc<dyn Lease>) -> Result<(), ReactorError> {
    let mut partitions = Vec::new();
    for topic in D::REACTS_TO {
        partitions.extend(replica.log().partitions(topic).await?);
    }
    let (mut progress, from) = Progress::load(lease, partitions).await?;
    let mut reading = replica.log().read(from);
    // In the order in which they were read, so that a commit never passes over one that is still under way.
    let mut under_way: FuturesOrdered<BoxFuture<'static, (Partition, u64)>> = FuturesOrdered::new();
    loop {
        tokio::select! {
            batch = reading.next(), if under_way.len() < N_UNDER_WAY_MAX => {
                let Some(batch) = batch else { return Ok(()) };
                let batch = batch?;
                let partition = batch.partition;
                for record in batch.records {
                    let offset = record.offset;
                    let (envelope, event) = cloudevents::decode(&partition.topic, &record)
                        .map_err(|source| ReactorError::Undecodable { partition: partition.clone(), offset, source })?;
                    let done = (partition.clone(), offset + 1);
                    match D::react(&event) {
                        Some(command) => under_way.push_back(
                            react(replica.clone(), command, envelope, event).map(move |()| done).boxed(),
                        ),
                        None => under_way.push_back(std::future::ready(done).boxed()),
                    }
                }
            }
            Some((partition, next)) = under_way.next() => progress.done(partition, next),
            () = progress.due() => progress.commit().await?,
        }
    }
}

/// One reaction, again and again until it stands in the journal.
async fn react<D: Tables>(replica: Replica<D>, command: D::Command, envelope: Envelope, event: Public) {
    let cause = envelope.id;
    let stamp = CommandStamp { key: Key::named("reaction", &cause.to_string()), fingerprint: [0; 16] };
    let correlation = Some(envelope.correlation);
    let origin = Origin { cause: Some(cause), correlation, trace: envelope.trace };
    let (service, topic) = (D::JOURNAL, event.topic());
    loop {
        let deadline = now_ms() + DEADLINE_MS;
        match replica.execute(command.clone(), Some(stamp), origin.clone(), deadline).await {
            Ok(_) => return,
            // Reactions never refuse, and their keys are nobody else's: this is a mistake in the program, and says so.
            Err(refusal @ (ExecuteError::Rejected(_) | ExecuteError::KeyReused)) => {
                return error!(service, %cause, "{service} refused to react to {topic} {cause}: {refusal}");
            }
            Err(failure @ (ExecuteError::Parked | ExecuteError::Unavailable(_) | ExecuteError::Unknown)) => {
                warn!(service, %cause, "{service} can't react to {topic} {cause} yet: {failure}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
