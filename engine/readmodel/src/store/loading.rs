//! Loads rows by key: many at a time for the service's loop, one for queries.

use std::{collections::HashMap, sync::Arc};

use orderlog_core::{
    decider::{Decider, Kind, Millis},
    decoding,
    key::{Key, RecordId},
    machine::{Head, Loaded, Wanted},
};
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Origin, Store};
use crate::{
    error::StoreError,
    tables::{Due, Tables, Timer},
};

/// The numbers of keys per statement, ascending.
const SIZES: [usize; 4] = [1, 16, 128, 1024];

/// Statements that look keys up in all tables. One statement is one round trip to SQLite's thread and reads one consistent state.
/// Looking up a key in a table that lacks it costs a hundredth of a round trip.
pub(super) struct Lookup {
    texts: Vec<(usize, Arc<str>)>,
}

/// The branch of a [`Lookup`] that finds heads. The branches of the tables follow in their order.
const HEADS: i64 = 0;

impl Lookup {
    pub(super) fn new<D: Decider>(tables: &Tables<D>) -> Self {
        let text = |size: usize| {
            let keys = (1..=size).map(|number| format!("?{number}")).collect::<Vec<_>>().join(",");
            // A left join, because a head without its record is damage and not an unknown key.
            let heads = ["heads", "fresh_heads"].map(|table| {
                format!(
                    "select {HEADS}, key, heads.offset, id from {table} as heads \
                     left join records on records.offset = heads.offset where key in ({keys})"
                )
            });
            let tables = (HEADS + 1..).zip(tables.tables).map(|(branch, table)| {
                format!(" union all select {branch}, key, version, doc from {} where key in ({keys})", table.kind)
            });
            (size, std::iter::once(heads.join(" union all ")).chain(tables).collect::<String>().into())
        };
        Self { texts: SIZES.into_iter().map(text).collect() }
    }

    /// Returns the smallest statement for this number of keys.
    fn text(&self, keys: usize) -> (usize, Arc<str>) {
        let fits = self.texts.iter().find(|(size, _)| *size >= keys).or(self.texts.last());
        fits.cloned().expect("there is a text for every size")
    }
}

/// The rows found so far.
struct LookedUp<E> {
    heads: HashMap<Key, Head>,
    entities: HashMap<(Kind, Key), (u64, E)>,
}

impl<D: Decider> Store<D> {
    /// Loads the wanted heads and aggregates, in the same order and from one consistent state.
    pub async fn load(&self, wanted: &[Wanted]) -> Result<Vec<Loaded<D::Entity>>, StoreError> {
        for kind in wanted.iter().filter_map(|wanted| wanted.kind) {
            self.tables().of(kind)?;
        }
        let mut found = LookedUp { heads: HashMap::with_capacity(wanted.len()), entities: HashMap::new() };
        self.look_up(wanted, &mut found).await?;
        Ok(wanted
            .iter()
            .map(|&wanted| {
                // Cloned because a key may be wanted twice.
                let entity = wanted.kind.and_then(|kind| found.entities.get(&(kind, wanted.key)).cloned());
                Loaded { wanted, head: found.heads.get(&wanted.key).copied(), entity }
            })
            .collect())
    }

    async fn look_up(&self, wanted: &[Wanted], found: &mut LookedUp<D::Entity>) -> Result<(), StoreError> {
        let failed = |error| self.origin.error("loading rows", error);
        if wanted.is_empty() {
            return Ok(());
        }
        let mut connection = self.loads.acquire().await.map_err(failed)?;
        if wanted.len() <= SIZES[SIZES.len() - 1] {
            return self.look_up_chunk(&mut connection, wanted, found).await;
        }
        let mut transaction = connection.begin().await.map_err(failed)?;
        for chunk in wanted.chunks(SIZES[SIZES.len() - 1]) {
            self.look_up_chunk(&mut transaction, chunk, found).await?;
        }
        transaction.rollback().await.map_err(failed)
    }

    async fn look_up_chunk(
        &self,
        connection: &mut SqliteConnection,
        wanted: &[Wanted],
        found: &mut LookedUp<D::Entity>,
    ) -> Result<(), StoreError> {
        let (size, text) = self.lookup.text(wanted.len());
        // Pad to the statement's number of keys by repeating the last one.
        let padding = wanted.last().into_iter().cycle().take(size - wanted.len());
        let mut query = sqlx::query(AssertSqlSafe(text));
        for wanted in wanted.iter().chain(padding) {
            query = query.bind(wanted.key.as_bytes().as_slice());
        }
        let rows = query.fetch_all(connection).await.map_err(|error| self.origin.error("loading rows", error))?;
        for row in &rows {
            let (branch, key, number): (i64, _, _) =
                (self.origin.get(row, 0)?, self.origin.key(row, 1)?, self.origin.count(row, 2)?);
            if branch == HEADS {
                let last = self.origin.bytes(row, 3).map_err(|error| error.at(|| place("heads", &key)))?;
                let last = RecordId(Uuid::from_bytes(last));
                let head = Head { last, offset: number };
                // The newer one of `heads` and `fresh_heads`, in either order.
                let newest = found.heads.entry(key).or_insert(head);
                if newest.offset < number {
                    *newest = head;
                }
            } else if let Some((_, table)) =
                (HEADS + 1..).zip(self.tables().tables).find(|(number, _)| *number == branch)
            {
                let entity = document(&self.origin, row, 3).map_err(|error| error.at(|| place(table.kind, &key)))?;
                found.entities.insert((table.kind, key), (number, entity));
            }
        }
        Ok(())
    }

    /// Returns up to `limit` commands of a timer that are due at `now`, with the keys of their aggregates, the longest overdue first.
    pub async fn due(&self, timer: &Timer<D>, now: Millis, limit: u32) -> Result<Vec<(Key, Due<D>)>, StoreError> {
        let Timer { kind, column, .. } = timer;
        let text = format!("select key, doc from {kind} where {column} <= ? order by {column}, key limit ?");
        let rows = sqlx::query(AssertSqlSafe(text)).bind(now).bind(limit).fetch_all(&self.lists).await;
        let rows = rows.map_err(|error| self.origin.error("reading what is due", error))?;
        let read = |row| {
            let key = self.origin.key(row, 0)?;
            let entity = document(&self.origin, row, 1).map_err(|error| error.at(|| place(kind, &key)))?;
            Ok((timer.due)(&entity).map(|due| (key, due)))
        };
        rows.iter().map(read).filter_map(Result::transpose).collect()
    }

    /// Returns the version of an aggregate, the offset that last changed it, and its state.
    pub async fn get(&self, kind: &str, key: &Key) -> Result<Option<(u64, u64, D::Entity)>, StoreError> {
        let table = self.tables().of(kind)?;
        let row = sqlx::query(AssertSqlSafe(format!("select version, offset, doc from {} where key = ?", table.kind)))
            .bind(key.as_bytes().as_slice())
            .fetch_optional(&self.lists)
            .await
            .map_err(|error| self.origin.error("reading a row", error))?;
        let read =
            |row| Ok((self.origin.count(&row, 0)?, self.origin.count(&row, 1)?, document(&self.origin, &row, 2)?));
        row.map(read).transpose().map_err(|error: StoreError| error.at(|| place(kind, key)))
    }
}

/// Formats a row's place for errors: its table, and its key as SQL.
fn place(table: &str, key: &Key) -> String {
    format!("{table} X'{}'", String::from(*key).to_uppercase())
}

/// Decodes the state in a document column.
pub(super) fn document<E: DeserializeOwned>(origin: &Origin, row: &SqliteRow, column: usize) -> Result<E, StoreError> {
    let json: &str = origin.get(row, column)?;
    decoding::from_slice(json.as_bytes()).map_err(|error| origin.damaged(format!("its document: {error}")))
}
