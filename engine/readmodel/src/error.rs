//! Errors of a read model's file.

use std::path::PathBuf;

use orderlog_core::words;

/// Why rows could not be read or written. The file is derived from the log, so deleting it is always safe.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} can't be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is in use by another process: two must not share a data folder", file.display())]
    InUse { file: PathBuf },
    /// The file is not an SQLite file, or contains data that this program never writes.
    #[error("{} is damaged ({detail}): rebuild it from the log with `{program} projection rebuild --yes`", file.display(), program = words::program())]
    Damaged {
        file: PathBuf,
        /// The fault, with the table and the row if they are known. Never contains values of the row, which may be personal data.
        detail: String,
    },
    /// The file belongs to another service or program.
    #[error("{} holds {found}, not the rows of `{service}`: move it away, or choose another data folder (the rows are \
             rebuilt from the log)", file.display())]
    Foreign {
        file: PathBuf,
        /// What the file contains instead.
        found: String,
        /// The service that tried to open it.
        service: &'static str,
    },
    /// The changes do not follow the stored checkpoint. Nothing was written.
    #[error(
        "the rows of `{service}` are damaged: meta says that they stand at offset {stored}, and changes from {from} to {to} do not \
         follow on that: rebuild them from the log with `{program} projection rebuild {service} --yes`",
        program = words::program()
    )]
    OutOfOrder {
        service: &'static str,
        /// The file's checkpoint: the first offset that is not folded.
        stored: u64,
        /// The first offset of the changes.
        from: u64,
        /// One past the last offset of the changes.
        to: u64,
    },
    #[error("`{service}` has no table for `{kind}`")]
    NoTable { service: &'static str, kind: String },
    #[error("not a cursor of this list")]
    Cursor,
    #[error("an aggregate of `{kind}` can't be written as JSON")]
    Unwritable {
        kind: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} failed on {}", doing, file.display())]
    Database {
        doing: &'static str,
        file: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Returns whether the rows are damaged, so that retrying does not help and only a rebuild repairs them.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::OutOfOrder { .. } => true,
            Self::Folder { .. }
            | Self::InUse { .. }
            | Self::Foreign { .. }
            | Self::NoTable { .. }
            | Self::Cursor
            | Self::Unwritable { .. }
            | Self::Database { .. } => false,
        }
    }

    /// Adds the place to the error if it is [`StoreError::Damaged`].
    pub(crate) fn at(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Damaged { file, detail } => Self::Damaged { file, detail: format!("{}: {detail}", place()) },
            other => other,
        }
    }
}
