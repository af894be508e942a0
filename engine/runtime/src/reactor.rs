//! The reactor: answers other services' public events with commands of this one.
//!
//! Which command answers an event is a pure function in `domain`. Here it is made to happen at least once, and in the journal
//! exactly once: its idempotency key derives from the causing event. The consumer's position is only a hint of where to go
//! on; losing it repeats commands that are known already.

use std::{
    collections::{BTreeMap, HashMap},
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
    cloudevents::{self, CloudEventError},
    duty::Progress,
    marks, partitions_of,
    replica::{ExecuteError, Executed, Replica},
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
    Undecodable { partition: Partition, offset: u64, source: CloudEventError },
    /// The topics can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The positions can't be kept or found.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// A public event that is answered, and by what.
struct Reaction<D: Decider> {
    partition: Partition,
    offset: u64,
    topic: &'static str,
    envelope: Envelope,
    command: D::Command,
}

/// What became of a reaction.
enum Outcome<D: Decider> {
    /// It is done with, and this record came of it, if one did.
    Settled(Partition, u64, Option<Mark>),
    /// What it is about can't be read until it is repaired. The others go on.
    SetAside(Reaction<D>),
}

type Reacting<D> = FuturesUnordered<BoxFuture<'static, Outcome<D>>>;

/// The events of one partition that are under way, or stand behind one that is; and whether they are done with.
#[derive(Default)]
struct UnderWay(BTreeMap<u64, (Mark, bool)>);

impl UnderWay {
    fn begin(&mut self, event: Mark) {
        self.0.insert(event.offset, (event, false));
    }

    /// Everything up to the result is done with, which was not so before: a commit never passes over one that is still under way.
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

/// Answer public events, from the last commit on, until something fails.
///
/// # Errors
/// [`ReactorError`]; started again it goes on from the last commit.
pub async fn run<D: Decider, R: Rows<D>>(replica: Replica<D, R>, lease: Arc<dyn Lease>) -> Result<(), ReactorError> {
    let partitions = partitions_of(replica.log().as_ref(), D::REACTS_TO).await?;
    let (mut progress, from) = Progress::load(&replica, lease, "reactor", partitions).await?;
    let mut reading = replica.log().read(from);
    let mut under_way: HashMap<Partition, UnderWay> = HashMap::new();
    let (mut reacting, mut aside) = (Reacting::<D>::new(), Reacting::<D>::new());
    loop {
        let has_room = has_room(reacting.len(), aside.len());
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
                record.into_iter().for_each(|record| progress.came_of_it(record));
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

/// How the service answers the event in `record`, if it does.
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

/// One reaction, again and again until it stands in the journal or has to be set aside.
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
            // Reactions never refuse, and their keys are nobody else's: this is a mistake in the program, and says so.
            Err(refusal @ (ExecuteError::Rejected(_) | ExecuteError::OtherVersion(_) | ExecuteError::KeyReused)) => {
                error!(service, %cause, "{service} refused to react to {topic} {cause}: {refusal}");
                break None;
            }
            // Whoever did so has said that this event is to have no effect here.
            Err(failure @ ExecuteError::Discarded) => {
                warn!(service, %cause, "{service} does not react to {topic} {cause}: {failure}");
                break None;
            }
            Err(ExecuteError::Parked) if Bug::DropSetAside.is_loose() => break None,
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
