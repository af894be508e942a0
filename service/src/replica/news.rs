//! Whether what other services have told was taken in: a "no" about another service's object must not rest on news that
//! stand on the topics already. Copied facts are read by the core itself; this is for what a reactor brings.

use std::{sync::Arc, time::Duration};

use orderlog_domain::decider::{Decider, Millis};
use orderlog_eventlog::{EventLog, Lease, Partition, ReadError};
use tokio::time::Instant;
use tracing::warn;

use crate::{partitions_of, surroundings::Surroundings};

/// How soon is looked again. The reactor keeps its position several times a second.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// What a service's reactor reads, and how far it has come, at whichever instance it runs.
pub struct News {
    log: Arc<dyn EventLog>,
    lease: Arc<dyn Lease>,
    partitions: Vec<Partition>,
}

impl News {
    /// The news that `D` reacts to.
    ///
    /// # Errors
    /// [`ReadError`] if the log does not know their topics.
    pub async fn of<D: Decider>(log: Arc<dyn EventLog>, lease: Arc<dyn Lease>) -> Result<Self, ReadError> {
        let partitions = partitions_of(log.as_ref(), D::REACTS_TO).await?;
        Ok(Self { log, lease, partitions })
    }

    /// Wait until everything that is on the topics now was reacted to. Whether that was so in time.
    pub async fn are_in(&self, deadline: Millis, surroundings: &dyn Surroundings) -> bool {
        let ends = match self.log.ends(&self.partitions).await {
            Ok(ends) => ends,
            Err(error) => {
                warn!("it can't be told whether all news are in: {error}");
                return false;
            }
        };
        // By a clock that is never set: the other one only says how much time there was when it was asked.
        let left = u64::try_from(deadline - surroundings.now_ms()).unwrap_or(0);
        let until = Instant::now() + Duration::from_millis(left);
        while Instant::now() < until {
            match self.lease.committed(&self.partitions).await {
                Ok(done) if done.iter().zip(&ends).all(|(done, end)| done.unwrap_or(0) >= *end) => return true,
                Ok(_) => {}
                Err(error) => warn!("it can't be told whether all news are in: {error}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }
}
