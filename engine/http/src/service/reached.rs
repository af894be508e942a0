//! Waiting for the records that a caller has seen: the only place where a request waits for positions.

use orderlog_core::{decider::Decider, key::Key};
use orderlog_eventlog::{Partition, ReadError};
use orderlog_readmodel::Store;
use orderlog_runtime::replica::Lacks;
use tokio::time::{Instant, timeout_at};

use super::{Service, ServiceDefinition};
use crate::{
    freshness::{Freshness, MIN_POSITION, Position},
    problem::{ApiError, codes},
    waiting::aside,
};

/// Appended to the problem of a request that was not allowed to wait.
const NOT_WAITED: &str = "; it did not wait: too many requests of the caller wait already, or the process is stopping";

impl<S: ServiceDefinition> Service<S> {
    /// Waits until the rows reflect everything that the caller has seen.
    ///
    /// # Errors
    /// 400 for a position beyond the log's end, or of a journal that this service does not consume; 504 if the deadline passes.
    pub async fn reached(&self, freshness: &Freshness) -> Result<(), ApiError> {
        if freshness.seen.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + freshness.patience();
        freshness.known::<S::Decider>()?;
        self.exist(&freshness.seen).await?;
        if let Some(position) = freshness.last_of::<S::Decider>().map(|offset| offset + 1) {
            let reached = self.replica.has_committed(position);
            waited(until, reached).await.map_err(|why| {
                let lag = position.saturating_sub(*self.replica.committed().borrow());
                let detail = format!(
                    "the rows of {} are {lag} records behind what the caller has seen{why}",
                    S::Decider::JOURNAL
                );
                ApiError::timed_out(codes::NOT_YET, detail).with(&codes::LAG, lag)
            })?;
        }
        for position in freshness.foreign::<S::Decider>() {
            let mut lacks = Lacks::Publication;
            let taking_in = self.replica.has_taken_in(position.journal.as_str(), position.offset, &mut lacks);
            if let Err(why) = waited(until, taking_in).await {
                let detail = format!("{} does not reflect {position} yet: {lacks}{why}", S::Decider::JOURNAL);
                return Err(ApiError::timed_out(codes::NOT_YET, detail));
            }
        }
        Ok(())
    }

    /// Checks that no position is beyond the end of its journal.
    async fn exist(&self, positions: &[Position]) -> Result<(), ApiError> {
        let journals: Vec<_> = positions.iter().map(|it| Partition::journal(it.journal.as_str())).collect();
        let ends = self.replica.log().ends(&journals).await.map_err(|error: ReadError| {
            ApiError::unavailable(codes::LOG_UNAVAILABLE, format!("the ends of the journals can't be read: {error}"))
        })?;
        match positions.iter().zip(ends).find(|(position, end)| position.offset >= *end) {
            None => Ok(()),
            Some((position, end)) => {
                let last = Position { offset: end.saturating_sub(1), ..*position };
                let detail = format!("{position} is after the last record, {last}");
                Err(ApiError::parameter(MIN_POSITION, codes::POSITION_OUT_OF_RANGE, detail))
            }
        }
    }

    /// Checks that the rows of one aggregate reflect every record below or at `up_to`, which the caller has seen or asks for. They do not
    /// while one of them is parked, whose result another instance that can read it may already have returned.
    ///
    /// # Errors
    /// 503 in that case: the earlier state would be worse.
    pub async fn reflects(&self, rows: &Store<S::Decider>, about: &Key, up_to: u64) -> Result<(), ApiError> {
        match rows.first_parked(about).await?.filter(|parked| *parked <= up_to) {
            None => Ok(()),
            Some(parked) => {
                let detail =
                    format!("{}@{parked} is about this and can't be read by this version", S::Decider::JOURNAL);
                Err(ApiError::unavailable(codes::PARKED, detail))
            }
        }
    }
}

/// Waits for something until a deadline, without holding one of the places for requests. The error is appended to the problem if it
/// did not happen in time.
async fn waited<T>(until: Instant, wait: impl Future<Output = T>) -> Result<T, &'static str> {
    match aside(timeout_at(until, wait)).await {
        Some(Ok(outcome)) => Ok(outcome),
        Some(Err(_)) => Err(""),
        None => Err(NOT_WAITED),
    }
}
