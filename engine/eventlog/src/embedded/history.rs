//! Reads records from the file in chunks, on blocking threads, and verifies each row's checksum.
//!
//! This uses rusqlite because sqlx returns rows one by one with separate allocations, which took a quarter of a replay's CPU time.
//! Here all records of a chunk share one buffer.

use std::{
    ffi::OsString,
    ops::Range,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    stored::{self, BadRow},
    topic::Topic,
    wal::Wal,
};
use crate::{Partition, ReadError, Record};

/// How many chunks are read concurrently. More would only compete for the same disk.
const READERS: u32 = 4;
/// A chunk ends with the record that brings it to this size. Bounded because any record of it keeps the whole buffer alive.
const CHUNK_BYTES: usize = 1024 * 1024;
/// More topics than a deployment has.
const N_STATEMENTS: usize = 256;
/// How long a connection waits for another connection's lock.
const BUSY: Duration = Duration::from_secs(5);
/// How many times reading is attempted before it fails.
const ATTEMPTS: u32 = 5;
/// The pause after the first attempt; it doubles after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How the file is opened for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// There may be a writer or a write-ahead log.
    Shared,
    /// There is neither a writer nor a write-ahead log. SQLite then creates no other file and takes no lock.
    Alone,
}

impl Sharing {
    /// The mode for a file without a writer and with this write-ahead log.
    pub(super) fn beside(wal: Wal) -> Self {
        match wal {
            Wal::Empty => Self::Alone,
            Wal::Commits => Self::Shared,
        }
    }
}

/// A reader of the file.
#[derive(Clone)]
pub(super) struct History {
    file: Arc<Path>,
    sharing: Sharing,
    /// Connections that are not in use.
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
    /// Each chunk is read with a new connection, since a reused one has pages cached in memory.
    is_unbuffered: bool,
}

impl History {
    pub(super) fn new(file: &Path, sharing: Sharing) -> Self {
        let turns = Arc::new(Semaphore::new(READERS as usize));
        Self { file: file.into(), sharing, idle: Arc::default(), turns, is_unbuffered: false }
    }

    /// Returns a reader that caches no pages between chunks.
    pub(super) fn unbuffered(&self) -> Self {
        Self { is_unbuffered: true, ..self.clone() }
    }

    pub(super) fn is_unbuffered(&self) -> bool {
        self.is_unbuffered
    }

    pub(super) fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// Waits until no chunk is being read, then closes all connections.
    pub(super) async fn close(&self) {
        let all = self.turns.acquire_many(READERS).await;
        self.turns.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(all);
    }

    /// Returns between one and `limit` durable records from `from`, which must be below the topic's end.
    pub(super) async fn chunk(&self, topic: &Arc<Topic>, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.try_chunk(topic, from, limit).await {
                Ok(records) => return Ok(records),
                Err(error) => tracing::warn!(%error, topic = %topic.name, from, "reading the log's file again"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.try_chunk(topic, from, limit).await
    }

    async fn try_chunk(&self, topic: &Arc<Topic>, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let topic = Arc::clone(topic);
        self.in_turn(move |history| history.read(&topic, from, limit)).await
    }

    /// Returns the size of a topic's rows in bytes. Reads no value, but walks the whole table.
    pub(super) async fn size_bytes(&self, topic: &Arc<Topic>) -> Result<u64, ReadError> {
        let topic = Arc::clone(topic);
        let size = move |history: &Self| {
            let connection = open(&history.file, history.sharing).map_err(unavailable)?;
            let size: i64 = connection.query_row(&topic.size, [], |row| row.get(0)).map_err(unavailable)?;
            Ok(size.cast_unsigned())
        };
        self.in_turn(size).await
    }

    /// Reads on a blocking thread.
    async fn in_turn<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let closed = |_| ReadError::Unavailable { reason: "the log is closed".to_owned() };
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        let history = self.clone();
        let reading = spawn_blocking(move || {
            let outcome = read(&history);
            drop(turn);
            outcome
        });
        // The error itself contains the panic message, which may contain data of a record.
        let panicked = |_| ReadError::Unavailable { reason: "the thread that read the log panicked".to_owned() };
        reading.await.map_err(panicked)?
    }

    fn read(&self, topic: &Topic, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let known = if self.is_unbuffered { None } else { idle().pop() };
        let connection = match known {
            Some(connection) => connection,
            None => open(&self.file, self.sharing).map_err(unavailable)?,
        };
        // The file may already contain the next commit. Its records are hidden until the end has moved, because a reader that saw
        // them would be beyond the end.
        let shown = usize::try_from(topic.end().saturating_sub(from)).unwrap_or(usize::MAX);
        let chunk = Chunk::read(&connection, topic, from, limit.min(shown)).map_err(|error| {
            match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(topic, from, error.to_string()),
                _ => unavailable(error),
            }
        })?;
        if !self.is_unbuffered {
            idle().push(connection);
        }
        chunk.records(topic, from)
    }
}

fn unavailable(error: rusqlite::Error) -> ReadError {
    ReadError::Unavailable { reason: error.to_string() }
}

/// Opens a read-only connection.
pub(super) fn open(file: &Path, sharing: Sharing) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match sharing {
        Sharing::Shared => Connection::open_with_flags(file, flags)?,
        Sharing::Alone => Connection::open_with_flags(immutable(file), flags | OpenFlags::SQLITE_OPEN_URI)?,
    };
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    Ok(connection)
}

/// Returns the URI that opens a file as immutable.
fn immutable(file: &Path) -> OsString {
    // Escape the characters that have a meaning in a URI.
    let mut path = Vec::new();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => path.extend(format!("%{byte:02x}").into_bytes()),
            byte => path.push(*byte),
        }
    }
    OsString::from_vec([b"file:", path.as_slice(), b"?immutable=1"].concat())
}

/// Rows as they are stored.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// A stored row. `head` and `value` are ranges of the chunk's bytes.
struct Row {
    offset: i64,
    head: Range<usize>,
    value: Range<usize>,
    /// The result of the checksum verification.
    checked: Result<(), BadRow>,
}

impl Chunk {
    fn read(connection: &Connection, topic: &Topic, from: u64, limit: usize) -> rusqlite::Result<Self> {
        let mut chunk = Self::default();
        let mut select = connection.prepare_cached(&topic.select)?;
        let mut rows = select.query((from.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX)))?;
        while let Some(row) = rows.next()? {
            let offset: i64 = row.get(0)?;
            let (head, value) = (row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
            let checked = stored::check(offset.cast_unsigned(), head, value, row.get_ref(3)?);
            let (head, value) = (chunk.copy(head), chunk.copy(value));
            chunk.rows.push(Row { offset, head, value, checked });
            if chunk.bytes.len() >= CHUNK_BYTES {
                break;
            }
        }
        Ok(chunk)
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Decodes the records, which must start at `from` and have no gap.
    fn records(self, topic: &Topic, from: u64) -> Result<Vec<Record>, ReadError> {
        let damaged = |offset, reason| damaged(topic, offset, reason);
        if self.rows.is_empty() {
            return Err(damaged(from, "it is missing".to_owned()));
        }
        let bytes = Bytes::from(self.bytes);
        let records = (from..).zip(self.rows).map(|(expected, Row { offset, head, value, checked })| {
            if u64::try_from(offset) != Ok(expected) {
                return Err(damaged(expected, format!("it is missing, the next one is {offset}")));
            }
            let decoded = checked.and_then(|()| stored::decode(expected, bytes.slice(head), bytes.slice(value)));
            decoded.map_err(|error| damaged(expected, error.to_string()))
        });
        records.collect()
    }
}

/// Returns the error for a damaged record at `offset`, or after it in the same chunk.
fn damaged(topic: &Topic, offset: u64, reason: String) -> ReadError {
    ReadError::Damaged { partition: Partition::journal(Arc::clone(&topic.name)), offset, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TopicKind,
        embedded::{
            file,
            topic::{self, create_table},
        },
    };

    #[tokio::test]
    async fn records_that_are_committed_but_not_published_yet_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.sqlite");
        let writer = file::connect(&file).unwrap();
        create_table(&writer, 1).unwrap();
        let topic = Arc::new(Topic::new(1, "t".into(), TopicKind::Journal, 3));
        for offset in 0..5 {
            let record = Record { offset, time_ms: 0, key: None, headers: Vec::new(), value: "x".into() };
            topic::insert(&mut writer.prepare(&topic.insert).unwrap(), &record).unwrap();
        }
        let shown = History::new(&file, Sharing::Shared).chunk(&topic, 1, 10).await.unwrap();
        assert_eq!(shown.iter().map(|record| record.offset).collect::<Vec<_>>(), [1, 2]);
    }
}
