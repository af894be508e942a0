//! Whether what other services have told was taken in: a "no" about another service's object must not rest on news that
//! stand on the topics already. Copied facts are read by the core itself; this is for what a reactor brings.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use orderlog_domain::{
    decider::{Decider, Millis},
    planted::{self, Bug},
};
use orderlog_eventlog::{EventLog, Lease, Partition, Position, ReadError};
use tokio::time::Instant;
use tracing::warn;

use crate::{marks, partitions_of, surroundings::Surroundings};

/// How soon is looked again. The reactor keeps its position several times a second.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// What a service's reactor reads, and how far it has come, at whichever instance it runs.
pub struct News {
    log: Arc<dyn EventLog>,
    lease: Arc<dyn Lease>,
    partitions: Vec<Partition>,
    /// The reactor's positions are this log's: from then on whoever keeps them has begun on it.
    are_proven: AtomicBool,
}

impl News {
    /// The news that `D` reacts to.
    ///
    /// # Errors
    /// [`ReadError`] if the log does not know their topics.
    pub async fn of<D: Decider>(log: Arc<dyn EventLog>, lease: Arc<dyn Lease>) -> Result<Self, ReadError> {
        let partitions = partitions_of(log.as_ref(), D::REACTS_TO).await?;
        Ok(Self { log, lease, partitions, are_proven: AtomicBool::new(false) })
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
                Ok(done) if have_come_to(&done, &ends) => match self.are_of_this_log(&done).await {
                    Ok(true) => return true,
                    Ok(false) => {}
                    Err(error) => warn!("it can't be told whether all news are in: {error}"),
                },
                Ok(_) => {}
                Err(error) => warn!("it can't be told whether all news are in: {error}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }

    /// Positions that another log was read to say nothing of this one, until the reactor begins and finds that out.
    async fn are_of_this_log(&self, positions: &[Option<Position>]) -> Result<bool, ReadError> {
        if self.are_proven.load(Ordering::Relaxed) || planted::has(Bug::TrustAnyPosition) {
            return Ok(true);
        }
        let mut known = Vec::new();
        for position in positions.iter().flatten() {
            if !marks::stand(self.log.as_ref(), position, &mut known).await? {
                return Ok(false);
            }
        }
        self.are_proven.store(true, Ordering::Relaxed);
        Ok(true)
    }
}

fn have_come_to(positions: &[Option<Position>], ends: &[u64]) -> bool {
    let next = |position: &Option<Position>| position.as_ref().map_or(0, |position| position.next);
    positions.iter().zip(ends).all(|(position, end)| next(position) >= *end)
}
