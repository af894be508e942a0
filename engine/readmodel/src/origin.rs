//! The file that rows are stored in, to include it in every error.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use orderlog_core::key::Key;
use rusqlite::ffi;
use sqlx::{ColumnIndex, Decode, Row, Sqlite, Type, sqlite::SqliteRow};

use crate::error::StoreError;

/// SQLite's primary result codes for a damaged or foreign file. No statement here can violate a constraint or meet a value of
/// another type unless the rows are inconsistent.
const DAMAGE: [i32; 5] =
    [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_FORMAT, ffi::SQLITE_MISMATCH, ffi::SQLITE_CONSTRAINT];

/// SQLite's extended result codes for the same.
const DAMAGE_EXTENDED: [i32; 2] = [ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_DATA];

/// A service's file, for errors.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: PathBuf,
}

impl Origin {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// Converts an error of a read connection.
    pub(crate) fn error(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        let is_damage = match &source {
            sqlx::Error::Database(error) => {
                let code = error.code().and_then(|code| code.parse().ok());
                code.is_some_and(|code| is_damage(code, error.message()))
            }
            // Every statement names columns of this program's tables, and expects rows that always exist.
            sqlx::Error::RowNotFound
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_) => true,
            _ => false,
        };
        if is_damage { self.damaged(format!("{doing}: {source}")) } else { self.failed(doing, source) }
    }

    /// Converts an error of the write connection.
    pub(crate) fn refused(&self, doing: &'static str, source: rusqlite::Error) -> StoreError {
        let is_damage = match &source {
            rusqlite::Error::SqliteFailure(error, message) => {
                is_damage(error.extended_code, message.as_deref().unwrap_or_default())
            }
            rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::Utf8Error(..) => true,
            _ => false,
        };
        if is_damage { self.damaged(format!("{doing}: {source}")) } else { self.failed(doing, source) }
    }

    fn failed(&self, doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Database { doing, file: self.file.clone(), source: source.into() }
    }

    pub(crate) fn damaged(&self, detail: impl Into<String>) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), detail: detail.into() }
    }

    pub(crate) fn get<'r, T, I>(&self, row: &'r SqliteRow, column: I) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
        I: ColumnIndex<SqliteRow>,
    {
        row.try_get(column).map_err(|error| self.damaged(error.to_string()))
    }

    pub(crate) fn bytes<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<[u8; 16], StoreError> {
        let bytes: &[u8] = self.get(row, column)?;
        bytes.try_into().map_err(|_| self.damaged(format!("{} bytes where 16 must be", bytes.len())))
    }

    pub(crate) fn key<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<Key, StoreError> {
        self.bytes(row, column).map(Key::from_bytes)
    }

    /// Reads an offset, a version or a count.
    pub(crate) fn count<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<u64, StoreError> {
        self.get(row, column).and_then(|number| self.counted(number))
    }

    /// Converts a stored offset, version or count, which must not be negative.
    pub(crate) fn counted(&self, number: i64) -> Result<u64, StoreError> {
        u64::try_from(number).map_err(|_| self.damaged(format!("{number} where no number is below 0")))
    }

    /// Reads any 64 bits.
    pub(crate) fn bits<I: ColumnIndex<SqliteRow>>(&self, row: &SqliteRow, column: I) -> Result<u64, StoreError> {
        self.get(row, column).map(i64::cast_unsigned)
    }
}

/// Returns whether SQLite's extended result code and message mean that the file is damaged or foreign.
fn is_damage(code: i32, message: &str) -> bool {
    DAMAGE.contains(&(code & 0xff))
        || DAMAGE_EXTENDED.contains(&code)
        || (code == ffi::SQLITE_ERROR && says_what_is_missing(message))
}

/// Returns whether the message means a missing table, column or index, or malformed JSON. SQLite has no result codes for these.
fn says_what_is_missing(message: &str) -> bool {
    message.starts_with("no such ") || message.starts_with("malformed ") || message.contains(" has no column named ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_or_a_lock_is_no_damage() {
        for code in
            [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_READONLY]
        {
            assert!(!is_damage(code, ""), "{code}");
        }
        assert!(!is_damage(ffi::SQLITE_ERROR, "output file already exists"));
        for message in
            ["no such table: meta", "no such column: doc", "table meta has no column named base", "malformed JSON"]
        {
            assert!(is_damage(ffi::SQLITE_ERROR, message), "{message}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB, ffi::SQLITE_CONSTRAINT_UNIQUE]
        {
            assert!(is_damage(code, ""), "{code}");
        }
    }
}
