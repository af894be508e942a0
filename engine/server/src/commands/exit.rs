//! The exit codes of the program, which are part of its contract: scripts depend on them.

use std::process::ExitCode;

use orderlog_eventlog::ReadError;

/// For `--help`.
pub const HELP: &str =
    "Exit codes: 0 done, 1 error, 2 wrong usage, 3 verification found differences, 4 unavailable, 5 refused";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command succeeded.
    Done,
    Failed,
    /// Wrong usage that only the command itself could detect.
    Usage,
    /// Read models differ from the log, or an export from what was written.
    Differs,
    /// Something that it needs does not answer or is not available now.
    Unavailable,
    /// Not allowed in the current state.
    Refused,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            // Like clap.
            Self::Usage => 2,
            Self::Differs => 3,
            Self::Unavailable => 4,
            Self::Refused => 5,
        }
    }

    /// The most severe of several outcomes: differences outrank anything that could not be checked.
    pub fn worst(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let severity = |exit: &Self| match exit {
            Self::Done => 0,
            Self::Usage => 1,
            Self::Refused => 2,
            Self::Unavailable => 3,
            Self::Failed => 4,
            Self::Differs => 5,
        };
        outcomes.into_iter().max_by_key(severity).unwrap_or(Self::Done)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&ReadError> for Exit {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::UnknownTopic { .. } | ReadError::OutOfRange { .. } => Self::Refused,
            ReadError::Damaged { .. } => Self::Differs,
            ReadError::Unavailable { .. } => Self::Unavailable,
        }
    }
}

/// An error with its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    /// Something that the command needs does not answer or is not available now.
    pub fn unavailable(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Unavailable, message: message.into() }.into()
    }

    /// The log can't be read.
    pub fn unread(error: ReadError) -> anyhow::Error {
        Self { exit: (&error).into(), message: error.to_string() }.into()
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, message: message.into() }.into()
    }

    /// Read models, snapshots, the log or an export are not what they should be.
    pub fn differs(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Differs, message: message.into() }.into()
    }

    /// Not allowed in the current state.
    pub fn refused(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Refused, message: message.into() }.into()
    }
}

/// The exit code for an error.
pub fn of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::Failed, |failure| failure.exit)
}
