//! Opens a service's file. Creates the tables in a new one, renames one with another schema version, and refuses foreign files.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::OpenFlags;
use sqlx::{
    AssertSqlSafe, Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

use crate::{error::StoreError, origin::Origin, schema, tables::Tables, views};
use orderlog_core::decider::Decider;

/// How long a connection waits for another connection's lock.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// More statements than any service needs for writing.
const N_STATEMENTS: usize = 64;

/// The number of connections for lists. Reads are short and CPU-bound, so a few are enough.
const READERS: u32 = 4;

/// The suffix of a write-ahead log's name.
pub(crate) const WAL: &str = "-wal";

/// The suffixes of the two files that SQLite creates beside an open one.
pub(crate) const COMPANIONS: [&str; 2] = [WAL, "-shm"];

/// Returns the options of a connection that creates tables.
pub(crate) fn making(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY)
        .foreign_keys(false)
}

/// The pragmas of the write connection.
const WRITING: &[(&str, &str)] = &[
    // A power failure may lose the last transactions as a whole. Their records are in the log and are folded again.
    ("synchronous", "normal"),
    ("foreign_keys", "off"),
    ("journal_size_limit", "67108864"),
    ("temp_store", "memory"),
    ("cache_size", "-24576"),
];

/// The checkpoint interval, in pages of the WAL, during a replay while nothing is served. Random keys dirty many pages per
/// transaction, so a larger WAL saves more repeated writes of a page to the file.
const ALONE: &str = "32000";

/// The checkpoint interval during a replay while another generation is serving. Its commits, and the log's, wait for the same disk
/// during a checkpoint.
const BESIDE: &str = "2000";

/// The pragmas for creating indexes. They are sorted in chunks of the cache's size in a temporary file. In memory, sorting took
/// 60 bytes per record, unbounded.
const SORTING: &[(&str, &str)] = &[("temp_store", "file"), ("cache_size", "-16384")];

/// The pragmas after that, when changes are small. Checkpoints are small too, because the log waits for the same disk.
const SERVING: &[(&str, &str)] = &[("temp_store", "memory"), ("cache_size", "-49152"), ("wal_autocheckpoint", "1000")];

/// Commits a page with unchanged content: `application_id` is 0 in all of these files.
pub(crate) const TRIAL: &str = "begin immediate; update meta set next = next; pragma application_id = 0; commit";

/// Opens the write connection of a file that has its tables. `is_beside` says whether another generation is serving.
pub(crate) fn writer(file: &Path, is_beside: bool) -> rusqlite::Result<rusqlite::Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    tell(&connection, WRITING)?;
    tell(&connection, &[("wal_autocheckpoint", if is_beside { BESIDE } else { ALONE })])?;
    Ok(connection)
}

/// Creates the indexes after a replay, and switches the write connection to [`SERVING`].
pub(crate) fn make_indexes<D: Decider>(connection: &rusqlite::Connection, tables: &Tables<D>) -> rusqlite::Result<()> {
    tell(connection, SORTING)?;
    let made = tables.indexes().iter().try_for_each(|text| connection.execute_batch(text));
    tell(connection, SERVING)?;
    made
}

fn tell(connection: &rusqlite::Connection, pragmas: &[(&str, &str)]) -> rusqlite::Result<()> {
    for (name, value) in pragmas {
        // Some pragmas return a row with the new value.
        let answer = connection.pragma_update_and_check(None, name, value, |_| Ok(()));
        answer.or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

/// Returns the options of a read-only connection.
pub(crate) fn reading(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(BUSY)
        .foreign_keys(false)
        .pragma("cache_size", "-16384")
        .pragma("mmap_size", "268435456")
}

/// Returns the options of a read-only connection to a file without a writer. If it has no write-ahead log, SQLite creates no other
/// file and takes no lock.
pub(crate) fn reading_alone(file: &Path) -> SqliteConnectOptions {
    reading(file).immutable(!has_wal(file))
}

pub(crate) fn has_wal(file: &Path) -> bool {
    fs::metadata(companion(file, WAL)).is_ok_and(|wal| wal.len() > 0)
}

/// Returns the path of the file that SQLite creates beside `file` with this suffix.
pub(crate) fn companion(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Opens a pool of read-only connections. They stay open, because opening one takes longer than most queries.
pub(crate) async fn readers(
    options: SqliteConnectOptions,
    origin: &Origin,
    connections: u32,
) -> Result<SqlitePool, StoreError> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        // A ping before every query would double the round trips to SQLite's thread.
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options)
        .await
        .map_err(|error| origin.error("opening the rows for reading", error))
}

pub(crate) async fn list_readers(options: SqliteConnectOptions, origin: &Origin) -> Result<SqlitePool, StoreError> {
    readers(options, origin, READERS).await
}

/// Locks the service's rows in `dir` exclusively until the returned file is dropped. Creates the folder if it is missing.
pub(crate) fn lock(dir: &Path, service: &str) -> Result<File, StoreError> {
    let folder = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    fs::create_dir_all(dir).map_err(folder(dir))?;
    let path = lock_file(dir, service);
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(folder(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { file: path }),
        Err(TryLockError::Error(source)) => Err(StoreError::Folder { path, source }),
    }
}

/// Locks writers out of the service's rows in `dir` until the returned file is dropped. Returns `None` if there is no lock file.
pub(crate) fn shared_lock(dir: &Path, service: &str) -> Result<Option<File>, StoreError> {
    let path = lock_file(dir, service);
    match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Folder { path, source }),
        Ok(lock) => match lock.try_lock_shared() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { file: path }),
            Err(TryLockError::Error(source)) => Err(StoreError::Folder { path, source }),
        },
    }
}

fn lock_file(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{service}.sqlite.lock"))
}

/// The contents of a file.
enum FileState {
    Nothing,
    These,
    OtherTables { schema: String },
}

/// Ensures that the file of generation `number` has these tables and views and can be written.
pub(crate) async fn prepare<D: Decider>(origin: &Origin, tables: &Tables<D>, number: u32) -> Result<(), StoreError> {
    let file = &origin.file;
    let mut connection = connect(file, origin).await?;
    match inspect(&mut connection, origin, tables).await? {
        FileState::These => {}
        FileState::Nothing => create(&mut connection, origin, tables).await?,
        FileState::OtherTables { schema } => {
            // Closing the last connection checkpoints the WAL, so that only one file has to be renamed.
            close(connection, origin).await?;
            let aside = move_aside(file, &schema)?;
            tracing::warn!(
                service = D::JOURNAL,
                found = schema,
                expected = tables.version(),
                moved_to = %aside.display(),
                "the rows have other tables: they are rebuilt from the log"
            );
            connection = connect(file, origin).await?;
            create(&mut connection, origin, tables).await?;
        }
    }
    views::install(&mut connection, origin, tables, number).await?;
    try_writing(&mut connection, origin).await?;
    close(connection, origin).await
}

/// Commits an unchanged page, because SQLite opens a file even if it can't write to it, and a full disk shows only in a commit.
async fn try_writing(connection: &mut SqliteConnection, origin: &Origin) -> Result<(), StoreError> {
    let tried = sqlx::raw_sql(TRIAL).execute(connection).await;
    tried.map(drop).map_err(|error| origin.error("writing the rows", error))
}

/// Returns whether a file has these tables; `None` if it does not exist.
pub(crate) async fn has_tables<D: Decider>(
    origin: &Origin,
    tables: &Tables<D>,
    options: &SqliteConnectOptions,
) -> Result<Option<bool>, StoreError> {
    if !origin.file.exists() {
        return Ok(None);
    }
    let connection = SqliteConnection::connect_with(options).await;
    let mut connection = connection.map_err(|error| origin.error("opening the rows for reading", error))?;
    let found = inspect(&mut connection, origin, tables).await?;
    close(connection, origin).await?;
    Ok(Some(matches!(found, FileState::These)))
}

/// Renames the file `by`, which nothing has open, to that of `origin`. A file with other tables there is moved aside.
pub(crate) async fn replace<D: Decider>(origin: &Origin, tables: &Tables<D>, by: &Path) -> Result<(), StoreError> {
    let (file, new) = (&origin.file, Origin::new(by));
    // Closing the last connection checkpoints the WAL, so that only one file has to be renamed.
    close(connect(by, &new).await?, &new).await?;
    if file.exists() {
        let mut connection = connect(file, origin).await?;
        let found = inspect(&mut connection, origin, tables).await?;
        close(connection, origin).await?;
        if let FileState::OtherTables { schema } = found {
            move_aside(file, &schema)?;
        }
    }
    fs::rename(by, file).map_err(|source| StoreError::Folder { path: by.to_owned(), source })?;
    let durable = |path: &Path| {
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all())
    };
    durable(by).and_then(|()| durable(file)).map_err(|source| StoreError::Folder { path: file.clone(), source })
}

async fn connect(file: &Path, origin: &Origin) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::connect_with(&making(file)).await.map_err(|error| origin.error("opening the rows", error))
}

async fn close(connection: SqliteConnection, origin: &Origin) -> Result<(), StoreError> {
    connection.close().await.map_err(|error| origin.error("closing the rows", error))
}

async fn inspect<D: Decider>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    tables: &Tables<D>,
) -> Result<FileState, StoreError> {
    let names = sqlx::query_scalar::<_, String>("select name from sqlite_schema where type = 'table'")
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| origin.error("reading the tables", error))?;
    if names.is_empty() {
        return Ok(FileState::Nothing);
    }
    let foreign = |found: String| StoreError::Foreign { file: origin.file.clone(), found, service: D::JOURNAL };
    // The column `only` is specific to orderlog. On another program's `meta` table this query fails, which means the same.
    let meta = sqlx::query("select schema, service from meta where only = 1").fetch_optional(connection).await;
    let Ok(Some(meta)) = meta else {
        return Err(foreign("something else".to_owned()));
    };
    let (schema, service) = (meta.try_get::<String, _>(0), meta.try_get::<String, _>(1));
    match (schema, service) {
        (Ok(_), Ok(service)) if service != D::JOURNAL => Err(foreign(format!("the rows of `{service}`"))),
        (Ok(schema), Ok(_)) if schema == tables.version() => Ok(FileState::These),
        (Ok(schema), Ok(_)) => Ok(FileState::OtherTables { schema }),
        (Err(_), _) | (_, Err(_)) => Err(foreign("something else".to_owned())),
    }
}

async fn create<D: Decider>(
    connection: &mut SqliteConnection,
    origin: &Origin,
    tables: &Tables<D>,
) -> Result<(), StoreError> {
    let failed = |error| origin.error("making the tables", error);
    // In one transaction, so that a crash leaves an empty file and never half of the tables.
    let mut transaction = connection.begin_with("begin immediate").await.map_err(failed)?;
    for text in tables.statements() {
        sqlx::query(AssertSqlSafe(text)).persistent(false).execute(&mut *transaction).await.map_err(failed)?;
    }
    sqlx::query("insert into meta (only, schema, service, genesis, next) values (1, ?, ?, null, 0)")
        .bind(tables.version())
        .bind(D::JOURNAL)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    sqlx::query(AssertSqlSafe(schema::note_base(0))).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Appends the file's schema version to its name. The file is kept in case it is still needed. Returns the new path.
fn move_aside(file: &Path, schema: &str) -> Result<PathBuf, StoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Folder { path, source }
    };
    let numbered = |number: u32| {
        let mut name = file.as_os_str().to_owned();
        name.push(if number == 0 { format!(".{schema}") } else { format!(".{schema}-{number}") });
        PathBuf::from(name)
    };
    let aside = (0..u32::MAX).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(u32::MAX));
    fs::rename(file, &aside).map_err(failed(file))?;
    for path in COMPANIONS.map(|end| companion(file, end)) {
        if path.exists() {
            fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(aside)
}
