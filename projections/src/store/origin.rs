//! The file that rows come from: every error names it.

use std::path::{Path, PathBuf};

use orderlog_domain::key::Key;
use sqlx::{ColumnIndex, Decode, Row, Sqlite, Type, sqlite::SqliteRow};

use crate::error::StoreError;

/// SQLite's result codes for a file that is not, or no longer, a database.
const DAMAGE: [i32; 2] = [11, 26];

/// A service's file, for errors.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: PathBuf,
}

impl Origin {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// What an error of SQLite means to whoever runs the service.
    pub(crate) fn error(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        let code = source.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
        match code {
            // Extended codes have the kind of error in their low byte.
            Some(code) if DAMAGE.contains(&(code & 0xff)) => self.damaged(format!("{doing}: {source}")),
            Some(_) | None => StoreError::Database { doing, file: self.file.clone(), source: source.into() },
        }
    }

    /// The same, of the connection that writes.
    pub(crate) fn refused(&self, doing: &'static str, source: rusqlite::Error) -> StoreError {
        match source.sqlite_error() {
            Some(error) if DAMAGE.contains(&(error.extended_code & 0xff)) => self.damaged(format!("{doing}: {source}")),
            Some(_) | None => StoreError::Database { doing, file: self.file.clone(), source: source.into() },
        }
    }

    pub(crate) fn damaged(&self, detail: impl Into<String>) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), detail: detail.into() }
    }

    /// A column's value.
    pub(crate) fn get<'r, T, I>(&self, row: &'r SqliteRow, column: I) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
        I: ColumnIndex<SqliteRow>,
    {
        row.try_get(column).map_err(|error| self.damaged(error.to_string()))
    }

    /// A column that holds 16 bytes.
    pub(crate) fn bytes<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<[u8; 16], StoreError> {
        let bytes: &[u8] = self.get(row, column)?;
        bytes.try_into().map_err(|_| self.damaged(format!("{} bytes where 16 must be", bytes.len())))
    }

    /// A column that holds a key.
    pub(crate) fn key<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<Key, StoreError> {
        self.bytes(row, column).map(Key::from_bytes)
    }

    /// A column that holds an offset or a count.
    pub(crate) fn count<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<u64, StoreError> {
        self.get::<i64, I>(row, column).map(i64::cast_unsigned)
    }
}
