//! Inserts rows into a table. They are sent to the writing thread in chunks whose values share one buffer.

use std::{ops::Range, sync::Arc};

use orderlog_core::key::Key;
use rusqlite::{
    Connection,
    types::{ToSqlOutput, ValueRef},
};

use super::{Origin, connection::WritingConnection};
use crate::{error::StoreError, tables::Cell};

/// The number of rows per chunk. While SQLite inserts one chunk, the values of the next are prepared.
const N_ROWS: usize = 512;

/// What to do if a row with the same key exists.
pub(crate) enum Conflict<'a> {
    /// Fail.
    Never,
    /// Keep the existing row.
    Keep,
    /// Take all columns but the key from the new row.
    Replace,
    /// Replace if this SQL condition holds, otherwise keep.
    ReplaceIf(&'a str),
}

/// A value. Texts and blobs are ranges of [`Values::bytes`].
enum Value {
    Null,
    Integer(i64),
    Text(Range<usize>),
    Blob(Range<usize>),
}

/// The values of a chunk of rows, row after row.
#[derive(Default)]
pub(crate) struct Values {
    values: Vec<Value>,
    bytes: Vec<u8>,
}

impl Values {
    fn null(&mut self) -> &mut Self {
        self.values.push(Value::Null);
        self
    }

    pub(crate) fn integer(&mut self, number: i64) -> &mut Self {
        self.values.push(Value::Integer(number));
        self
    }

    pub(crate) fn offset(&mut self, offset: u64) -> &mut Self {
        self.integer(offset.cast_signed())
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        let range = self.copy(bytes);
        self.values.push(Value::Blob(range));
        self
    }

    pub(crate) fn key(&mut self, key: &Key) -> &mut Self {
        self.blob(key.as_bytes())
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let range = self.copy(text.as_bytes());
        self.values.push(Value::Text(range));
        self
    }

    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<&mut Self, serde_json::Error> {
        let start = self.bytes.len();
        serde_json::to_writer(&mut self.bytes, value)?;
        self.values.push(Value::Text(start..self.bytes.len()));
        Ok(self)
    }

    pub(crate) fn cells(&mut self, cells: &[Cell]) -> &mut Self {
        for cell in cells {
            match cell {
                Cell::Null => self.null(),
                Cell::Integer(number) => self.integer(*number),
                Cell::Text(text) => self.text(text),
                Cell::Name(text) => self.text(text),
                Cell::Blob(bytes) => self.blob(bytes),
            };
        }
        self
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn get(&self, value: &Value) -> ToSqlOutput<'_> {
        ToSqlOutput::Borrowed(match value {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(range) => ValueRef::Text(&self.bytes[range.clone()]),
            Value::Blob(range) => ValueRef::Blob(&self.bytes[range.clone()]),
        })
    }
}

/// An insert statement of one table.
pub(crate) struct Insert {
    text: Arc<str>,
    n_columns: usize,
}

impl Insert {
    pub(crate) fn new(table: &'static str, key: &[&str], columns: &[&str], conflict: &Conflict<'_>) -> Self {
        let replace = || {
            let others = columns.iter().filter(|column| !key.contains(column));
            let set: Vec<String> = others.map(|column| format!("{column}=excluded.{column}")).collect();
            format!(" on conflict ({}) do update set {}", key.join(","), set.join(","))
        };
        let end = match conflict {
            Conflict::Never => String::new(),
            Conflict::Keep => " on conflict do nothing".to_owned(),
            Conflict::Replace => replace(),
            Conflict::ReplaceIf(condition) => format!("{} where {condition}", replace()),
        };
        let holes = vec!["?"; columns.len()].join(",");
        let text = format!("insert into {table} ({}) values ({holes}){end}", columns.join(",")).into();
        Self { text, n_columns: columns.len() }
    }

    /// The SQL, with a `?` for each column.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Inserts `rows` as parts of the current change set.
    pub(crate) async fn run<R>(
        &self,
        connection: &WritingConnection,
        rows: &[R],
        values_of: impl Fn(&R, &mut Values) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for chunk in rows.chunks(N_ROWS) {
            let mut values = Values::default();
            values.values.reserve(chunk.len() * self.n_columns);
            for row in chunk {
                values_of(row, &mut values)?;
            }
            assert_eq!(values.values.len(), chunk.len() * self.n_columns, "as many values as columns: {}", self.text);
            let (text, n_columns) = (self.text.clone(), self.n_columns);
            connection.part(move |to, origin| insert(to, origin, &text, &values, n_columns)).await;
        }
        Ok(())
    }
}

fn insert(to: &Connection, origin: &Origin, text: &str, values: &Values, n_columns: usize) -> Result<(), StoreError> {
    let failed = |error| origin.refused("writing rows", error);
    let mut statement = to.prepare_cached(text).map_err(failed)?;
    for row in values.values.chunks(n_columns) {
        for (number, value) in (1..).zip(row) {
            statement.raw_bind_parameter(number, values.get(value)).map_err(failed)?;
        }
        statement.raw_execute().map_err(failed)?;
    }
    Ok(())
}
