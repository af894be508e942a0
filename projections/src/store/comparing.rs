//! Row by row over every table: what a rebuild, a second instance or a verification must find equal.

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{Origin, Store, reader};
use crate::{
    error::StoreError,
    schema::{self, Shape},
    tables::Tables,
};

/// Differences that are reported per table: enough to see a pattern.
const MAX_DIFFERENCES: u32 = 100;

/// A row that two stores do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its table.
    pub table: &'static str,
    /// Its primary key, as SQL.
    pub key: String,
    /// The record that it follows from, where a row tells.
    pub offset: Option<u64>,
    /// The row here, as SQL values; none if it is only there.
    pub here: Option<String>,
    /// The row there.
    pub there: Option<String>,
}

/// All columns of a row as one text, none if there is no row.
fn text(columns: &[&str], of: &str) -> String {
    columns.iter().map(|column| format!("quote({of}{column})")).collect::<Vec<_>>().join(" || ', ' || ")
}

fn names(columns: &[&str], of: &str) -> String {
    columns.iter().map(|column| format!("{of}{column}")).collect::<Vec<_>>().join(", ")
}

fn comparison(Shape { table, key, columns }: &Shape) -> String {
    let joined = key.iter().map(|column| format!("a.{column} = b.{column}")).collect::<Vec<_>>().join(" and ");
    // The comparison of whole rows: `is not` also tells a null from a value.
    format!(
        "select iif(a.{first} is null, {key_b}, {key_a}), iif(a.{first} is null, null, {here}), \
         iif(b.{first} is null, null, {there}), {offset} \
         from main.{table} a full join other.{table} b on {joined} \
         where ({ours}) is not ({theirs}) order by {offset} limit {MAX_DIFFERENCES}",
        // Of the record that one side lacks, or of the earlier one.
        offset = if columns.contains(&"offset") {
            "min(coalesce(a.offset, b.offset), coalesce(b.offset, a.offset))"
        } else {
            "null"
        },
        first = key[0],
        key_a = text(key, "a."),
        key_b = text(key, "b."),
        here = text(columns, "a."),
        there = text(columns, "b."),
        ours = names(columns, "a."),
        theirs = names(columns, "b."),
    )
}

/// A store as it was at one moment, whatever is written to it afterwards.
pub struct Pinned {
    connection: SqliteConnection,
    origin: Origin,
    /// Everything below this offset is in it.
    pub next: u64,
}

impl<D: Tables> Store<D> {
    /// The store as it is now.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn pin(&self, other: &Self) -> Result<Pinned, StoreError> {
        self.pin_with(&other.origin.file).await
    }

    /// What differs between these rows, which must stand there, and a snapshot; at most 100 rows per table.
    ///
    /// # Errors
    /// If either can't be read.
    pub async fn compare_with(&self, snapshot: &Path) -> Result<Vec<Difference>, StoreError> {
        self.pin_with(snapshot).await?.compare::<D>(Copied::LeftOut).await
    }

    async fn pin_with(&self, other: &Path) -> Result<Pinned, StoreError> {
        let failed = |error| self.origin.error("comparing rows", error);
        let mut connection = reader(&self.origin).await?;
        // Attached files are opened as the first one is: for reading only.
        sqlx::query("attach ? as other")
            .bind(other.to_string_lossy().into_owned())
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        sqlx::query("begin").execute(&mut connection).await.map_err(failed)?;
        // The transaction sees what is there when it first reads; of the other file only once it reads that one.
        let meta = sqlx::query("select next from main.meta").fetch_one(&mut connection).await.map_err(failed)?;
        let next = self.origin.count(&meta, 0)?;
        Ok(Pinned { connection, origin: self.origin.clone(), next })
    }

    /// What differs between this store and `other` in any row that follows from the log, at most 100 rows per table. Both
    /// are read as of one moment each; compare them at the same checkpoint.
    ///
    /// # Errors
    /// If either can't be read.
    pub async fn compare(&self, other: &Self) -> Result<Vec<Difference>, StoreError> {
        self.pin(other).await?.compare::<D>(Copied::Compared).await
    }
}

/// Whether copied facts are compared too: how far each side has read them does not follow from its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Both sides have read everything.
    Compared,
    /// The sides still read.
    LeftOut,
}

impl Pinned {
    /// What differs between the pinned store and the other, which must stand at the same checkpoint by now; at most 100 rows
    /// per table.
    ///
    /// # Errors
    /// If either can't be read.
    pub async fn compare<D: Tables>(self, copied: Copied) -> Result<Vec<Difference>, StoreError> {
        let Self { mut connection, origin, .. } = self;
        let failed = |error| origin.error("comparing rows", error);
        let is_copied = |table: &str| D::TABLES.iter().any(|it| it.kind == table && it.copied);
        let compared = |shape: &Shape| copied == Copied::Compared || !is_copied(shape.table);
        let mut differences = Vec::new();
        for shape in schema::shapes::<D>().into_iter().filter(compared) {
            let text = AssertSqlSafe(comparison(&shape));
            let rows = sqlx::query(text).fetch_all(&mut connection).await.map_err(failed)?;
            let read = |row: &SqliteRow| {
                let table = shape.table;
                let offset = row.try_get::<Option<i64>, _>(3)?.map(i64::cast_unsigned);
                Ok(Difference { table, key: row.try_get(0)?, offset, here: row.try_get(1)?, there: row.try_get(2)? })
            };
            differences.extend(rows.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(failed)?);
        }
        Ok(differences)
    }
}

impl<D: Tables> Store<D> {
    /// The rows that follow from the log, each as a line of text: of one table, or of all. Meant for tests and for people.
    ///
    /// # Errors
    /// [`StoreError::NoTable`] for an unknown table; else SQLite's.
    pub async fn dump(&self, table: Option<&str>) -> Result<Vec<String>, StoreError> {
        let shapes = schema::shapes::<D>();
        if let Some(unknown) = table.filter(|&table| shapes.iter().all(|shape| shape.table != table)) {
            return Err(StoreError::NoTable { service: D::JOURNAL, kind: unknown.to_owned() });
        }
        let mut connection = reader(&self.origin).await?;
        let mut lines = Vec::new();
        for shape in shapes.iter().filter(|shape| table.is_none_or(|table| shape.table == table)) {
            let text = format!(
                "select '{} ' || {} from {} order by {}",
                shape.table,
                text(&shape.columns, ""),
                shape.table,
                shape.key.join(", ")
            );
            let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(text)).fetch(&mut connection);
            while let Some(line) = rows.try_next().await.map_err(|error| self.origin.error("printing rows", error))? {
                lines.push(line);
            }
        }
        Ok(lines)
    }
}
