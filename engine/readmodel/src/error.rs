//! What can go wrong with a service's file.

use std::path::PathBuf;

/// Why rows could not be read or written. The file is only a copy of what the log says: where it can't be used, deleting
/// it is always safe.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or a file in it can't be used.
    #[error("{} can't be used", path.display())]
    Folder {
        /// What can't be used.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another process, or another store of this one, has the file open.
    #[error("{} is in use by another process: two must not share a data folder", file.display())]
    InUse { file: PathBuf },
    /// The file is no SQLite file, or holds what the program never writes.
    #[error("{} is damaged ({detail}): build the rows anew from the log with `orderlog projection rebuild --yes`", file.display())]
    Damaged {
        file: PathBuf,
        /// What is wrong, with the table and the row where they are known. Never a value of the row: it may be personal.
        detail: String,
    },
    /// The file belongs to another service, or to another program.
    #[error("{} holds {found}, not the rows of `{service}`: move it away, or choose another data folder (the rows are \
             rebuilt from the log)", file.display())]
    Foreign {
        file: PathBuf,
        /// What it holds instead.
        found: String,
        /// The service that was to use it.
        service: &'static str,
    },
    /// Changes that do not follow on what is stored; nothing was written.
    #[error(
        "the rows of `{service}` are damaged: meta says that they stand at offset {stored}, and changes from {from} to {to} do not \
         follow on that: build the rows anew from the log with `orderlog projection rebuild {service} --yes`"
    )]
    OutOfOrder {
        service: &'static str,
        /// The first offset that is not folded in the file.
        stored: u64,
        /// The first of the changes.
        from: u64,
        /// The offset behind the changes.
        to: u64,
    },
    /// A kind of aggregate without a table.
    #[error("`{service}` has no table for `{kind}`")]
    NoTable { service: &'static str, kind: String },
    /// A cursor that no page of this list ended with.
    #[error("not a cursor of this list")]
    Cursor,
    /// An aggregate that has no JSON form.
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
    /// Whether the rows themselves are wrong, so that no other try helps and only a rebuild repairs them.
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

    /// The same error, saying where the damage is, if it is damage.
    pub(crate) fn at(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Self::Damaged { file, detail } => Self::Damaged { file, detail: format!("{}: {detail}", place()) },
            other => other,
        }
    }
}
