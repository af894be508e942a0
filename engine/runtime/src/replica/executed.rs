//! The outcome of a command.

use orderlog_core::{decider::Decider, machine::Accepted};

/// Why a command was not executed, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error> {
    /// The business rules reject it. Nothing was written.
    #[error(transparent)]
    Rejected(R),
    /// The aggregate has another version than the caller expects, or does not exist. Nothing was written.
    #[error("it is not as the caller has seen it: {}", .0.map_or_else(|| "it does not exist".to_owned(), |it| format!("its version is {it}")))]
    OtherVersion(Option<u64>),
    /// The idempotency key was used for another command. Nothing was written.
    #[error("the idempotency key was used for another command")]
    KeyReused,
    /// A record about the command's keys is parked and waits for repair. Nothing was written.
    #[error("a record about this can't be read and waits for repair")]
    Parked,
    /// The idempotency key was used before, and an operator has discarded the record of that command. Nothing was written.
    #[error("an operator has discarded what the first command with this idempotency key did")]
    Discarded,
    /// Another command with the same idempotency key is in progress, and did not finish before the deadline. Retry.
    #[error("a command with this idempotency key is still under way")]
    KeyInUse,
    /// The record would exceed the log's size limit. Nothing was written.
    #[error("the record of this command would be larger than the log takes")]
    TooLarge,
    /// The service cannot accept commands at the moment. Nothing was written.
    #[error("the service can't take commands now: {0}")]
    Unavailable(String),
    /// The deadline passed, and the command may or may not have been executed. Retry with the same idempotency key.
    #[error("there was no word from the log in time: the command may or may not have happened")]
    Unknown,
}

/// A command's record in the log.
#[derive(Clone, Debug)]
pub struct Executed<D: Decider> {
    pub accepted: Accepted<D>,
    /// Whether an earlier command with the same idempotency key wrote it.
    pub replayed: bool,
}

/// Returns the outcome of a command as a metric label.
pub(super) fn outcome_of<D: Decider>(outcome: &Result<Executed<D>, ExecuteError<D::Rejection>>) -> &'static str {
    match outcome {
        Ok(Executed { replayed: false, .. }) => "accepted",
        Ok(Executed { replayed: true, .. }) => "repeated",
        Err(ExecuteError::Rejected(_) | ExecuteError::KeyReused | ExecuteError::Discarded | ExecuteError::TooLarge) => {
            "rejected"
        }
        Err(ExecuteError::OtherVersion(_)) => "precondition_failed",
        Err(ExecuteError::Parked) => "parked",
        Err(ExecuteError::Unavailable(_)) => "unavailable",
        Err(ExecuteError::KeyInUse | ExecuteError::Unknown) => "unknown",
    }
}
