//! The reactor: answers other services' public events with commands of this one.
//!
//! Which command answers an event is a pure function in `domain`. Here it is made to happen at least once, and in the journal
//! exactly once: its idempotency key derives from the causing event. The consumer's position is only a hint of where to go
//! on; losing it repeats commands that are known already.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use orderlog_domain::{
    header::{CommandStamp, Origin},
    key::Key,
    planted::{self, Bug},
    public::Envelope,
};
use orderlog_eventlog::{Lease, LeaseError, Partition, ReadError, Record};
use orderlog_projections::{Rows, Tables};
use tracing::{error, warn};

use crate::{
    cloudevents::{self, CloudEventError},
    duty::Progress,
    partitions_of,
    replica::{ExecuteError, Replica},
    trace::{Kind, Span},
};

/// More reactions than this are not under way at once.
const N_UNDER_WAY_MAX: usize = 1_024;
/// How long one attempt of a reaction may take.
const DEADLINE_MS: i64 = 30_000;
/// How long a reaction that can't happen now rests.
const AGAIN: Duration = Duration::from_millis(500);
/// More reactions than this are not set aside; then the reactor waits for a repair.
const N_ASIDE_MAX: usize = 10_000;
/// How often a reaction that was set aside is tried again.
const ASIDE_AGAIN: Duration = Duration::from_secs(10);

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

/// A public event that is answered, and by what.
struct Reaction<D: Tables> {
    partition: Partition,
    offset: u64,
    topic: &'static str,
    envelope: Envelope,
    command: D::Command,
}

/// What became of a reaction.
enum Outcome<D: Tables> {
    /// It is done with.
    Settled(Partition, u64),
    /// What it is about can't be read until it is repaired. The others go on.
    SetAside(Reaction<D>),
}

type Reacting<D> = FuturesUnordered<BoxFuture<'static, Outcome<D>>>;

/// The events of one partition that are under way.
#[derive(Default)]
struct UnderWay {
    offsets: BTreeSet<u64>,
    next: u64,
}

impl UnderWay {
    fn begin(&mut self, offset: u64) {
        self.offsets.insert(offset);
        self.next = offset + 1;
    }

    /// Everything below the result is done with: a commit never passes over one that is still under way.
    fn end(&mut self, offset: u64) -> u64 {
        self.offsets.remove(&offset);
        if planted::has(Bug::PassOverUnderWay) {
            return self.next;
        }
        self.offsets.first().copied().unwrap_or(self.next)
    }
}

/// Answer public events, from the last commit on, until something fails.
///
/// # Errors
/// [`ReactorError`]; started again it goes on from the last commit.
pub async fn run<D: Tables, R: Rows<D>>(replica: Replica<D, R>, lease: Arc<dyn Lease>) -> Result<(), ReactorError> {
    let partitions = partitions_of(replica.log().as_ref(), D::REACTS_TO).await?;
    let (mut progress, from) = Progress::load(&replica, lease, "reactor", partitions).await?;
    let mut reading = replica.log().read(from);
    let mut under_way: HashMap<Partition, UnderWay> = HashMap::new();
    let (mut reacting, mut aside) = (Reacting::<D>::new(), Reacting::<D>::new());
    loop {
        let has_room = reacting.len() < N_UNDER_WAY_MAX && aside.len() < N_ASIDE_MAX;
        let outcome = tokio::select! {
            biased;
            () = progress.due() => {
                if progress.commit().await?.is_break() {
                    // What is under way is begun again by whoever goes on, with the same keys.
                    return Ok(());
                }
                continue;
            }
            Some(outcome) = reacting.next() => outcome,
            Some(outcome) = aside.next() => outcome,
            batch = reading.next(), if has_room => {
                let Some(batch) = batch else { return Ok(()) };
                let batch = batch?;
                let offsets = under_way.entry(batch.partition.clone()).or_default();
                for record in &batch.records {
                    offsets.begin(record.offset);
                    match reaction::<D>(&batch.partition, record)? {
                        Some(reaction) => reacting.push(react(replica.clone(), reaction).boxed()),
                        None => progress.done(batch.partition.clone(), offsets.end(record.offset)),
                    }
                }
                continue;
            }
        };
        match outcome {
            Outcome::Settled(partition, offset) => {
                let next = under_way.entry(partition.clone()).or_default().end(offset);
                progress.done(partition, next);
            }
            Outcome::SetAside(reaction) => aside.push(react_later(replica.clone(), reaction).boxed()),
        }
    }
}

/// How the service answers the event in `record`, if it does.
fn reaction<D: Tables>(partition: &Partition, record: &Record) -> Result<Option<Reaction<D>>, ReactorError> {
    let (partition, offset) = (partition.clone(), record.offset);
    match cloudevents::decode(&partition.topic, record) {
        Ok((envelope, event)) => {
            let command = D::react(&event);
            Ok(command.map(|command| Reaction { partition, offset, topic: event.topic(), envelope, command }))
        }
        Err(source) => Err(ReactorError::Undecodable { partition, offset, source }),
    }
}

/// One reaction, again and again until it stands in the journal or has to be set aside.
async fn react<D: Tables, R: Rows<D>>(replica: Replica<D, R>, reaction: Reaction<D>) -> Outcome<D> {
    let Reaction { envelope, topic, .. } = &reaction;
    let (service, cause) = (D::JOURNAL, envelope.id);
    let stamp = CommandStamp { key: Key::named("reaction", &cause.to_string()), fingerprint: [0; 16] };
    let correlation = Some(envelope.correlation);
    let mut span =
        Span::follow(Kind::Consumer, || format!("process {topic}"), (envelope.trace.as_deref(), envelope.time_ms));
    span.set("orderlog.service", service);
    span.set("messaging.system", "orderlog");
    span.set("messaging.operation.type", "process");
    span.set("messaging.destination.name", *topic);
    span.set("messaging.destination.partition.id", i64::from(reaction.partition.index));
    let origin = Origin { cause: Some(cause), correlation, trace: span.trace().map(str::to_owned) };
    loop {
        let deadline = replica.now_ms() + DEADLINE_MS;
        match replica.execute(reaction.command.clone(), Some(stamp), origin.clone(), deadline).await {
            Ok(_) => break,
            // Reactions never refuse, and their keys are nobody else's: this is a mistake in the program, and says so.
            Err(refusal @ (ExecuteError::Rejected(_) | ExecuteError::OtherVersion(_) | ExecuteError::KeyReused)) => {
                error!(service, %cause, "{service} refused to react to {topic} {cause}: {refusal}");
                break;
            }
            // Whoever did so has said that this event is to have no effect here.
            Err(failure @ ExecuteError::Discarded) => {
                warn!(service, %cause, "{service} does not react to {topic} {cause}: {failure}");
                break;
            }
            Err(ExecuteError::Parked) if planted::has(Bug::DropSetAside) => break,
            Err(failure @ ExecuteError::Parked) => {
                warn!(service, %cause, "{service} sets {topic} {cause} aside: {failure}");
                return Outcome::SetAside(reaction);
            }
            // Also one that is too large: what it asks for would be lost, so it waits until the log takes it.
            Err(
                failure @ (ExecuteError::KeyInUse
                | ExecuteError::TooLarge
                | ExecuteError::Unavailable(_)
                | ExecuteError::Unknown),
            ) => {
                warn!(service, %cause, "{service} can't react to {topic} {cause} yet: {failure}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    Outcome::Settled(reaction.partition, reaction.offset)
}

async fn react_later<D: Tables, R: Rows<D>>(replica: Replica<D, R>, reaction: Reaction<D>) -> Outcome<D> {
    tokio::time::sleep(ASIDE_AGAIN).await;
    react(replica, reaction).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_never_passes_over_an_event_that_is_under_way() {
        let mut under_way = UnderWay::default();
        (3..7).for_each(|offset| under_way.begin(offset));
        assert_eq!(under_way.end(4), 3);
        assert_eq!(under_way.end(3), 5, "what was done out of order counts once nothing before it is left");
        assert_eq!(under_way.end(6), 5);
        assert_eq!(under_way.end(5), 7);
    }
}
