//! What a command came to.

use orderlog_core::{decider::Decider, machine::Accepted};

/// Why a command did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error> {
    /// The rules say no. Nothing was written.
    #[error(transparent)]
    Rejected(R),
    /// What it is about has another version than the caller has seen, or does not exist. Nothing was written.
    #[error("it is not as the caller has seen it: {}", .0.map_or_else(|| "it does not exist".to_owned(), |it| format!("its version is {it}")))]
    OtherVersion(Option<u64>),
    /// The idempotency key was used for another command. Nothing was written.
    #[error("the idempotency key was used for another command")]
    KeyReused,
    /// What it names can't be read until it is repaired. Nothing was written.
    #[error("a record about this can't be read and waits for repair")]
    Parked,
    /// The idempotency key was used before, and the record that this led to was discarded by an operator. Nothing was written.
    #[error("an operator has discarded what the first command with this idempotency key did")]
    Discarded,
    /// Another command with the same idempotency key is under way, and the time was up before it came to an end. Ask again.
    #[error("a command with this idempotency key is still under way")]
    KeyInUse,
    /// Its record would be larger than the log takes. Nothing was written.
    #[error("the record of this command would be larger than the log takes")]
    TooLarge,
    /// The service can't take commands now. Nothing was written.
    #[error("the service can't take commands now: {0}")]
    Unavailable(String),
    /// The time is up, and it may or may not have happened. Ask again with the same idempotency key.
    #[error("there was no word from the log in time: the command may or may not have happened")]
    Unknown,
}

/// A command's record, as it stands in the log.
#[derive(Clone, Debug)]
pub struct Executed<D: Decider> {
    pub accepted: Accepted<D>,
    /// An earlier command with the same idempotency key wrote it.
    pub replayed: bool,
}

/// What a command came to, as a label.
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
