//! Writes changes and the checkpoint in one transaction.

use std::collections::BTreeMap;

use orderlog_core::{
    decider::{Decider, Millis},
    key::Key,
    machine::{Changes, EntityRow, Happened, Head, RecordRow, Verdict},
};
use rusqlite::{Connection, DropBehavior, Transaction, TransactionBehavior};

use super::{
    Origin, Store,
    connection::{WritingConnection, roll_back},
    insert::{Conflict, Insert, Values},
};
use crate::{
    error::StoreError,
    generations::Generations,
    schema::{self, RECORDS_PER_PERIOD},
    tables::{Cell, Ledger, Table},
};

/// The number of heads that are collected before they are merged. Without this, half of the bytes written for 4 million records
/// were pages with a single new head each.
const N_FRESH_MAX: usize = 100_000;

/// Whether more changes follow immediately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Many more follow, as in a replay. Optimizes for throughput.
    Mass,
    /// None follow immediately. Leaves the tables in a form that can be compared.
    Steady,
}

/// The only connection that writes a service's rows, with its statements. Owned by one task, because two would block each other,
/// and their changes could not both follow the stored checkpoint.
pub struct Writer<D: Decider> {
    connection: WritingConnection,
    heads: Insert,
    fresh_heads: Insert,
    /// An upper bound of the number of rows in `fresh_heads`.
    n_fresh: usize,
    records: Insert,
    touched: Insert,
    parked: Insert,
    discarded: Insert,
    copied: Insert,
    tables: Vec<(&'static Table<D::Entity>, Insert)>,
    ledgers: Vec<(&'static Ledger<D>, Insert)>,
    /// Holds the lock as long as the writer exists.
    _generations: Generations<D>,
}

impl<D: Decider> Writer<D> {
    pub(super) fn open(origin: &Origin, generations: Generations<D>, is_beside: bool) -> Result<Self, StoreError> {
        Ok(Self {
            connection: WritingConnection::open(origin, D::JOURNAL, is_beside)?,
            heads: Insert::new("heads", &["key"], &["key", "offset"], &Conflict::Replace),
            fresh_heads: Insert::new("fresh_heads", &["key"], &["key", "offset"], &Conflict::Replace),
            // An earlier writer may have left any number.
            n_fresh: N_FRESH_MAX,
            records: Insert::new(
                "records",
                &["offset"],
                &["offset", "id", "time_ms", "about", "verdict", "digest"],
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
            copied: Insert::new("copied", &["topic", "part"], &["topic", "part", "next", "print"], &Conflict::Replace),
            tables: generations.tables().tables.iter().map(|table| (table, insert_into(table))).collect(),
            ledgers: generations.tables().ledgers.iter().map(|ledger| (ledger, append_to(ledger))).collect(),
            _generations: generations,
        })
    }

    pub(super) fn connection(&self) -> &WritingConnection {
        &self.connection
    }
}

/// Returns the insert statement of an aggregate's table. For copied facts, the highest version wins.
pub(super) fn insert_into<E>(table: &Table<E>) -> Insert {
    let extra = table.columns.iter().map(|column| column.name);
    let columns: Vec<&str> = ["key", "version", "offset"].into_iter().chain(extra).chain(["doc"]).collect();
    let newer = format!("excluded.version > {}.version", table.kind);
    let conflict = if table.copied { Conflict::ReplaceIf(&newer) } else { Conflict::Replace };
    Insert::new(table.kind, &["key"], &columns, &conflict)
}

fn append_to<D: Decider>(ledger: &Ledger<D>) -> Insert {
    let extra = ledger.columns.iter().map(|column| column.name);
    let columns: Vec<&str> = ["offset", "line"].into_iter().chain(extra).collect();
    // Keep existing rows: a parked record may be folded without a new record, so a repeated change set is not detected.
    Insert::new(ledger.name, &["offset", "line"], &columns, &Conflict::Keep)
}

impl<D: Decider> Store<D> {
    pub async fn writer(&self) -> Result<Writer<D>, StoreError> {
        let is_beside = self.generations.serving()? != self.number;
        Writer::open(&self.origin, self.generations.clone(), is_beside)
    }

    /// Writes `changes` and the checkpoint in one transaction. Changes that were already written are skipped, so after an error with
    /// an unknown outcome, repeat the same call.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] if `changes` do not follow the stored checkpoint, or another error from SQLite. Nothing was
    /// written then, unless the commit itself failed.
    pub async fn write(&self, writer: &mut Writer<D>, changes: &Changes<D>, pace: Pace) -> Result<(), StoreError> {
        let (from, next) = (changes.records.first().map_or(changes.next, |record| record.offset), changes.next);
        writer.connection.begin(move |connection, origin| begin::<D>(connection, origin, from, next)).await;
        let are_merged = write_heads(writer, changes, pace).await?;
        let to = &writer.connection;
        writer
            .records
            .run(to, &changes.records, |row, values| {
                values.offset(row.offset).blob(row.id.0.as_bytes()).integer(row.time_ms).key(&row.about);
                values.integer(stored(row.verdict)).blob(&row.digest);
                Ok(())
            })
            .await?;
        widen_periods(to, &changes.records).await;
        write_entities::<D>(to, &writer.tables, &changes.entities).await?;
        write_touched(to, &writer.touched, changes).await?;
        write_ledgers(to, &writer.ledgers, changes).await?;
        write_set_aside(writer, changes).await?;
        writer
            .copied
            .run(to, &changes.copied, |row, values| {
                values.text(&row.topic).integer(i64::from(row.part)).offset(row.next).offset(row.print);
                Ok(())
            })
            .await?;
        let genesis = changes.genesis.as_ref().map(serde_json::to_string).transpose();
        let genesis = genesis.map_err(|source| StoreError::Unwritable { kind: "genesis".to_owned(), source })?;
        let is_done = to.end(move |connection, origin| advance(connection, origin, next, genesis)).await?;
        if are_merged && is_done {
            writer.n_fresh = 0;
        }
        self.newest.follow(changes);
        Ok(())
    }

    /// Deletes all rows, so that they can be rebuilt from the start of the log. Keeps the indexes.
    ///
    /// # Errors
    /// If SQLite fails. Then nothing was deleted.
    pub async fn clear(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        let tables = self.tables();
        let cleared = move |connection: &mut Connection, origin: &Origin| {
            let texts = tables.names().map(|table| format!("delete from {table};"));
            let meta = "update meta set next = 0, base = 0, genesis = null, revision = revision + 1;";
            let text = format!("{}{meta}{}", texts.collect::<String>(), schema::note_base(0));
            let cleared = anew(connection).and_then(|transaction| {
                transaction.execute_batch(&text)?;
                transaction.commit()
            });
            cleared.map_err(|error| origin.refused("deleting rows", error))
        };
        self.newest.forget();
        writer.connection.ask(cleared).await
    }
}

/// Rolls back a transaction that is still open, then begins a new one.
fn anew(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    roll_back(connection)?;
    // Immediate, because a deferred transaction that reads first can later fail as busy without waiting.
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Begins a transaction for the changes in `from..next`. Returns false if they are already stored.
fn begin<D: Decider>(connection: &mut Connection, origin: &Origin, from: u64, next: u64) -> Result<bool, StoreError> {
    let failed = |error| origin.refused("writing rows", error);
    let mut transaction = anew(connection).map_err(failed)?;
    let stored = transaction
        .prepare_cached("select next from meta")
        .and_then(|mut checkpoint| checkpoint.query_row([], |row| row.get::<_, i64>(0)))
        .map_err(failed)?
        .cast_unsigned();
    if stored == next && from < stored {
        // A damaged checkpoint that is too high would also skip changes that were never written.
        let last = transaction
            .query_row("select exists (select 1 from records where offset = ?)", [next.cast_signed() - 1], |row| {
                row.get(0)
            })
            .map_err(failed)?;
        return if last {
            Ok(false)
        } else {
            Err(origin.damaged(format!("meta: next is {next}, but records {} is missing", next - 1)))
        };
    }
    // Offsets in the log may have gaps (transaction markers), so `from` may be above `stored`.
    if from < stored || next < stored {
        return Err(StoreError::OutOfOrder { service: D::JOURNAL, stored, from, to: next });
    }
    transaction.set_drop_behavior(DropBehavior::Ignore);
    Ok(true)
}

fn advance(connection: &mut Connection, origin: &Origin, next: u64, genesis: Option<String>) -> Result<(), StoreError> {
    let moved = connection
        .prepare_cached("update meta set next = ?, genesis = coalesce(?, genesis)")
        .and_then(|mut update| update.execute((next.cast_signed(), genesis)))
        .and_then(|_| connection.execute_batch("commit"));
    moved.map_err(|error| origin.refused("writing the checkpoint", error))
}

/// Writes the offset of the last record of each key. Returns whether all of them are in `heads` afterwards.
async fn write_heads<D: Decider>(writer: &mut Writer<D>, changes: &Changes<D>, pace: Pace) -> Result<bool, StoreError> {
    // In key order, so that neighboring keys are written to the same page.
    let mut moved = changes.heads.clone();
    moved.sort_unstable_by_key(|(key, _)| *key);
    let to = &writer.connection;
    let values_of = |(key, head): &(Key, Head), values: &mut Values| {
        values.key(key).offset(head.offset);
        Ok(())
    };
    match pace {
        Pace::Steady => {
            if writer.n_fresh > 0 {
                to.part(merge_heads).await;
            }
            writer.heads.run(to, &moved, values_of).await?;
            Ok(true)
        }
        Pace::Mass => {
            // Counted now, because the outcome of a failed transaction may be unknown.
            writer.n_fresh += moved.len();
            writer.fresh_heads.run(to, &moved, values_of).await?;
            let are_many = writer.n_fresh >= N_FRESH_MAX;
            if are_many {
                to.part(merge_heads).await;
            }
            Ok(are_many)
        }
    }
}

fn merge_heads(connection: &mut Connection, origin: &Origin) -> Result<(), StoreError> {
    // Read and written in key order, so that each page is written once. Without `where true`, SQLite would parse `on` as a join.
    let text = "insert into heads select key, offset from fresh_heads where true \
                on conflict (key) do update set offset = excluded.offset; delete from fresh_heads";
    connection.execute_batch(text).map_err(|error| origin.refused("writing rows", error))
}

/// Extends the periods of the records' blocks to include their times.
async fn widen_periods(to: &WritingConnection, records: &[RecordRow]) {
    let mut periods: BTreeMap<u64, (Millis, Millis)> = BTreeMap::new();
    for RecordRow { offset, time_ms, .. } in records {
        let (earliest, latest) = periods.entry(offset / RECORDS_PER_PERIOD).or_insert((*time_ms, *time_ms));
        (*earliest, *latest) = ((*earliest).min(*time_ms), (*latest).max(*time_ms));
    }
    if periods.is_empty() {
        return;
    }
    let widen = move |connection: &Connection| {
        let mut widen = connection.prepare_cached(
            "insert into periods values (?, ?, ?) on conflict (block) do update
             set earliest_ms = min(earliest_ms, excluded.earliest_ms), latest_ms = max(latest_ms, excluded.latest_ms)",
        )?;
        periods.iter().try_for_each(|(block, (earliest_ms, latest_ms))| {
            widen.execute((block.cast_signed(), earliest_ms, latest_ms)).map(drop)
        })
    };
    to.part(move |connection, origin| widen(connection).map_err(|error| origin.refused("writing rows", error))).await;
}

/// Writes parked and discarded records, and the changed verdicts of records that were folded before.
async fn write_set_aside<D: Decider>(writer: &Writer<D>, changes: &Changes<D>) -> Result<(), StoreError> {
    let to = &writer.connection;
    if !changes.verdicts.is_empty() || !changes.unparked.is_empty() {
        let (verdicts, unparked) = (changes.verdicts.clone(), changes.unparked.clone());
        to.part(move |connection, origin| {
            revise(connection, &verdicts, &unparked).map_err(|error| origin.refused("revising rows", error))
        })
        .await;
    }
    writer
        .parked
        .run(to, &changes.parked, |row, values| {
            values.key(&row.key).offset(row.offset).text(&row.reason);
            Ok(())
        })
        .await?;
    writer
        .discarded
        .run(to, &changes.discarded, |row, values| {
            values.offset(row.offset).offset(row.by).integer(row.time_ms).text(&row.reason);
            Ok(())
        })
        .await
}

fn revise(connection: &Connection, verdicts: &[(u64, Verdict)], unparked: &[u64]) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached("update records set verdict = ? where offset = ?")?;
    for (offset, verdict) in verdicts {
        update.execute((stored(*verdict), offset.cast_signed()))?;
    }
    let mut delete = connection.prepare_cached("delete from parked where offset = ?")?;
    for offset in unparked {
        delete.execute([offset.cast_signed()])?;
    }
    if !verdicts.is_empty() {
        connection.execute("update meta set revision = revision + 1", [])?;
    }
    Ok(())
}

async fn write_entities<D: Decider>(
    to: &WritingConnection,
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
            .run(to, &rows, |row, values| {
                values.key(&row.aggregate.key).offset(row.version).offset(row.offset);
                let written = values.cells(&(table.cells)(&row.entity)).json(&*row.entity);
                written.map_err(|source| StoreError::Unwritable { kind: table.kind.to_owned(), source })?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn write_touched<D: Decider>(
    to: &WritingConnection,
    insert: &Insert,
    changes: &Changes<D>,
) -> Result<(), StoreError> {
    let others = |happened: &Happened<D>| {
        let (offset, others) = (happened.at.offset, happened.touched.iter().skip(1));
        (0_i64..)
            .zip(others.map(|aggregate| aggregate.key))
            .map(move |(line, key)| (offset, line, key))
            .collect::<Vec<_>>()
    };
    let lines: Vec<(u64, i64, Key)> = changes.happened.iter().flat_map(others).collect();
    insert
        .run(to, &lines, |(offset, line, key), values| {
            values.offset(*offset).integer(*line).key(key);
            Ok(())
        })
        .await
}

async fn write_ledgers<D: Decider>(
    to: &WritingConnection,
    ledgers: &[(&'static Ledger<D>, Insert)],
    changes: &Changes<D>,
) -> Result<(), StoreError> {
    for (ledger, insert) in ledgers {
        let mut lines: Vec<(u64, i64, Vec<Cell>)> = Vec::new();
        for happened in &changes.happened {
            let of_event = (ledger.lines)(&happened.at, &happened.event).into_iter();
            lines.extend((0..).zip(of_event).map(|(line, cells)| (happened.at.offset, line, cells)));
        }
        insert
            .run(to, &lines, |(offset, line, cells), values| {
                values.offset(*offset).integer(*line).cells(cells);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Returns the stored number of a verdict. Never change the meaning of a number.
pub(super) const fn stored(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Accepted => 0,
        Verdict::Void => 1,
        Verdict::Parked => 2,
        Verdict::Discarded => 3,
    }
}
