//! `log.sqlite` as the writer opens it: its tables, what it holds, and how that is made durable.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::{
    sync_folder,
    topic::{self, Topic},
};

/// What `pragma user_version` of `log.sqlite` says for the tables of this version.
pub(super) const FORMAT: i64 = 1;

/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(10);
/// More statements than a deployment's topics need.
const N_STATEMENTS: usize = 256;

/// What every connection that writes into the file is told.
const WRITING: &[(&str, &str)] = &[
    ("journal_mode", "wal"),
    // A commit has reached the disk when it returns.
    ("synchronous", "full"),
    // Checkpoints are asked for, because SQLite's own swallow their errors.
    ("wal_autocheckpoint", "0"),
    ("journal_size_limit", "67108864"),
];

/// A connection that writes into `file`, which is made if it is missing.
pub(super) fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    for (name, value) in WRITING {
        // Some answer with what they were told.
        let answer = connection.pragma_update_and_check(None, name, value, |_| Ok(()));
        answer.or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) })?;
    }
    Ok(connection)
}

/// Make the tables of a new file; the format of an old one.
pub(super) fn create_tables(connection: &mut Connection) -> rusqlite::Result<i64> {
    let found = connection.query_row("pragma user_version", [], |row| row.get(0))?;
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

/// A process that was killed between a write and its fsync leaves commits that only the system's memory has. Shown to
/// readers, they would look durable without being it; so everything found is first copied into the file and fsynced.
pub(super) fn make_durable(connection: &Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (pages, copied): (i64, i64) =
        connection.query_row("pragma wal_checkpoint(truncate)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if pages != copied {
        let reason = format!("another program reads the file: {copied} of {pages} pages could be made durable");
        return Err(io::Error::other(reason).into());
    }
    Ok(())
}

/// Copy the write-ahead log into the file, as far as nobody reads it. Neither readers nor the writer are disturbed.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
}

/// Rename a closed file, so that the next opening makes a new one.
pub(super) fn set_aside(file: &Path, to: &Path) -> io::Result<()> {
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    if Path::new(&wal).exists() {
        // Left behind, it would be read into the next file.
        return Err(io::Error::other(format!("another program has {} open: stop it first", file.display())));
    }
    if to.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists already", to.display())));
    }
    fs::rename(file, to)?;
    file.parent().map_or(Ok(()), sync_folder)
}

/// Every topic, by name. Tables of older versions get what they lack.
pub(super) fn load_topics(connection: &Connection) -> rusqlite::Result<HashMap<Arc<str>, Arc<Topic>>> {
    let mut select = connection.prepare("select id, name, kind from topics order by id")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let topic = |row: rusqlite::Result<(i64, String, String)>| {
        let (id, name, kind) = row?;
        topic::add_sums(connection, id)?;
        let (kind, end) = (topic::kind_from(&kind)?, topic::stored_end(connection, id)?);
        let topic = Topic::new(id, name.into(), kind, end);
        Ok((Arc::clone(&topic.name), Arc::new(topic)))
    };
    rows.map(topic).collect()
}
