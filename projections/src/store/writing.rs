//! Everything that changed goes into the file in one transaction, checkpoint and all.

use orderlog_domain::{
    core::{Changes, EntityRow, Happened, Verdict},
    key::Key,
};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::{
    Origin, Store,
    insert::{Conflict, Insert},
    opening,
};
use crate::{
    error::StoreError,
    generations::Generations,
    schema,
    tables::{Cell, Ledger, Table, Tables},
};

/// The one connection that writes a service's rows, with its prepared texts. Owned by one task: two would only wait for
/// each other, and their changes could not both follow on what is stored.
pub struct Writer<D: Tables> {
    connection: SqliteConnection,
    heads: Insert,
    records: Insert,
    touched: Insert,
    parked: Insert,
    discarded: Insert,
    copied: Insert,
    tables: Vec<(&'static Table<D::Entity>, Insert)>,
    ledgers: Vec<(&'static Ledger<D>, Insert)>,
    /// Held as long as anybody may write.
    _generations: Generations<D>,
}

impl<D: Tables> Writer<D> {
    pub(super) async fn open(origin: &Origin, generations: Generations<D>) -> Result<Self, StoreError> {
        let connection = SqliteConnection::connect_with(&opening::writing(&origin.file))
            .await
            .map_err(|error| origin.error("opening the rows for writing", error))?;
        Ok(Self {
            connection,
            heads: Insert::new("heads", &["key"], &["key", "last", "offset"], &Conflict::Replace),
            records: Insert::new(
                "records",
                &["offset"],
                &["offset", "id", "clock_ms", "about", "verdict", "digest"],
                &Conflict::Never,
            ),
            touched: Insert::new("touched", &["offset", "line"], &["offset", "line", "key"], &Conflict::Keep),
            parked: Insert::new("parked", &["key", "offset"], &["key", "offset", "reason"], &Conflict::Replace),
            discarded: Insert::new(
                "discarded",
                &["offset"],
                &["offset", "discarded_by", "time_ms", "reason"],
                &Conflict::Keep,
            ),
            copied: Insert::new("copied", &["topic", "part"], &["topic", "part", "next"], &Conflict::Replace),
            tables: D::TABLES.iter().map(|table| (table, insert_into(table))).collect(),
            ledgers: D::LEDGERS.iter().map(|ledger| (ledger, append_to(ledger))).collect(),
            _generations: generations,
        })
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

fn insert_into<E>(table: &Table<E>) -> Insert {
    let extra = table.columns.iter().map(|column| column.name);
    let columns: Vec<&str> = ["key", "version", "offset"].into_iter().chain(extra).chain(["doc"]).collect();
    let newer = format!("excluded.version > {}.version", table.kind);
    let conflict = if table.copied { Conflict::ReplaceIf(&newer) } else { Conflict::Replace };
    Insert::new(table.kind, &["key"], &columns, &conflict)
}

fn append_to<D: Tables>(ledger: &Ledger<D>) -> Insert {
    let extra = ledger.columns.iter().map(|column| column.name);
    let columns: Vec<&str> = ["offset", "line"].into_iter().chain(extra).collect();
    // Kept: what was parked may be folded without a new record, by which a repeated change set would be told.
    Insert::new(ledger.name, &["offset", "line"], &columns, &Conflict::Keep)
}

impl<D: Tables> Store<D> {
    /// A connection to write with.
    ///
    /// # Errors
    /// If the file can't be opened.
    pub async fn writer(&self) -> Result<Writer<D>, StoreError> {
        Writer::open(&self.origin, self.generations.clone()).await
    }

    /// Writes `changes` and the checkpoint in one transaction. Changes that are there already are not written again, so
    /// after an error whose outcome is unknown the same call settles it.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] if `changes` don't follow on what is stored; else SQLite's. Nothing was written then,
    /// unless the transaction's very end failed.
    pub async fn write(&self, writer: &mut Writer<D>, changes: &Changes<D>) -> Result<(), StoreError> {
        let Writer { connection, heads, records, touched, parked, discarded, copied, tables, ledgers, _generations } =
            writer;
        let failed = |error| self.origin.error("writing rows", error);
        // Immediate: a deferred transaction that reads first can be refused later without having waited.
        let mut transaction = connection.begin_with("begin immediate").await.map_err(failed)?;
        if !self.follows(&mut transaction, changes).await? {
            return Ok(());
        }
        let origin = &self.origin;
        records
            .run(&mut transaction, origin, &changes.records, |row, values| {
                values.add(row.offset.cast_signed()).add(row.id.0.as_bytes().as_slice()).add(row.clock_ms);
                values.add(row.about.as_bytes().as_slice()).add(stored(row.verdict)).add(row.digest.as_slice());
                Ok(())
            })
            .await?;
        // In the order of the keys: neighbours meet on the same page.
        let mut moved: Vec<_> = changes.heads.iter().collect();
        moved.sort_unstable_by_key(|(key, _)| *key);
        heads
            .run(&mut transaction, origin, &moved, |(key, head), values| {
                values.add(key.as_bytes().as_slice()).add(head.last.0.as_bytes().as_slice());
                values.add(head.offset.cast_signed());
                Ok(())
            })
            .await?;
        write_entities::<D>(&mut transaction, origin, tables, &changes.entities).await?;
        write_touched(&mut transaction, origin, touched, changes).await?;
        write_ledgers(&mut transaction, origin, ledgers, changes).await?;
        write_set_aside(&mut transaction, origin, (parked, discarded), changes).await?;
        copied
            .run(&mut transaction, origin, &changes.copied, |(topic, part, next), values| {
                values.add(topic.clone()).add(i64::from(*part)).add(next.cast_signed());
                Ok(())
            })
            .await?;
        self.advance(&mut transaction, changes).await?;
        transaction.commit().await.map_err(failed)
    }

    /// Deletes all rows, so that they can be built anew from the log's beginning. The indexes stay.
    ///
    /// # Errors
    /// If SQLite refuses: then nothing was deleted.
    pub async fn clear(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        let failed = |error| self.origin.error("deleting rows", error);
        let mut transaction = writer.connection.begin_with("begin immediate").await.map_err(failed)?;
        for table in schema::table_names::<D>() {
            let text = AssertSqlSafe(format!("delete from {table}"));
            sqlx::query(text).persistent(false).execute(&mut *transaction).await.map_err(failed)?;
        }
        sqlx::query("update meta set next = 0, base = 0, genesis = null, revision = revision + 1")
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Whether `changes` are the next ones; not if they are stored already.
    async fn follows(&self, connection: &mut SqliteConnection, changes: &Changes<D>) -> Result<bool, StoreError> {
        let stored = sqlx::query_scalar::<_, i64>("select next from meta")
            .fetch_one(connection)
            .await
            .map_err(|error| self.origin.error("reading the checkpoint", error))?
            .cast_unsigned();
        let from = changes.records.first().map_or(changes.next, |record| record.offset);
        if stored == changes.next && from < stored {
            return Ok(false);
        }
        // Offsets may be missing in the log (markers that are no records), so the first may also be above.
        if from < stored || changes.next < stored {
            return Err(StoreError::OutOfOrder { service: D::JOURNAL, stored, from, to: changes.next });
        }
        Ok(true)
    }

    async fn advance(&self, connection: &mut SqliteConnection, changes: &Changes<D>) -> Result<(), StoreError> {
        let genesis = changes.genesis.as_ref().map(serde_json::to_string).transpose();
        let genesis = genesis.map_err(|source| StoreError::Unwritable { kind: "genesis".to_owned(), source })?;
        sqlx::query("update meta set next = ?, genesis = coalesce(?, genesis)")
            .bind(changes.next.cast_signed())
            .bind(genesis)
            .execute(connection)
            .await
            .map_err(|error| self.origin.error("writing the checkpoint", error))?;
        Ok(())
    }
}

/// What is parked and what is discarded, and what that makes of records that were folded before.
async fn write_set_aside<D: Tables>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    (parked, discarded): (&Insert, &Insert),
    changes: &Changes<D>,
) -> Result<(), StoreError> {
    let failed = |error| origin.error("revising rows", error);
    for (offset, verdict) in &changes.verdicts {
        let update = sqlx::query("update records set verdict = ? where offset = ?");
        let update = update.bind(stored(*verdict)).bind(offset.cast_signed());
        update.execute(&mut *connection).await.map_err(failed)?;
    }
    for offset in &changes.unparked {
        let delete = sqlx::query("delete from parked where offset = ?").bind(offset.cast_signed());
        delete.execute(&mut *connection).await.map_err(failed)?;
    }
    if !changes.verdicts.is_empty() {
        let count = sqlx::query("update meta set revision = revision + 1");
        count.execute(&mut *connection).await.map_err(failed)?;
    }
    parked
        .run(connection, origin, &changes.parked, |row, values| {
            values.add(row.key.as_bytes().as_slice()).add(row.offset.cast_signed()).add(row.reason.clone());
            Ok(())
        })
        .await?;
    discarded
        .run(connection, origin, &changes.discarded, |row, values| {
            values.add(row.offset.cast_signed()).add(row.by.cast_signed()).add(row.time_ms).add(row.reason.clone());
            Ok(())
        })
        .await
}

async fn write_entities<D: Tables>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    tables: &[(&'static Table<D::Entity>, Insert)],
    entities: &[EntityRow<D::Entity>],
) -> Result<(), StoreError> {
    let known = |kind| tables.iter().any(|(table, _)| table.kind == kind);
    if let Some(unknown) = entities.iter().find(|row| !known(row.aggregate.kind)) {
        return Err(StoreError::NoTable { service: D::JOURNAL, kind: unknown.aggregate.kind.to_owned() });
    }
    for (table, insert) in tables {
        let mut rows: Vec<_> = entities.iter().filter(|row| row.aggregate.kind == table.kind).collect();
        rows.sort_unstable_by_key(|row| row.aggregate.key);
        insert
            .run(connection, origin, &rows, |row, values| {
                let doc = serde_json::to_string(&*row.entity)
                    .map_err(|source| StoreError::Unwritable { kind: table.kind.to_owned(), source })?;
                values.add(row.aggregate.key.as_bytes().as_slice());
                values.add(row.version.cast_signed()).add(row.offset.cast_signed());
                values.cells((table.cells)(&row.entity)).add(doc);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn write_touched<D: Tables>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    insert: &Insert,
    changes: &Changes<D>,
) -> Result<(), StoreError> {
    let others = |happened: &Happened<D>| {
        let (offset, others) = (happened.at.offset.cast_signed(), happened.touched.iter().skip(1));
        (0_i64..)
            .zip(others.map(|aggregate| aggregate.key))
            .map(move |(line, key)| (offset, line, key))
            .collect::<Vec<_>>()
    };
    let lines: Vec<(i64, i64, Key)> = changes.happened.iter().flat_map(others).collect();
    insert
        .run(connection, origin, &lines, |(offset, line, key), values| {
            values.add(*offset).add(*line).add(key.as_bytes().as_slice());
            Ok(())
        })
        .await
}

async fn write_ledgers<D: Tables>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    ledgers: &[(&'static Ledger<D>, Insert)],
    changes: &Changes<D>,
) -> Result<(), StoreError> {
    for (ledger, insert) in ledgers {
        let mut lines: Vec<(i64, i64, Vec<Cell>)> = Vec::new();
        for happened in &changes.happened {
            let of_event = (ledger.lines)(&happened.at, &happened.event).into_iter();
            lines.extend((0..).zip(of_event).map(|(line, cells)| (happened.at.offset.cast_signed(), line, cells)));
        }
        insert
            .run(connection, origin, &lines, |(offset, line, cells), values| {
                values.add(*offset).add(*line).cells(cells.clone());
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// A verdict as stored. Never give a number another meaning.
pub(super) const fn stored(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Accepted => 0,
        Verdict::Void => 1,
        Verdict::Parked => 2,
        Verdict::Discarded => 3,
    }
}
