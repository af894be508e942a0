//! What the program's exit code says. Part of its contract: scripts decide by it.

use std::process::ExitCode;

use orderlog_eventlog::ReadError;

/// For `--help`.
pub const HELP: &str =
    "Exit codes: 0 done, 1 error, 2 wrong usage, 3 verification found differences, 4 unavailable, 5 refused";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    Failed,
    /// It was called wrongly, which only the command itself could tell.
    Usage,
    /// Rows are not what the log says, or an export not what was written.
    Differs,
    /// Whom it needs does not answer, or can't now.
    Unavailable,
    /// It must not, as things stand.
    Refused,
}

impl Exit {
    /// The worst of several outcomes: what is not as it was written comes before what could not be looked at.
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
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            // As clap does.
            Exit::Usage => 2,
            Exit::Differs => 3,
            Exit::Unavailable => 4,
            Exit::Refused => 5,
        })
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

/// A failure with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    /// Whom the command needs does not answer, or can't now.
    pub fn unavailable(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Unavailable, message: message.into() }.into()
    }

    /// The log can't be read.
    pub fn unread(error: ReadError) -> anyhow::Error {
        Self { exit: (&error).into(), message: error.to_string() }.into()
    }

    /// It can't be meant like this.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, message: message.into() }.into()
    }

    /// Rows, snapshots, the log or an export are not what they should be.
    pub fn differs(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Differs, message: message.into() }.into()
    }

    /// It must not be done, as things stand.
    pub fn refused(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Refused, message: message.into() }.into()
    }
}

/// The exit code that an error stands for.
pub fn of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::Failed, |failure| failure.exit)
}
