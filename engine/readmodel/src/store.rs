//! One generation of a service's read model in one SQLite file. Changes are written in one transaction with the checkpoint, and
//! read by key or by list.
//!
//! Deliberately absent: migrations (changed tables mean a rebuild from the log) and waiting for a position (the service's
//! loop knows which positions it has returned).

mod comparing;
mod connection;
mod contents;
mod copying;
mod insert;
mod listing;
mod loading;
mod newest;
mod past;
mod pending;
mod shapes;
mod verdicts;
mod writing;

use std::{path::Path, sync::Arc};

use orderlog_core::{
    decider::Decider,
    decoding,
    key::{Key, RecordId},
    machine::{Checkpoint, CopiedRow, Genesis, RecordRow, Verdict},
};
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use uuid::Uuid;

pub use comparing::{Difference, Pinned};
pub use listing::{Cursor, List, Moment, Page, Paging, Row};
use loading::document;
use newest::Newest;
pub use past::Instant;
pub use verdicts::Unaccepted;
pub use writing::{Pace, Writer};

use crate::{error::StoreError, generations::Generations, opening, origin::Origin, tables::Tables};

/// One generation of a service's read model. Clones share the file, which other processes may open once all clones and the
/// [`Writer`] are dropped.
pub struct Store<D: Decider> {
    generations: Generations<D>,
    number: u32,
    origin: Origin,
    lists: SqlitePool,
    /// A separate connection for the service's loop, so that long lists never delay it.
    loads: SqlitePool,
    lookup: Arc<loading::Lookup>,
    newest: Arc<Newest>,
}

impl<D: Decider> Clone for Store<D> {
    fn clone(&self) -> Self {
        Self {
            generations: self.generations.clone(),
            number: self.number,
            origin: self.origin.clone(),
            lists: self.lists.clone(),
            loads: self.loads.clone(),
            lookup: self.lookup.clone(),
            newest: self.newest.clone(),
        }
    }
}

impl<D: Decider> Store<D> {
    /// Opens the serving generation in `dir`. Creates an empty one, at offset 0, if there is none or if its schema version differs;
    /// the old file is then renamed.
    ///
    /// # Errors
    /// [`StoreError`] if the file is damaged, belongs to another service or is in use.
    pub async fn open(dir: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        let generations = Generations::lock(dir, tables)?;
        let serving = generations.serving()?;
        Self::open_generation(&generations, serving).await
    }

    /// Opens a generation for writing, creating an empty one if it does not exist.
    pub async fn open_generation(generations: &Generations<D>, number: u32) -> Result<Self, StoreError> {
        let file = generations.file(number);
        let origin = Origin::new(&file);
        opening::prepare(&origin, generations.tables(), number).await?;
        if generations.serving().is_ok_and(|serving| serving == number) {
            generations.link(number);
        }
        let options = opening::reading(&file);
        Self::reading(generations, number, origin, options).await
    }

    /// Opens the serving generation read-only. Returns `None` if there is none or its schema version differs.
    pub async fn read_serving(generations: &Generations<D>) -> Result<Option<Self>, StoreError> {
        Self::read_generation(generations, generations.serving()?).await
    }

    pub(crate) async fn read_generation(generations: &Generations<D>, number: u32) -> Result<Option<Self>, StoreError> {
        let origin = Origin::new(&generations.file(number));
        let options = opening::reading_alone(&origin.file);
        if opening::has_tables(&origin, generations.tables(), &options).await? != Some(true) {
            return Ok(None);
        }
        Self::reading(generations, number, origin, options).await.map(Some)
    }

    async fn reading(
        generations: &Generations<D>,
        number: u32,
        origin: Origin,
        options: SqliteConnectOptions,
    ) -> Result<Self, StoreError> {
        let lists = opening::list_readers(options.clone(), &origin).await?;
        let loads = opening::readers(options, &origin, 1).await?;
        let lookup = Arc::new(loading::Lookup::new(generations.tables()));
        Ok(Self { generations: generations.clone(), number, origin, lists, loads, lookup, newest: Arc::default() })
    }

    pub const fn tables(&self) -> &'static Tables<D> {
        self.generations.tables()
    }

    /// Returns all generations of this read model.
    pub fn generations(&self) -> &Generations<D> {
        &self.generations
    }

    /// Returns the number of this generation.
    pub fn generation(&self) -> u32 {
        self.number
    }

    /// Closes the read connections. The file is always consistent; this only ensures that nothing keeps it open.
    pub async fn close(self) {
        self.lists.close().await;
        self.loads.close().await;
    }

    pub fn file(&self) -> &Path {
        &self.origin.file
    }

    /// Returns the checkpoint of the rows.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let failed = |error| self.origin.error("reading the checkpoint", error);
        let mut connection = self.lists.acquire().await.map_err(failed)?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        let meta = sqlx::query("select next, genesis from meta").fetch_one(&mut *transaction).await.map_err(failed)?;
        let in_meta = |error: StoreError| error.at(|| "meta".to_owned());
        let next = self.origin.count(&meta, 0).map_err(in_meta)?;
        let genesis: Option<&str> = self.origin.get(&meta, 1).map_err(in_meta)?;
        let genesis: Option<Genesis> = genesis
            .map(|json| decoding::from_slice(json.as_bytes()))
            .transpose()
            .map_err(|error| self.origin.damaged(format!("meta: the genesis: {error}")))?;
        let last_two =
            sqlx::query("select offset, id, time_ms, about, verdict, digest from records order by offset desc limit 2")
                .fetch_all(&mut *transaction)
                .await
                .map_err(failed)?;
        let last_two = last_two.iter().map(|row| self.record(row)).collect::<Result<Vec<_>, _>>()?;
        follows_records(&self.origin, next, last_two.first().map(|last| last.offset))?;
        let copied = copied(&self.origin, &mut transaction).await?;
        let before = last_two.get(1).map(|record| record.digest).unwrap_or_default();
        Ok(Checkpoint {
            next,
            digest: last_two.first().map(|record| record.digest).unwrap_or_default(),
            genesis,
            last: last_two.first().map(|record| (*record, before)),
            copied,
        })
    }

    /// Returns the offset of the snapshot that the rows were copied from, or 0 if they were folded from the first record.
    pub async fn base(&self) -> Result<u64, StoreError> {
        let base = sqlx::query_scalar::<_, i64>("select base from meta").fetch_one(&self.lists).await;
        self.origin.counted(base.map_err(|error| self.origin.error("reading where the rows began", error))?)
    }

    /// Checks that the file has exactly the tables and indexes of this program, and runs SQLite's integrity check. Takes about as
    /// long as reading the whole file.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first fault, or another error if the file can't be read.
    pub async fn check(&self) -> Result<(), StoreError> {
        let failed = |error| self.origin.error("checking the rows", error);
        let mut connection = reader(&self.origin).await?;
        shapes::check(self.tables(), &self.origin, &mut connection).await?;
        let found = sqlx::query_scalar::<_, String>("pragma integrity_check(1)").fetch_one(&mut connection).await;
        let found = found.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        if found == "ok" { Ok(()) } else { Err(self.origin.damaged(found)) }
    }

    /// Checks whether a write would succeed now, by committing a page with unchanged content.
    ///
    /// # Errors
    /// The reason why nothing can be written now.
    pub async fn try_writing(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        let attempt = |connection: &mut rusqlite::Connection, origin: &Origin| {
            let tried = connection.execute_batch(opening::TRIAL);
            drop(connection::roll_back(connection));
            tried.map_err(|error| origin.refused("writing the rows", error))
        };
        writer.connection().ask(attempt).await
    }

    /// Creates the indexes for lists and histories. Call it once the service has caught up with its journal; lists are slow without
    /// them. Idempotent, and takes long only the first time.
    pub async fn create_indexes(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        let tables = self.tables();
        let make = move |connection: &mut rusqlite::Connection, origin: &Origin| {
            opening::make_indexes(connection, tables).map_err(|error| origin.refused("making indexes", error))
        };
        writer.connection().ask(make).await
    }

    /// Returns up to `limit` records after the offset `after` whose first key is `about`, ascending and with any verdict.
    pub async fn history(&self, about: &Key, after: Option<u64>, limit: u32) -> Result<Vec<RecordRow>, StoreError> {
        let rows = sqlx::query(
            "select offset, id, time_ms, about, verdict, digest from records where about = ? and offset > ?
             order by offset limit ?",
        )
        .bind(about.as_bytes().as_slice())
        .bind(after.map_or(-1, u64::cast_signed))
        .bind(limit)
        .fetch_all(&self.lists)
        .await
        .map_err(|error| self.origin.error("reading a history", error))?;
        rows.iter().map(|row| self.record(row)).collect()
    }

    fn verdict(&self, row: &SqliteRow, column: usize) -> Result<Verdict, StoreError> {
        match self.origin.get::<i64, _>(row, column)? {
            0 => Ok(Verdict::Accepted),
            1 => Ok(Verdict::Void),
            2 => Ok(Verdict::Parked),
            3 => Ok(Verdict::Discarded),
            other => Err(self.origin.damaged(format!("{other} is no verdict"))),
        }
    }

    fn record(&self, row: &SqliteRow) -> Result<RecordRow, StoreError> {
        let offset = self.origin.count(row, 0)?;
        let read = || {
            Ok(RecordRow {
                offset,
                id: RecordId(Uuid::from_bytes(self.origin.bytes(row, 1)?)),
                time_ms: self.origin.get(row, 2)?,
                about: self.origin.key(row, 3)?,
                verdict: self.verdict(row, 4)?,
                digest: self.origin.bytes(row, 5)?,
            })
        };
        read().map_err(|error: StoreError| error.at(|| format!("records {offset}")))
    }
}

/// Checks that a checkpoint is directly after the last record.
fn follows_records(origin: &Origin, next: u64, last: Option<u64>) -> Result<(), StoreError> {
    match last.map_or(0, |last| last + 1) {
        end if end == next => Ok(()),
        end => Err(origin.damaged(format!("meta: next is {next}, but `records` ends at {end}"))),
    }
}

/// Reads the positions up to which facts were copied.
async fn copied(origin: &Origin, from: &mut SqliteConnection) -> Result<Vec<CopiedRow>, StoreError> {
    let rows = sqlx::query("select topic, part, next, print from copied order by topic, part").fetch_all(from).await;
    let rows = rows.map_err(|error| origin.error("reading how far facts were copied", error))?;
    let read = |row| {
        let (topic, part) = (origin.get(row, 0)?, origin.get(row, 1)?);
        Ok(CopiedRow { topic, part, next: origin.count(row, 2)?, print: origin.bits(row, 3)? })
    };
    rows.iter().map(|row| read(row).map_err(|error: StoreError| error.at(|| "copied".to_owned()))).collect()
}

/// Opens a read-only connection outside of the pools, for long reads.
async fn reader(origin: &Origin) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::connect_with(&opening::reading(&origin.file))
        .await
        .map_err(|error| origin.error("opening the rows for reading", error))
}
