//! Row by row over every table: what a rebuild, a second instance or a verification must find equal.
//!
//! The tables come from the schema, so a new one is compared as a whole until a [`Proof`] says otherwise.

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

/// Differences that are reported per table: enough to see a pattern.
const MAX_DIFFERENCES: u32 = 100;

/// A row that two stores do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub table: String,
    /// Its primary key, as SQL.
    pub key: String,
    /// The record that it follows from, where a row tells.
    pub offset: Option<u64>,
    /// The row in the store that is examined, as SQL values; none if it is only in the other. Bytes that are no UTF-8 are replaced.
    pub here: Option<String>,
    /// The row as it should be.
    pub there: Option<String>,
}

/// With what the rows of a table are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// With the rows of the other store, folded up to the same offset.
    OtherStore,
    /// `meta`: the same, but for what belongs to one file alone, which [`check_base`] looks at.
    Meta,
    /// With what the topics hold up to the positions in `copied`: how far each store has read them does not follow from its checkpoint.
    Topics,
    /// `heads` and `fresh_heads` together: which of them has a key depends on when its rows were written.
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

/// The columns of `meta` that belong to one file alone: where its rows began, and how often they were revised since.
const OF_ONE_FILE: [&str; 2] = ["base", "revision"];

/// All columns of a row as one text, none if there is no row.
fn text(columns: &[String], of: &str) -> String {
    columns.iter().map(|column| format!("quote({of}{column})")).collect::<Vec<_>>().join(" || ', ' || ")
}

fn names(columns: &[String], of: &str) -> String {
    columns.iter().map(|column| format!("{of}{column}")).collect::<Vec<_>>().join(", ")
}

/// The rows of a table that `main` and the database `other` do not have alike.
fn comparison(Shape { table, key, columns }: &Shape, other: &str) -> String {
    let joined = key.iter().map(|column| format!("a.{column} = b.{column}")).collect::<Vec<_>>().join(" and ");
    // The comparison of whole rows: `is not` also tells a null from a value.
    format!(
        "select iif(a.{first} is null, {key_b}, {key_a}), iif(a.{first} is null, null, {here}), \
         iif(b.{first} is null, null, {there}), {offset} \
         from main.{table} a full join {other}.{table} b on {joined} \
         where ({ours}) is not ({theirs}) order by {offset} limit {MAX_DIFFERENCES}",
        // Of the record that one side lacks, or of the earlier one.
        // A copied fact follows from no record of the journal.
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

/// The keys whose head differs where neither store has it in `fresh_heads`: both tables are read once, in the order of their keys.
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

/// The others. What a look-up finds is the newer of both tables, what merging leaves is the fresh one: they must agree.
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

/// A store as it was at one moment, whatever is written to it afterwards, beside another one.
pub struct Pinned<D: Decider> {
    tables: &'static Tables<D>,
    connection: SqliteConnection,
    origin: Origin,
    /// Everything below this offset is in it.
    pub next: u64,
    /// How far it has copied facts of each partition.
    pub copied: Vec<CopiedRow>,
}

impl<D: Decider> Store<D> {
    /// These rows as they are now, to be compared with another store, which is folded from the log.
    ///
    /// # Errors
    /// If they can't be read.
    pub async fn pin(&self, other: &Self) -> Result<Pinned<D>, StoreError> {
        Pinned::begin(self.tables(), self.origin.clone(), &other.origin.file).await
    }

    /// A snapshot, to be compared with these rows, which must have come as far.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn pin_snapshot(&self, snapshot: &Path) -> Result<Pinned<D>, StoreError> {
        Pinned::begin(self.tables(), Origin::new(snapshot), &self.origin.file).await
    }

    /// What differs between this store and `other` in any row that follows from the log, at most 100 rows per table. Both
    /// are read as of one moment each; compare them at the same checkpoint, and once both have copied the same facts.
    ///
    /// # Errors
    /// If either can't be read.
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
        // Attached files are opened as the first one is: for reading only.
        sqlx::query("attach ? as other")
            .bind(other.to_string_lossy().into_owned())
            .execute(&mut connection)
            .await
            .map_err(failed)?;
        sqlx::query("begin").execute(&mut connection).await.map_err(failed)?;
        // The transaction sees what is there when it first reads; of the other file only once it reads that one.
        let meta = sqlx::query("select next, (select max(offset) from main.records) from main.meta");
        let meta = meta.fetch_one(&mut connection).await.map_err(failed)?;
        let (next, last) = (origin.count(&meta, 0)?, origin.get::<Option<i64>, _>(&meta, 1)?);
        // Else the other store would be waited for in vain.
        follows_records(&origin, next, last.map(|last| origin.counted(last)).transpose()?)?;
        let copied = copied(&origin, &mut connection).await?;
        // What the topics say is gathered here, as large as it may be: SQLite keeps it in a file of its own.
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

    /// A topic that facts are copied from has these facts below the position that the store has come to.
    ///
    /// # Errors
    /// If they can't be kept.
    pub async fn expect_facts(&mut self, facts: &[EntityRow<D::Entity>]) -> Result<(), StoreError> {
        for table in self.tables.tables.iter().filter(|table| table.copied) {
            // The table's name alone means the one in `temp`.
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

    /// The last record of a partition below the position that the store has come to.
    ///
    /// # Errors
    /// If it can't be kept.
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

    /// What the other store has copied is what should have been.
    async fn take_facts_of_other(&mut self) -> Result<(), StoreError> {
        let shapes = shapes::shapes(self.tables);
        for Shape { table, .. } in shapes.iter().filter(|shape| proof(self.tables, &shape.table) == Proof::Topics) {
            let text = format!("insert into temp.{table} select * from other.{table}");
            let taken = sqlx::query(AssertSqlSafe(text)).execute(&mut self.connection).await;
            taken.map_err(|error| self.origin.error("comparing rows", error))?;
        }
        Ok(())
    }

    /// What differs between the pinned store and the other, which must stand at the same checkpoint by now, and from what was
    /// expected of copied facts; at most 100 rows per table.
    ///
    /// # Errors
    /// If either can't be read.
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

    /// Where the rows began must be what the file's header says it is, if the header says so, and not behind what they hold.
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

/// A text, whatever bytes it is made of.
fn lossy(row: &SqliteRow, column: usize) -> Option<String> {
    let bytes = row.try_get::<Option<&[u8]>, _>(column).ok()?;
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

impl<D: Decider> Store<D> {
    /// The rows that follow from the log, each as a line of text: of one table, or of all. Meant for tests and for people.
    ///
    /// # Errors
    /// [`StoreError::NoTable`] for an unknown table; else SQLite's.
    pub async fn dump(&self, table: Option<&str>) -> Result<Vec<String>, StoreError> {
        let mut shapes = shapes::shapes(self.tables());
        // How far foreign topics were read, and when heads are merged, depends on when it was done.
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
