//! Why a process could not start, and the exit code for each reason.

use std::{error::Error, io::ErrorKind, path::PathBuf};

use orderlog_core::words;
use orderlog_eventlog::{
    TopicError,
    embedded::OpenError,
    kafka::{ConnectError, Unreachable},
};
use orderlog_http::{auth::KeyFileError, service::parts::NotStarted, tls::TlsError};
use orderlog_readmodel::StoreError;
use orderlog_runtime::{assembly::AssemblyError, identity::IdentityError, replica};
use uuid::Uuid;

use super::{HashKeyError, SecureError};
use crate::config::SecretError;

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or does not belong to this machine.
    #[error("{address} can't be listened on")]
    Listen { address: String, source: std::io::Error },
    #[error("the data folder {} can't be used", dir.display())]
    Data { dir: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Embedded(#[from] OpenError),
    #[error(transparent)]
    Kafka(#[from] ConnectError),
    #[error("{0}; check --log, or start the brokers")]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Topics(#[from] TopicError),
    #[error(transparent)]
    HashKey(#[from] HashKeyError),
    /// A journal does not begin like one of this program.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A command needs a log, but none has begun there.
    #[error(
        "no log has begun in {place}: check --data and --log, start `{program} serve` on it once, or import an export",
        program = words::program()
    )]
    NoLog {
        /// The data folder, or the brokers.
        place: String,
    },
    /// Continuing from here would treat half of a history as all of it.
    #[error(
        "the log holds half of an import (of export {export_id}): resume it with `{program} log import DIR {log}`, where DIR is that \
         export, or undo it with `{program} log import --undo {log}`",
        program = words::program()
    )]
    HalfImport {
        export_id: Uuid,
        /// The options that select the log.
        log: String,
    },
    #[error(transparent)]
    Secure(#[from] SecureError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The server's certificate or key, or the CA certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Service(#[from] NotStarted),
}

impl StartError {
    /// For commands that need exclusive access to the log.
    pub fn told(self) -> anyhow::Error {
        match self {
            Self::Embedded(OpenError::InUse { .. }) => crate::commands::Failure::unavailable(format!(
                "{self}; that one does not answer where it said it would, --server says where it is"
            )),
            error => error.with_exit(),
        }
    }

    /// Attaches the exit code.
    pub fn with_exit(self) -> anyhow::Error {
        match self {
            Self::Listen { ref address, ref source } => listen_failure(address, source),
            Self::Unreachable(_) | Self::Topics(TopicError::Unavailable { .. }) => {
                crate::commands::Failure::unavailable(self.to_string())
            }
            Self::Data { ref source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                crate::commands::Failure::unavailable(format!(
                    "{self}: this user may not use it; choose another folder with --data, or change its owner"
                ))
            }
            Self::Topics(TopicError::Missing { .. }) => crate::commands::Failure::unavailable(format!(
                "{self}; create them as `{} topics plan` prints them, or start without --no-create-topics",
                words::program()
            )),
            Self::HalfImport { .. }
            | Self::Embedded(OpenError::Format { .. })
            | Self::NoLog { .. }
            | Self::Identity(
                IdentityError::NoGenesis { .. }
                | IdentityError::Trimmed { .. }
                | IdentityError::Format { .. }
                | IdentityError::OtherHashKey { .. },
            )
            | Self::HashKey(
                HashKeyError::Empty { .. }
                | HashKeyError::NotSet
                | HashKeyError::Missing { .. }
                | HashKeyError::Ambiguous { .. }
                | HashKeyError::Other { .. },
            )
            | Self::Secure(
                SecureError::NoKeys { .. }
                | SecureError::NoTls { .. }
                | SecureError::Forgeable
                | SecureError::Keys(KeyFileError::Taken(_)),
            ) => crate::commands::Failure::refused(self.to_string()),
            Self::Service(ref why) if is_other_history(why) => {
                crate::commands::Failure::refused(format!("{:#}", anyhow::Error::from(self)))
            }
            Self::Embedded(
                OpenError::InUse { .. }
                | OpenError::Folder { .. }
                | OpenError::Unwritable { .. }
                | OpenError::WriteAheadLog { .. }
                | OpenError::Database { .. },
            ) => crate::commands::Failure::unavailable(self.to_string()),
            Self::Embedded(OpenError::Damaged { .. }) => crate::commands::Failure::differs(self.to_string()),
            Self::Service(ref why) if has_unusable_rows(why) => {
                crate::commands::Failure::unavailable(format!("{:#}", anyhow::Error::from(self)))
            }
            Self::Identity(IdentityError::Read(error)) => crate::commands::Failure::unread(error),
            error => error.into(),
        }
    }
}

/// The next step depends on the cause.
fn listen_failure(address: &str, source: &std::io::Error) -> anyhow::Error {
    let help = match source.kind() {
        ErrorKind::AddrInUse => "another program listens there; stop it, or choose another port with --listen",
        ErrorKind::AddrNotAvailable => "this machine has no such address; choose another one with --listen",
        ErrorKind::PermissionDenied => "this user may not listen on that port; choose one from 1024 on with --listen",
        _ => &source.to_string(),
    };
    crate::commands::Failure::unavailable(format!("{address} can't be listened on: {help}"))
}

/// Whether a service can't start because its read model belongs to another log.
fn is_other_history(error: &NotStarted) -> bool {
    let why = error.source().and_then(|why| why.downcast_ref());
    matches!(why, Some(AssemblyError::Replica(replica::StartError::OtherHistory { .. })))
}

/// Whether a service can't start because its read model's files can't be read or written, though they are not damaged.
fn has_unusable_rows(error: &NotStarted) -> bool {
    let why = error.source().and_then(|why| why.downcast_ref());
    matches!(
        why,
        Some(AssemblyError::Replica(replica::StartError::Rows(
            StoreError::Database { .. } | StoreError::Folder { .. }
        )))
    )
}
