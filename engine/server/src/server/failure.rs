//! Why a process could not start, and with which exit code that ends.

use std::{error::Error, path::PathBuf};

use orderlog_eventlog::{TopicError, embedded::OpenError, kafka::ConnectError};
use orderlog_http::{service::parts::NotStarted, tls::TlsError};
use orderlog_readmodel::StoreError;
use orderlog_runtime::{assembly::AssemblyError, identity::IdentityError, replica};
use uuid::Uuid;

use super::{HashKeyError, SecureError};
use crate::config::SecretError;

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or is none of this machine.
    #[error("{address} can't be listened on")]
    Listen {
        /// What was asked for.
        address: String,
        source: std::io::Error,
    },
    #[error("the data folder {} can't be used", dir.display())]
    Data { dir: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Embedded(#[from] OpenError),
    #[error(transparent)]
    Kafka(#[from] ConnectError),
    #[error(transparent)]
    Topics(#[from] TopicError),
    #[error(transparent)]
    HashKey(#[from] HashKeyError),
    /// A journal does not begin as one of this program's does.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A command needs a log, and nobody has begun one there.
    #[error(
        "no log has begun in {place}: check --data and --log, start `orderlog serve` on it once, or import an export"
    )]
    NoLog {
        /// The data folder, or the brokers.
        place: String,
    },
    /// Going on from here would make half of a history the whole of it.
    #[error(
        "the log holds half of an import (of export {export_id}): resume it with `orderlog log import DIR {log}`, where DIR is that \
         export, or undo it with `orderlog log import --undo {log}`"
    )]
    HalfImport {
        export_id: Uuid,
        /// The options that name the log.
        log: String,
    },
    /// It would be open to those who must not come in.
    #[error(transparent)]
    Secure(#[from] SecureError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate, its key, or those of others.
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Service(#[from] NotStarted),
}

impl StartError {
    /// As commands tell it that need the log for themselves.
    pub fn told(self) -> anyhow::Error {
        match self {
            Self::Embedded(OpenError::InUse { .. }) => crate::commands::Failure::unavailable(format!(
                "{self}; that one does not answer where it said it would, --server says where it is"
            )),
            error => error.with_exit(),
        }
    }

    /// With the exit code that it stands for.
    pub fn with_exit(self) -> anyhow::Error {
        match self {
            Self::HalfImport { .. }
            | Self::NoLog { .. }
            | Self::Identity(
                IdentityError::NoGenesis { .. } | IdentityError::Format { .. } | IdentityError::OtherHashKey { .. },
            )
            | Self::HashKey(
                HashKeyError::Empty { .. }
                | HashKeyError::NotSet
                | HashKeyError::Missing { .. }
                | HashKeyError::Ambiguous { .. }
                | HashKeyError::Other { .. },
            )
            | Self::Secure(SecureError::NoKeys { .. } | SecureError::NoTls { .. } | SecureError::Forgeable) => {
                crate::commands::Failure::refused(self.to_string())
            }
            Self::Service(ref why) if is_other_history(why) => {
                crate::commands::Failure::refused(format!("{:#}", anyhow::Error::from(self)))
            }
            Self::Embedded(
                OpenError::Folder { .. }
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

/// Whether a service can't start since its rows are another log's.
fn is_other_history(error: &NotStarted) -> bool {
    let why = error.source().and_then(|why| why.downcast_ref());
    matches!(why, Some(AssemblyError::Replica(replica::StartError::OtherHistory { .. })))
}

/// Whether a service can't start since the files of its rows can't be read or written, though they are not damaged.
fn has_unusable_rows(error: &NotStarted) -> bool {
    let why = error.source().and_then(|why| why.downcast_ref());
    matches!(
        why,
        Some(AssemblyError::Replica(replica::StartError::Rows(
            StoreError::Database { .. } | StoreError::Folder { .. }
        )))
    )
}
