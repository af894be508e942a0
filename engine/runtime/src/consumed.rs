//! The partitions of the public topics that a service consumes. Kafka can add partitions to a topic at any time, so they are looked up
//! again every few seconds, and new ones are consumed from their beginning.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use orderlog_core::decider::Decider;
use orderlog_eventlog::{EventLog, Partition, ReadError};
use tokio::sync::watch;
use tracing::{debug, info};

use crate::{environment::Environment, partitions_of};

/// The interval between two lookups.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// All partitions of the consumed topics. New ones are added at the end, so that an older list is a prefix of a newer one.
#[derive(Clone)]
pub(crate) struct Consumed(watch::Receiver<Vec<Partition>>);

impl Consumed {
    /// Looks up the partitions of the topics that `D` consumes, now and for as long as the result or a clone of it exists.
    pub async fn follow<D: Decider>(log: &Arc<dyn EventLog>, environment: &dyn Environment) -> Result<Self, ReadError> {
        let mut topics = [D::REACTS_TO, D::COPIES].concat();
        topics.sort_unstable();
        topics.dedup();
        let (sender, receiver) = watch::channel(partitions_of(log.as_ref(), &topics).await?);
        if !topics.is_empty() {
            environment.spawn(look_again::<D>(Arc::clone(log), topics, sender).boxed());
        }
        Ok(Self(receiver))
    }

    /// Returns the known partitions of these topics.
    pub fn of(&self, topics: &[&str]) -> Vec<Partition> {
        self.0.borrow().iter().filter(|partition| topics.contains(&partition.topic.as_ref())).cloned().collect()
    }

    /// Waits until partitions were added since the last call.
    pub async fn grown(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

async fn look_again<D: Decider>(
    log: Arc<dyn EventLog>,
    topics: Vec<&'static str>,
    known: watch::Sender<Vec<Partition>>,
) {
    loop {
        tokio::select! {
            biased;
            () = known.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let found = match partitions_of(log.as_ref(), &topics).await {
            Ok(found) => found,
            Err(error) => {
                debug!(service = D::JOURNAL, "partitions can't be looked up: {error}");
                continue;
            }
        };
        let added: Vec<_> = found.into_iter().filter(|partition| !known.borrow().contains(partition)).collect();
        if !added.is_empty() {
            let names = added.iter().map(Partition::to_string).collect::<Vec<_>>().join(", ");
            info!(service = D::JOURNAL, "{} consumes new partitions from their beginning: {names}", D::JOURNAL);
            known.send_modify(|known| known.extend(added));
        }
    }
}
