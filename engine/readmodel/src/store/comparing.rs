//! Compares two stores row by row, for rebuilds, second instances and verification.
//!
//! The tables come from the schema, so a new table is compared completely unless [`proof`] excepts it.

use std::path::Path;

use futures_util::TryStreamExt;
use orderlog_core::{
    decider::Decider,
    machine::{CopiedRow, EntityRow},
};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    Origin, Store, copied, follows_records,
    listing::bind,
    reader,
    shapes::{self, Shape},
    writing::insert_into,
};
use crate::{error::StoreError, schema, tables::Tables};

/// The maximum number of reported differences per table. Enough to see a pattern.
const MAX_DIFFERENCES: u32 = 100;

/// A row that differs between two stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub table: String,
    /// The primary key, as SQL.
    pub key: String,
    /// The offset of the record that the row follows from, if the table has one.
    pub offset: Option<u64>,
    /// The row in the examined store, as SQL values, or `None` if it is only in the other one. Invalid UTF-8 is replaced.
    pub here: Option<String>,
    /// The expected row.
    pub there: Option<String>,
}

/// What the rows of a table are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The rows of the other store, folded up to the same offset.
    OtherStore,
    /// The same for `meta`, except for the columns that are specific to one file. [`Pinned::check_base`] checks these.
    Meta,
    /// The records of the topics up to the positions in `copied`, because these positions do not follow from the checkpoint.
    Topics,
    /// `heads` and `fresh_heads` combined, because it depends on the time of writing which one contains a key.
    Heads,
}

fn proof<D: Decider>(tables: &Tables<D>, table: &str) -> Proof {
    match table {
        "meta" => Proof::Meta,
        "heads" | "fresh_heads" => Proof::Heads,
        "copied" => Proof::Topics,
        _ if tables.is_copied(table) => Proof::Topics,
        _ => Proof::OtherStore,
    }
}

/// The columns of `meta` that are specific to one file.
const OF_ONE_FILE: [&str; 2] = ["base", "revision"];

/// Returns SQL for all columns of a row as one text. Null if there is no row.
fn text(columns: &[String], of: &str) -> String {
    columns.iter().map(|column| format!("quote({of}{column})")).collect::<Vec<_>>().join(" || ', ' || ")
}

fn names(columns: &[String], of: &str) -> String {
    columns.iter().map(|column| format!("{of}{column}")).collect::<Vec<_>>().join(", ")
}

/// Returns the query for rows of a table that differ between `main` and the database `other`.
fn comparison(Shape { table, key, columns }: &Shape, other: &str) -> String {
    let joined = key.iter().map(|column| format!("a.{column} = b.{column}")).collect::<Vec<_>>().join(" and ");
    // Compare whole rows with `is not`, which treats null as a value.
    format!(
        "select iif(a.{first} is null, {key_b}, {key_a}), iif(a.{first} is null, null, {here}), \
         iif(b.{first} is null, null, {there}), {offset} \
         from main.{table} a full join {other}.{table} b on {joined} \
         where ({ours}) is not ({theirs}) order by {offset} limit {MAX_DIFFERENCES}",
        // The offset from the only side that has one, or else the smaller one.
        // Copied facts have none, since they do not follow from a record of the journal.
        offset = if other == "other" && columns.iter().any(|column| column == "offset") {
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

/// Returns the query for differing heads that are in neither store's `fresh_heads`. It reads both tables once, in key order.
fn merged_heads() -> String {
    format!(
        "select quote(coalesce(a.key, b.key)), iif(a.key is null, null, quote(a.key) || ', ' || a.offset), \
         iif(b.key is null, null, quote(b.key) || ', ' || b.offset), \
         min(coalesce(a.offset, b.offset), coalesce(b.offset, a.offset)) \
         from main.heads a full join other.heads b on a.key = b.key \
         where a.offset is not b.offset and coalesce(a.key, b.key) not in \
           (select key from main.fresh_heads union all select key from other.fresh_heads) \
         order by 4 limit {MAX_DIFFERENCES}"
    )
}

/// Returns the query for the other differing heads. A lookup uses the newer one of both tables and a merge keeps the fresh one, so
/// these must agree.
fn fresh_heads() -> String {
    let side = |db: &str| {
        format!(
            "(select quote(keys.key) || ', ' || iif(coalesce(f.offset, h.offset) < h.offset, f.offset || ' before ' || h.offset, \
              coalesce(f.offset, h.offset)) from (select 1) left join {db}.fresh_heads f on f.key = keys.key \
              left join {db}.heads h on h.key = keys.key)"
        )
    };
    format!(
        "select quote(key), here, there, null from (select key, {} as here, {} as there from \
           (select key from main.fresh_heads union select key from other.fresh_heads) as keys) \
         where here is not there limit {MAX_DIFFERENCES}",
        side("main"),
        side("other"),
    )
}

/// A consistent view of a store, unaffected by later writes, for a comparison with another one.
pub struct Pinned<D: Decider> {
    tables: &'static Tables<D>,
    connection: SqliteConnection,
    origin: Origin,
    /// The checkpoint: every record below this offset is folded.
    pub next: u64,
    /// The positions up to which facts were copied.
    pub copied: Vec<CopiedRow>,
}

impl<D: Decider> Store<D> {
    /// Pins the current rows, to compare them with another store that is folded from the log.
    pub async fn pin(&self, other: &Self) -> Result<Pinned<D>, StoreError> {
        Pinned::begin(self.tables(), self.origin.clone(), &other.origin.file).await
    }

    /// Pins a snapshot, to compare it with these rows, which must have the same checkpoint.
    pub async fn pin_snapshot(&self, snapshot: &Path) -> Result<Pinned<D>, StoreError> {
        Pinned::begin(self.tables(), Origin::new(snapshot), &self.origin.file).await
    }

    /// Returns the rows that differ between this store and `other`, up to 100 per table. Each store is read from one consistent
    /// state. Both must have the same checkpoint and have copied the same facts.
    pub async fn compare(&self, other: &Self) -> Result<Vec<Difference>, StoreError> {
        let mut pinned = self.pin(other).await?;
        pinned.take_facts_of_other().await?;
        pinned.compare().await
    }
}

impl<D: Decider> Pinned<D> {
    async fn begin(tables: &'static Tables<D>, origin: Origin, other: &Path) -> Result<Self, StoreError> {
        let failed = |error| origin.error("comparing rows", error);
        let mut connection = reader(&origin).await?;
        // Attached files are opened read-only, like the first one.
        sqlx::query("attach ? as other")
            .bind(other.to_string_lossy().into_owned())
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        sqlx::query("begin").execute(&mut connection).await.map_err(failed)?;
        // The transaction's view of each file begins with the first read from it.
        let meta = sqlx::query("select next, (select max(offset) from main.records) from main.meta");
        let meta = meta.fetch_one(&mut connection).await.map_err(failed)?;
        let (next, last) = (origin.count(&meta, 0)?, origin.get::<Option<i64>, _>(&meta, 1)?);
        // Otherwise the other store could never reach this checkpoint.
        follows_records(&origin, next, last.map(|last| origin.counted(last)).transpose()?)?;
        let copied = copied(&origin, &mut connection).await?;
        // Facts from the topics are collected in temporary tables, which SQLite stores in a file if they are large.
        let gathered = |table: &str| proof(tables, table) == Proof::Topics;
        for text in tables.statements() {
            let table = text.strip_prefix("create table ").and_then(|text| text.split(' ').next());
            if table.is_some_and(gathered) {
                let text = text.replacen("create table ", "create table temp.", 1);
                sqlx::query(AssertSqlSafe(text)).execute(&mut connection).await.map_err(failed)?;
            }
        }
        Ok(Self { tables, connection, origin, next, copied })
    }

    /// Adds facts that a copied topic has below the store's position in it.
    pub async fn expect_facts(&mut self, facts: &[EntityRow<D::Entity>]) -> Result<(), StoreError> {
        for table in self.tables.tables.iter().filter(|table| table.copied) {
            // Without a schema, the table's name refers to the one in `temp`.
            let insert = insert_into(table);
            for fact in facts.iter().filter(|fact| fact.aggregate.kind == table.kind) {
                let unwritable = |source| StoreError::Unwritable { kind: table.kind.to_owned(), source };
                let doc = serde_json::to_string(&*fact.entity).map_err(unwritable)?;
                let mut query = sqlx::query(AssertSqlSafe(insert.text()))
                    .bind(fact.aggregate.key.as_bytes().as_slice())
                    .bind(fact.version.cast_signed())
                    .bind(fact.offset.cast_signed());
                for cell in (table.cells)(&fact.entity) {
                    query = bind(query, cell);
                }
                let kept = query.bind(doc).execute(&mut self.connection).await;
                kept.map_err(|error| self.origin.error("gathering copied facts", error))?;
            }
        }
        Ok(())
    }

    /// Adds the expected position in a partition, with the print of the last record before it.
    pub async fn expect_position(&mut self, row: &CopiedRow) -> Result<(), StoreError> {
        let kept = sqlx::query("insert into temp.copied (topic, part, next, print) values (?, ?, ?, ?)")
            .bind(&row.topic)
            .bind(row.part)
            .bind(row.next.cast_signed())
            .bind(row.print.cast_signed())
            .execute(&mut self.connection)
            .await;
        kept.map(drop).map_err(|error| self.origin.error("gathering copied facts", error))
    }

    /// Takes the other store's copied facts as the expected ones.
    async fn take_facts_of_other(&mut self) -> Result<(), StoreError> {
        let shapes = shapes::shapes(self.tables);
        for Shape { table, .. } in shapes.iter().filter(|shape| proof(self.tables, &shape.table) == Proof::Topics) {
            let text = format!("insert into temp.{table} select * from other.{table}");
            let taken = sqlx::query(AssertSqlSafe(text)).execute(&mut self.connection).await;
            taken.map_err(|error| self.origin.error("comparing rows", error))?;
        }
        Ok(())
    }

    /// Returns the rows that differ from the other store, which must have the same checkpoint by now, or from the expected facts. Up
    /// to 100 per table.
    pub async fn compare(mut self) -> Result<Vec<Difference>, StoreError> {
        let mut differences = Vec::new();
        for mut shape in shapes::shapes(self.tables) {
            let text = match proof(self.tables, &shape.table) {
                Proof::OtherStore => comparison(&shape, "other"),
                Proof::Topics => comparison(&shape, "temp"),
                Proof::Meta => {
                    differences.extend(self.check_base().await?);
                    shape.columns.retain(|column| !OF_ONE_FILE.contains(&column.as_str()));
                    comparison(&shape, "other")
                }
                Proof::Heads if shape.table == "heads" => merged_heads(),
                Proof::Heads => fresh_heads(),
            };
            differences.extend(self.differences(shape.table, text).await?);
        }
        Ok(differences)
    }

    /// Checks that `meta.base` matches the hash in the file's header, if there is one, and is not after the checkpoint.
    async fn check_base(&mut self) -> Result<Option<Difference>, StoreError> {
        let failed = |error| self.origin.error("comparing rows", error);
        let meta = sqlx::query("select base, user_version from main.meta, pragma_user_version");
        let meta = meta.fetch_one(&mut self.connection).await.map_err(failed)?;
        let (base, noted): (i64, i32) = (self.origin.get(&meta, 0)?, self.origin.get(&meta, 1)?);
        let is_noted = |base| noted == 0 || noted == schema::base_print(base);
        let is_right = u64::try_from(base).is_ok_and(|base| base <= self.next && is_noted(base));
        Ok((!is_right).then(|| Difference {
            table: "meta".to_owned(),
            key: "base".to_owned(),
            offset: None,
            here: Some(base.to_string()),
            there: Some("another one, by the header of the file".to_owned()),
        }))
    }

    async fn differences(&mut self, table: String, text: String) -> Result<Vec<Difference>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| self.origin.error("comparing rows", error).at(|| table.clone()))?;
        let read = |row: &SqliteRow| {
            let offset = self.origin.get::<Option<i64>, _>(row, 3)?.and_then(|offset| u64::try_from(offset).ok());
            let (key, here, there) = (lossy(row, 0), lossy(row, 1), lossy(row, 2));
            Ok(Difference { table: table.clone(), key: key.unwrap_or_default(), offset, here, there })
        };
        rows.iter().map(read).collect()
    }
}

/// Returns a text column, with invalid UTF-8 replaced.
fn lossy(row: &SqliteRow, column: usize) -> Option<String> {
    let bytes = row.try_get::<Option<&[u8]>, _>(column).ok()?;
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

impl<D: Decider> Store<D> {
    /// Returns the rows that follow from the log, one line of text each, of one table or all. For tests and debugging.
    pub async fn dump(&self, table: Option<&str>) -> Result<Vec<String>, StoreError> {
        let mut shapes = shapes::shapes(self.tables());
        // Exclude tables that depend on timing: how far other services' topics were read, and which heads are not merged yet.
        shapes.retain(|shape| !["copied", "fresh_heads"].contains(&shape.table.as_str()));
        if let Some(unknown) = table.filter(|&table| shapes.iter().all(|shape| shape.table != table)) {
            return Err(StoreError::NoTable { service: D::JOURNAL, kind: unknown.to_owned() });
        }
        let mut connection = reader(&self.origin).await?;
        let mut lines = Vec::new();
        for Shape { table, key, columns } in shapes.iter().filter(|it| table.is_none_or(|table| it.table == table)) {
            let columns: Vec<_> = columns.iter().filter(|it| !OF_ONE_FILE.contains(&it.as_str())).cloned().collect();
            let text = format!("select '{table} ' || {} from {table} order by {}", text(&columns, ""), key.join(", "));
            let mut rows = sqlx::query(AssertSqlSafe(text)).fetch(&mut connection);
            while let Some(row) = rows.try_next().await.map_err(|error| self.origin.error("printing rows", error))? {
                lines.extend(lossy(&row, 0));
            }
        }
        Ok(lines)
    }
}
