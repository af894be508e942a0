//! The reactor: reacts to other services' public events with commands of this service.
//!
//! A pure function in `domain` maps an event to its command. The reactor executes the command at least once. Its idempotency key
//! derives from the causing event, so its record is in the journal exactly once. The consumer's position is only a hint of where
//! to resume; losing it repeats commands that are deduplicated.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use orderlog_core::{
    decider::Decider,
    header::{CommandStamp, Origin},
    key::Key,
    machine::Accepted,
    planted::Bug,
    public::{Envelope, PublicEvent},
};
use orderlog_eventlog::{Lease, LeaseError, Mark, Partition, ReadError, Record};
use orderlog_readmodel::Rows;
use tracing::{error, warn};

use crate::{
    background::{Failure, Progress},
    cloudevents::{self, CloudEventError},
    consumed::Consumed,
    marks,
    replica::{ExecuteError, Executed, Replica},
    trace::{Kind, Span},
};

/// The maximum number of concurrent reactions.
const N_UNDER_WAY_MAX: usize = 1_024;
/// The deadline of one attempt, in milliseconds.
const DEADLINE_MS: i64 = 30_000;
/// The pause before a reaction that failed temporarily is retried.
const AGAIN: Duration = Duration::from_millis(500);
/// The maximum number of reactions set aside. Beyond it the reactor waits for a repair.
const N_ASIDE_MAX: usize = 10_000;
/// How often a reaction that was set aside is retried.
const ASIDE_AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// A public event cannot be decoded. It is not skipped, since the command it causes would be lost.
    #[error("{partition}@{offset} is no event: {source}")]
    Undecodable { partition: Partition, offset: u64, source: CloudEventError },
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The positions cannot be loaded or saved.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Failure for ReactorError {}

/// A public event and the command that reacts to it.
struct Reaction<D: Decider> {
    partition: Partition,
    offset: u64,
    topic: &'static str,
    envelope: Envelope,
    command: D::Command,
}

enum Outcome<D: Decider> {
    /// It is finished, with the record that resulted, if any.
    Settled(Partition, u64, Option<Mark>),
    /// A record about its keys is parked and waits for repair. Other reactions continue.
    SetAside(Reaction<D>),
}

type Reacting<D> = FuturesUnordered<BoxFuture<'static, Outcome<D>>>;

/// The events of one partition that are in progress or queued behind one that is, each with whether it is finished.
#[derive(Default)]
struct UnderWay(BTreeMap<u64, (Mark, bool)>);

impl UnderWay {
    fn begin(&mut self, event: Mark) {
        self.0.insert(event.offset, (event, false));
    }

    /// Marks the event at `offset` as finished. Returns the last event up to which all are finished, if that advanced. A commit
    /// never passes an event that is still in progress.
    fn end(&mut self, offset: u64) -> Option<Mark> {
        if Bug::PassOverUnderWay.is_loose() {
            return self.0.last_key_value().map(|(_, (last, _))| last.clone());
        }
        if let Some((_, is_done)) = self.0.get_mut(&offset) {
            *is_done = true;
        }
        let mut last = None;
        while let Some(first) = self.0.first_entry().filter(|first| first.get().1) {
            last = Some(first.remove().0);
        }
        last
    }
}

/// Reacts to public events from the last committed position, until something fails.
///
/// # Errors
/// [`ReactorError`]. A restart resumes from the last commit.
pub async fn run<D: Decider, R: Rows<D>>(replica: Replica<D, R>, lease: Arc<dyn Lease>) -> Result<(), ReactorError> {
    let mut consumed = replica.consumed();
    while react_until_grown(&replica, Arc::clone(&lease), &mut consumed).await?.is_continue() {}
    Ok(())
}

/// Reacts to the events of all partitions that are known now, until there are more.
async fn react_until_grown<D: Decider, R: Rows<D>>(
    replica: &Replica<D, R>,
    lease: Arc<dyn Lease>,
    consumed: &mut Consumed,
) -> Result<ControlFlow<()>, ReactorError> {
    let (mut progress, from) = Progress::load(replica, lease, "reactor", consumed.of(D::REACTS_TO)).await?;
    let mut reading = replica.log().read(from);
    let mut under_way: HashMap<Partition, UnderWay> = HashMap::new();
    let (mut reacting, mut aside) = (Reacting::<D>::new(), Reacting::<D>::new());
    loop {
        let has_room = has_room(reacting.len(), aside.len());
        let outcome = tokio::select! {
            biased;
            () = progress.due() => {
                if progress.commit().await?.is_break() {
                    // The next holder of the lease repeats what is in progress, with the same keys.
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            // What is in progress is repeated too.
            () = consumed.grown() => return Ok(progress.commit().await?),
            Some(outcome) = reacting.next() => outcome,
            Some(outcome) = aside.next() => outcome,
            batch = reading.next(), if has_room => {
                let Some(batch) = batch else { return Ok(ControlFlow::Break(())) };
                let batch = batch?;
                let events = under_way.entry(batch.partition.clone()).or_default();
                for record in &batch.records {
                    events.begin(marks::of(&batch.partition, record));
                    match reaction::<D>(&batch.partition, record)? {
                        Some(reaction) => reacting.push(react(replica.clone(), reaction).boxed()),
                        None => {
                            events.end(record.offset).into_iter().for_each(|last| progress.done(last));
                        }
                    }
                }
                continue;
            }
        };
        match outcome {
            Outcome::Settled(partition, offset, record) => {
                record.into_iter().for_each(|record| progress.add_output(record));
                let last = under_way.entry(partition).or_default().end(offset);
                last.into_iter().for_each(|last| progress.done(last));
            }
            Outcome::SetAside(reaction) => aside.push(react_later(replica.clone(), reaction).boxed()),
        }
    }
}

/// Whether more events may be read.
const fn has_room(n_under_way: usize, n_aside: usize) -> bool {
    n_under_way < N_UNDER_WAY_MAX && n_aside < N_ASIDE_MAX
}

/// Returns the service's reaction to the event in `record`, if it has one.
fn reaction<D: Decider>(partition: &Partition, record: &Record) -> Result<Option<Reaction<D>>, ReactorError> {
    let (partition, offset) = (partition.clone(), record.offset);
    match cloudevents::decode::<D::Heard>(&partition.topic, record) {
        Ok((envelope, event)) => {
            let command = D::react(&event);
            Ok(command.map(|command| Reaction { partition, offset, topic: event.topic(), envelope, command }))
        }
        Err(source) => Err(ReactorError::Undecodable { partition, offset, source }),
    }
}

/// Retries one reaction until its record is in the journal or it has to be set aside.
async fn react<D: Decider, R: Rows<D>>(replica: Replica<D, R>, reaction: Reaction<D>) -> Outcome<D> {
    let Reaction { envelope, topic, .. } = &reaction;
    let (service, cause) = (D::JOURNAL, envelope.id);
    let mut name = cause.to_string();
    if Bug::AnswerEachCopy.is_loose() {
        name.push_str(&reaction.offset.to_string());
    }
    let stamp = CommandStamp { key: Key::named("reaction", &name), fingerprint: [0; 16] };
    let correlation = Some(if Bug::ForgetCorrelation.is_loose() { cause } else { envelope.correlation });
    let mut span =
        Span::follow(Kind::Consumer, || format!("process {topic}"), (envelope.trace.as_deref(), envelope.time_ms));
    span.set("orderlog.service", service);
    span.set("messaging.system", "orderlog");
    span.set("messaging.operation.type", "process");
    span.set("messaging.destination.name", *topic);
    span.set("messaging.destination.partition.id", i64::from(reaction.partition.index));
    let origin = Origin { cause: Some(cause), correlation, trace: span.trace().map(str::to_owned) };
    let record = loop {
        let deadline = replica.now_ms() + DEADLINE_MS;
        match replica.execute(reaction.command.clone(), Some(stamp), origin.clone(), deadline).await {
            Ok(Executed { accepted: Accepted { at, id, .. }, .. }) => {
                let (partition, offset, print) = (Replica::<D, R>::journal(), at.offset, marks::print_of_id(id));
                break Some(Mark { partition, offset, print });
            }
            // Reactions are never rejected and their keys are unique, so this is a bug. Report it.
            Err(refusal @ (ExecuteError::Rejected(_) | ExecuteError::OtherVersion(_) | ExecuteError::KeyReused)) => {
                error!(service, %cause, "{service} refused to react to {topic} {cause}: {refusal}");
                break None;
            }
            // An operator has decided that this event has no effect here.
            Err(failure @ ExecuteError::Discarded) => {
                warn!(service, %cause, "{service} does not react to {topic} {cause}: {failure}");
                break None;
            }
            Err(ExecuteError::Parked) if Bug::DropSetAside.is_loose() => break None,
            Err(failure @ ExecuteError::Parked) => {
                warn!(service, %cause, "{service} sets {topic} {cause} aside: {failure}");
                return Outcome::SetAside(reaction);
            }
            // This includes commands that are too large: dropping one would lose its effect, so it is retried until the log accepts it.
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
    };
    Outcome::Settled(reaction.partition, reaction.offset, record)
}

async fn react_later<D: Decider, R: Rows<D>>(replica: Replica<D, R>, reaction: Reaction<D>) -> Outcome<D> {
    tokio::time::sleep(ASIDE_AGAIN).await;
    react(replica, reaction).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_never_passes_over_an_event_that_is_under_way() {
        let mut under_way = UnderWay::default();
        let mark = |offset| Mark { partition: Partition::new("order.created", 0), offset, print: offset };
        (3..7).for_each(|offset| under_way.begin(mark(offset)));
        assert_eq!(under_way.end(4), None);
        assert_eq!(under_way.end(3), Some(mark(4)), "what was done out of order counts once nothing before it is left");
        assert_eq!(under_way.end(6), None);
        assert_eq!(under_way.end(5), Some(mark(6)));
    }

    #[test]
    fn no_more_is_read_while_too_much_is_under_way_or_set_aside() {
        assert!(has_room(1_023, 9_999));
        for (n_under_way, n_aside) in [(1_024, 0), (0, 10_000), (1_024, 10_000)] {
            assert!(!has_room(n_under_way, n_aside), "{n_under_way} under way, {n_aside} set aside");
        }
    }
}
