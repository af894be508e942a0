//! One generation of a service's rows in one SQLite file: written in one transaction with the checkpoint, read by key and by list.
//!
//! Deliberately absent: migrations (other tables mean a rebuild from the log) and waiting for a position (the service's
//! loop knows what it has answered).

mod comparing;
mod connection;
mod contents;
mod copying;
mod insert;
mod listing;
mod loading;
mod newest;
mod past;
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

/// One generation of a service's rows. Clones share the file; it is free for others once all of them and the [`Writer`] are
/// gone.
pub struct Store<D: Decider> {
    generations: Generations<D>,
    number: u32,
    origin: Origin,
    lists: SqlitePool,
    /// A connection of its own for the service's loop, so that long lists never hold it up.
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
    /// Opens the generation that serves in `dir`, makes it if there is none, and moves one of another schema version aside;
    /// the rows then begin at offset 0.
    ///
    /// # Errors
    /// [`StoreError`], with a file that is damaged, another service's or in use.
    pub async fn open(dir: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        let generations = Generations::lock(dir, tables)?;
        let serving = generations.serving()?;
        Self::open_generation(&generations, serving).await
    }

    /// Opens a generation; an empty one is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError`], with a file that is damaged or another service's.
    pub async fn open_generation(generations: &Generations<D>, number: u32) -> Result<Self, StoreError> {
        let file = generations.file(number);
        let origin = Origin::new(&file);
        opening::prepare(&file, &origin, generations.tables()).await?;
        let options = opening::reading(&file);
        Self::reading(generations, number, origin, options).await
    }

    /// Opens the generation that serves to read it only; none, if there is none, or it has other tables than this program.
    ///
    /// # Errors
    /// [`StoreError`], with a file that is damaged or another service's.
    pub async fn read_serving(generations: &Generations<D>) -> Result<Option<Self>, StoreError> {
        let number = generations.serving()?;
        let origin = Origin::new(&generations.file(number));
        if !origin.file.exists() || !opening::has_tables(&origin, generations.tables()).await? {
            return Ok(None);
        }
        let options = opening::reading_alone(&origin.file);
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

    /// The tables of these rows.
    pub const fn tables(&self) -> &'static Tables<D> {
        self.generations.tables()
    }

    /// All generations of these rows.
    pub fn generations(&self) -> &Generations<D> {
        &self.generations
    }

    /// Which generation this is.
    pub fn generation(&self) -> u32 {
        self.number
    }

    /// Closes the connections for reading. The file is whole at any moment; this only makes sure that it is free.
    pub async fn close(self) {
        self.lists.close().await;
        self.loads.close().await;
    }

    pub fn file(&self) -> &Path {
        &self.origin.file
    }

    /// Where the rows stand.
    ///
    /// # Errors
    /// If it can't be read.
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

    /// The offset of the snapshot that the rows began as; 0 if they were folded from the first record.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn base(&self) -> Result<u64, StoreError> {
        let base = sqlx::query_scalar::<_, i64>("select base from meta").fetch_one(&self.lists).await;
        self.origin.counted(base.map_err(|error| self.origin.error("reading where the rows began", error))?)
    }

    /// Whether the file has exactly the tables and indexes of this program, and whether they agree with each other. Takes about as
    /// long as reading all of them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that is wrong; else if they can't be read.
    pub async fn check(&self) -> Result<(), StoreError> {
        let failed = |error| self.origin.error("checking the rows", error);
        let mut connection = reader(&self.origin).await?;
        shapes::check(self.tables(), &self.origin, &mut connection).await?;
        let found = sqlx::query_scalar::<_, String>("pragma integrity_check(1)").fetch_one(&mut connection).await;
        let found = found.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        if found == "ok" { Ok(()) } else { Err(self.origin.damaged(found)) }
    }

    /// Commits a page with the content that it has.
    ///
    /// # Errors
    /// Why nothing can be written now.
    pub async fn try_writing(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        let attempt = |connection: &mut rusqlite::Connection, origin: &Origin| {
            let tried = connection.execute_batch(opening::TRIAL);
            drop(connection::roll_back(connection));
            tried.map_err(|error| origin.refused("writing the rows", error))
        };
        writer.connection().ask(attempt).await
    }

    /// Makes the indexes that lists and histories need. Called once the service has caught up with its journal: lists work
    /// without them, slowly. May be repeated; takes long only the first time.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub async fn create_indexes(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        let tables = self.tables();
        let make = move |connection: &mut rusqlite::Connection, origin: &Origin| {
            opening::make_indexes(connection, tables).map_err(|error| origin.refused("making indexes", error))
        };
        writer.connection().ask(make).await
    }

    /// The records about `about` (the first key each names) behind `after`, ascending, at most `limit`: also the void ones.
    ///
    /// # Errors
    /// If they can't be read.
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

/// A checkpoint is right behind the last record.
fn follows_records(origin: &Origin, next: u64, last: Option<u64>) -> Result<(), StoreError> {
    match last.map_or(0, |last| last + 1) {
        end if end == next => Ok(()),
        end => Err(origin.damaged(format!("meta: next is {next}, but `records` ends at {end}"))),
    }
}

/// How far facts were copied.
async fn copied(origin: &Origin, from: &mut SqliteConnection) -> Result<Vec<CopiedRow>, StoreError> {
    let rows = sqlx::query("select topic, part, next, print from copied order by topic, part").fetch_all(from).await;
    let rows = rows.map_err(|error| origin.error("reading how far facts were copied", error))?;
    let read = |row| {
        let (topic, part) = (origin.get(row, 0)?, origin.get(row, 1)?);
        Ok(CopiedRow { topic, part, next: origin.count(row, 2)?, print: origin.bits(row, 3)? })
    };
    rows.iter().map(|row| read(row).map_err(|error: StoreError| error.at(|| "copied".to_owned()))).collect()
}

/// A connection that only reads, outside of the pools, for what takes long.
async fn reader(origin: &Origin) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::connect_with(&opening::reading(&origin.file))
        .await
        .map_err(|error| origin.error("opening the rows for reading", error))
}
