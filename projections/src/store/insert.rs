//! Many rows per statement. Every execution is a round trip to SQLite's thread, so single rows cap out at 17,000 a second;
//! a few fixed sizes keep the texts few enough to stay prepared.

use std::sync::Arc;

use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type, sqlite::SqliteArguments};

use super::Origin;
use crate::{error::StoreError, tables::Cell};

/// Rows per statement, the largest that fits first: an odd number of rows takes a dozen statements at most.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// SQLite's limit of values per statement.
const MAX_BINDS: usize = 32_766;

/// What to do with a row that is there already.
pub(crate) enum Conflict<'a> {
    /// It can't be: an error.
    Never,
    /// Keep the old one.
    Keep,
    /// Take all columns but the key from the new one.
    Replace,
    /// The same if this holds.
    ReplaceIf(&'a str),
}

/// The values of one row.
pub(crate) struct Values<'a> {
    arguments: &'a mut SqliteArguments,
    failed: &'a mut Option<sqlx::Error>,
}

impl Values<'_> {
    pub(crate) fn add<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.failed.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    pub(crate) fn cells(&mut self, cells: Vec<Cell>) -> &mut Self {
        for cell in cells {
            match cell {
                Cell::Null => self.add(None::<i64>),
                Cell::Integer(number) => self.add(number),
                Cell::Text(text) => self.add(text),
                Cell::Name(text) => self.add(text),
                Cell::Blob(bytes) => self.add(bytes),
            };
        }
        self
    }
}

/// How rows come into one table.
pub(crate) struct Insert {
    table: &'static str,
    texts: Vec<(usize, Arc<str>)>,
    columns: usize,
}

impl Insert {
    pub(crate) fn new(table: &'static str, key: &[&str], columns: &[&str], conflict: &Conflict<'_>) -> Self {
        let row = format!("({})", vec!["?"; columns.len()].join(","));
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
        let texts = SIZES
            .into_iter()
            .filter(|&rows| rows * columns.len() <= MAX_BINDS)
            .map(|rows| {
                let values = vec![row.as_str(); rows].join(",");
                (rows, format!("insert into {table} ({}) values {values}{end}", columns.join(",")).into())
            })
            .collect();
        Self { table, texts, columns: columns.len() }
    }

    /// Inserts all `rows`. While SQLite's thread executes one statement, the values of the next are made.
    pub(crate) async fn run<R>(
        &self,
        connection: &mut SqliteConnection,
        origin: &Origin,
        rows: &[R],
        values: impl Fn(&R, &mut Values<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rest = rows;
        let mut next = self.statement(&mut rest, origin, &values)?;
        while let Some((text, arguments)) = next {
            let executed = async {
                let query = sqlx::query_with(AssertSqlSafe(text), arguments);
                query.execute(&mut *connection).await
            };
            let (executed, made) = tokio::join!(biased; executed, async { self.statement(&mut rest, origin, &values) });
            executed.map_err(|error| origin.error("writing rows", error))?;
            next = made?;
        }
        Ok(())
    }

    /// The next statement and its values, if rows are left.
    fn statement<R>(
        &self,
        rest: &mut &[R],
        origin: &Origin,
        values: &impl Fn(&R, &mut Values<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<(Arc<str>, SqliteArguments)>, StoreError> {
        let Some((size, text)) = self.texts.iter().find(|(size, _)| *size <= rest.len()) else {
            return Ok(None);
        };
        let (rows, others) = rest.split_at(*size);
        *rest = others;
        let mut arguments = SqliteArguments::default();
        arguments.reserve(size * self.columns, 0);
        let mut failed = None;
        for row in rows {
            values(row, &mut Values { arguments: &mut arguments, failed: &mut failed })?;
        }
        match failed {
            Some(error) => Err(origin.error("making values", error)),
            None if arguments.len() == size * self.columns => Ok(Some((text.clone(), arguments))),
            None => Err(origin.error(
                "making values",
                sqlx::Error::Protocol(format!("`{}` has another number of columns than of values", self.table)),
            )),
        }
    }
}
