//! The writer's side of `log.sqlite`: its tables, loading topics, and making commits durable.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    FILE, Topics, sync_folder,
    topic::{self, Topic},
    wal,
};

/// The schema version, stored in `pragma user_version` of `log.sqlite`.
pub(super) const FORMAT: i64 = 1;

/// How long a connection waits for another connection's lock.
const BUSY: Duration = Duration::from_secs(10);
/// More statements than a deployment's topics need.
const N_STATEMENTS: usize = 256;

/// The pragmas of every connection that writes to the file.
const WRITING: &[(&str, &str)] = &[
    ("journal_mode", "wal"),
    // A commit is on disk when it returns.
    ("synchronous", "full"),
    // Checkpoints are explicit, because SQLite ignores errors of automatic ones.
    ("wal_autocheckpoint", "0"),
    ("journal_size_limit", "67108864"),
];

/// Opens a connection that writes to `file`, creating it if it is missing.
pub(super) fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    for (name, value) in WRITING {
        // Some pragmas return a row with the new value.
        let answer = connection.pragma_update_and_check(None, name, value, |_| Ok(()));
        answer.or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) })?;
    }
    Ok(connection)
}

/// The part of the file that can't be read or written, and SQLite's error.
pub(super) struct BadFile {
    pub place: String,
    pub source: rusqlite::Error,
}

/// An error before any table is read.
pub(super) fn in_header(source: rusqlite::Error) -> BadFile {
    BadFile { place: format!("{FILE}, its header"), source }
}

fn in_topics(source: rusqlite::Error) -> BadFile {
    BadFile { place: format!("{FILE}, the table of topics"), source }
}

fn in_topic(name: &str) -> impl FnOnce(rusqlite::Error) -> BadFile {
    let place = format!("{FILE}, the table of topic {name}");
    move |source| BadFile { place, source }
}

/// Returns whether the error means that the file is corrupt, so that retrying does not help.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(error, message) => match error.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => true,
            // A table or column is missing, for which SQLite has no error code.
            ErrorCode::Unknown => message.as_deref().is_some_and(|message| message.starts_with("no such ")),
            _ => false,
        },
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    }
}

pub(super) fn is_empty(file: &Path) -> bool {
    file.metadata().map_or(true, |file| file.len() == 0)
}

/// Returns the format of the file, or 0 if it has no tables.
pub(super) fn format(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("pragma user_version", [], |row| row.get(0))
}

/// Creates the tables if the file is new. Returns its format.
pub(super) fn create_tables(connection: &mut Connection) -> rusqlite::Result<i64> {
    let found = format(connection)?;
    if found != 0 {
        return Ok(found);
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "create table topics (id integer primary key, name text not null unique, kind text not null); \
         pragma user_version = 1",
    )?;
    transaction.commit()?;
    Ok(FORMAT)
}

/// Copies the write-ahead log into the file and fsyncs it. A process killed between a write and its fsync leaves commits that are
/// only in the system's page cache. They must not be shown to readers before they are durable.
pub(super) fn make_durable(connection: &Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (pages, copied): (i64, i64) =
        connection.query_row("pragma wal_checkpoint(truncate)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if pages != copied {
        let reason = format!("another program reads the file: {copied} of {pages} pages could be made durable");
        return Err(io::Error::other(reason).into());
    }
    Ok(())
}

/// Begins a write transaction and rolls it back.
pub(super) fn try_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("begin immediate; rollback")
}

/// Inserts a row into each topic, rolls that back, then commits the unchanged format number, because a full disk shows only in a
/// commit.
pub(super) fn try_append(connection: &Connection, topics: &Topics) -> Result<(), BadFile> {
    let topics: Vec<_> = topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    connection.execute_batch("begin immediate; savepoint tried").map_err(in_header)?;
    let insert = |topic: &Arc<Topic>| topic::try_insert(connection, topic).map_err(in_topic(&topic.name));
    let tried = topics.iter().try_for_each(insert).and_then(|()| {
        let text = format!("rollback to tried; pragma user_version = {FORMAT}; commit");
        connection.execute_batch(&text).map_err(in_header)
    });
    // After some errors SQLite has already rolled back.
    let undone = if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("rollback") };
    tried.and(undone.map_err(in_header))
}

/// Copies the part of the write-ahead log that no reader needs into the file. Blocks neither readers nor the writer.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
}

/// Renames a closed file, so that the next open creates a new one.
pub(super) fn set_aside(file: &Path, to: &Path) -> io::Result<()> {
    if wal::beside(file).exists() {
        // SQLite would apply this write-ahead log to the next file.
        return Err(io::Error::other(format!("another program has {} open: stop it first", file.display())));
    }
    if to.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists already", to.display())));
    }
    fs::rename(file, to)?;
    file.parent().map_or(Ok(()), sync_folder)
}

/// Adds the checksum column to topic tables of older versions.
pub(super) fn add_sums(connection: &Connection) -> Result<(), BadFile> {
    named_topics(connection)?
        .into_iter()
        .try_for_each(|(id, name, _)| topic::add_sums(connection, id).map_err(in_topic(&name)))
}

pub(super) fn load_topics(connection: &Connection) -> Result<HashMap<Arc<str>, Arc<Topic>>, BadFile> {
    let topic = |(id, name, kind): (i64, String, String)| {
        let load = || {
            let topic =
                Topic::new(id, name.as_str().into(), topic::kind_from(&kind)?, topic::stored_end(connection, id)?);
            Ok(if topic::has_sums(connection, id)? { topic } else { topic.without_sums() })
        };
        let topic = Arc::new(load().map_err(in_topic(&name))?);
        Ok((Arc::clone(&topic.name), topic))
    };
    named_topics(connection)?.into_iter().map(topic).collect()
}

/// Reads the id, name and kind of every topic.
fn named_topics(connection: &Connection) -> Result<Vec<(i64, String, String)>, BadFile> {
    let select = || {
        let mut select = connection.prepare("select id, name, kind from topics order by id")?;
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<rusqlite::Result<_>>()
    };
    select().map_err(in_topics)
}
