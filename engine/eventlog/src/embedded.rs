//! A log in one SQLite file, for a single process. There is nothing to install, and `kill -9` loses nothing that was acknowledged.
//!
//! - `log.sqlite`: a table per topic, in WAL mode with `synchronous=FULL`. An append is acknowledged after its commit was
//!   fsynced. A single writer commits all queued appends in one transaction, so that concurrent callers share one fsync.
//! - `log.lock`: locked while the log is open, to keep out a second process.
//! - `positions.sqlite`: the positions of groups. Not fsynced, because a lost position only repeats work.
//!
//! Readers get the newest records from memory and older ones from the file; [`EventLog::stored`] reads all of them from the file.
//! If a commit fails, it may or may not be durable, so the process exits. The next process makes every commit that it finds durable
//! before it serves readers.
//!
//! Deliberately absent: a second process, network file systems (their locks are unreliable), several partitions, deletion.

mod checkpointer;
mod file;
mod history;
mod positions;
mod reader;
mod stored;
mod topic;
mod wal;
mod writer;

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};
use rusqlite::ErrorCode;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use self::{
    checkpointer::Checkpointer,
    file::BadFile,
    history::{History, Sharing},
    positions::{EmbeddedLease, Kept, Positions},
    topic::Topic,
    wal::Wal,
    writer::{Appended, Job, Writer},
};
use crate::{
    AppendError, Appending, EventLog, Landed, Lease, LeaseError, NewRecord, Partition, Position, ReadError, Reading,
    Record, TopicError, TopicSpec,
};

/// The version of SQLite.
pub fn library_version() -> &'static str {
    rusqlite::version()
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the log in {} is in use by another process: stop that one first, or choose another data folder", dir.display())]
    InUse { dir: PathBuf },
    #[error("the log's folder {} can't be used: {source}", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    #[error("the log in {} has not begun", dir.display())]
    NotBegun { dir: PathBuf },
    #[error("the log in {} has format {found}, but this version knows only {}: use the version that wrote it", dir.display(), file::FORMAT)]
    Format {
        dir: PathBuf,
        /// The format number in the file.
        found: i64,
    },
    /// The file can be read but not written.
    #[error(
        "the log in {} can't be written: {source}. See that log.sqlite belongs to this user, and is on a file system that is \
         mounted for writing and has room",
        dir.display()
    )]
    Unwritable { dir: PathBuf, source: rusqlite::Error },
    /// The write-ahead log, which may hold the newest records, can't be read.
    #[error(
        "{} can't be read, and may hold records that log.sqlite lacks: {reason}. If the folder is read-only, copy it to where it can be \
         written; if the file is damaged, restore the whole folder from a backup",
        file.display()
    )]
    WriteAheadLog { file: PathBuf, reason: String },
    /// The file is corrupt, or was changed by another program.
    #[error(
        "the log in {} is damaged: {place}: {reason}. Nothing was changed: restore log.sqlite from a backup, or import an export into an \
         empty folder",
        dir.display()
    )]
    Damaged {
        dir: PathBuf,
        /// The damaged part of the file.
        place: String,
        reason: String,
    },
    #[error("the log in {} can't be opened: {source}", dir.display())]
    Database { dir: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

impl OpenError {
    fn database(dir: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database { dir: dir.into(), source: source.into() }
    }

    /// Returns [`OpenError::Damaged`] if the error means that, otherwise the result of `other`.
    fn of(dir: &Path, BadFile { place, source }: BadFile, other: impl FnOnce(rusqlite::Error) -> Self) -> Self {
        if file::is_damage(&source) {
            Self::Damaged { dir: dir.into(), place, reason: source.to_string() }
        } else {
            other(source)
        }
    }

    fn unread(dir: &Path, bad: BadFile) -> Self {
        Self::of(dir, bad, |source| Self::database(dir, source))
    }

    fn unwritten(dir: &Path, bad: BadFile) -> Self {
        Self::of(dir, bad, |source| Self::Unwritable { dir: dir.into(), source })
    }
}

const FILE: &str = "log.sqlite";

const POSITIONS: &str = "positions.sqlite";
/// Locked while the log is open.
const LOCK: &str = "log.lock";

/// All topics by name. Only the writer adds to it.
type Topics = Arc<RwLock<HashMap<Arc<str>, Arc<Topic>>>>;

/// The log in a data folder. Dropping it closes the log after everything queued has been written.
pub struct EmbeddedLog {
    topics: Topics,
    history: History,
    access: Access,
}

/// Whether the log was opened for writing.
#[derive(Clone)]
enum Access {
    /// Read-write.
    Write { queue: mpsc::UnboundedSender<Job>, positions: Positions },
    /// Read-only.
    Look(Arc<Looking>),
}

/// The state of a read-only log.
struct Looking {
    /// The error is the reason why they can't be read.
    positions: Result<Kept, String>,
    /// Keeps writers out. `None` if the folder has no lock file.
    _lock: Option<File>,
}

const PANICKED: &str = "the thread that opened it panicked";
const READ_ONLY: &str = "the log is open for reading only";

impl EmbeddedLog {
    /// Opens the log in `dir`, creating both if they are missing.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while another process, or another `EmbeddedLog` of this one, has it open.
    pub async fn open(dir: &Path) -> Result<Arc<Self>, OpenError> {
        let folder = dir.to_owned();
        let opened = spawn_blocking(move || open(&folder)).await;
        let (writer, topics) = opened.map_err(|_| OpenError::database(dir, PANICKED))??;
        let positions = Positions::open(&dir.join(POSITIONS)).await;
        let positions = positions.map_err(|source| OpenError::database(dir, source))?;
        let end = |name: &str| find(&topics, name).map_or(0, |topic| topic.end());
        if positions.forget_if_ahead(end).await.map_err(|source| OpenError::database(dir, source))? {
            tracing::warn!("the log is older than the positions stored beside it: its readers start over");
        }
        let queue = writer.start().map_err(|source| OpenError::database(dir, source))?;
        let history = History::new(&dir.join(FILE), Sharing::Shared);
        Ok(Arc::new(Self { topics, history, access: Access::Write { queue, positions } }))
    }

    /// Opens the log in `dir` read-only. Creates no file, except the index that SQLite needs if a write-ahead log is left; otherwise
    /// the file system may be read-only. Topics in `topics` that the log lacks count as empty. Appends and leases are refused.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while a process has the log open for writing. [`OpenError::WriteAheadLog`] if the write-ahead log may
    /// contain records that can't be read; they are never skipped.
    pub async fn open_to_read(dir: &Path, topics: &[TopicSpec]) -> Result<Arc<Self>, OpenError> {
        let (folder, topics) = (dir.to_owned(), topics.to_vec());
        let opened = spawn_blocking(move || open_to_read(&folder, topics)).await;
        opened.map_err(|_| OpenError::database(dir, PANICKED))?.map(Arc::new)
    }

    fn queue(&self) -> Result<&mpsc::UnboundedSender<Job>, String> {
        match &self.access {
            Access::Write { queue, .. } => Ok(queue),
            Access::Look(_) => Err(READ_ONLY.to_owned()),
        }
    }

    /// Closes the log and renames its file to `name` in the same folder, so that the next open creates an empty log. The folder
    /// stays locked until the file has been renamed.
    ///
    /// # Errors
    /// If `name` exists already, or another program has the file open. The file then keeps its name.
    pub async fn close_and_set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let file = Arc::clone(self.history.file());
        let to = file.with_file_name(name);
        let renamed = to.clone();
        self.close_and(move || file::set_aside(&file, &renamed)).await.map(|()| to)
    }

    async fn close_and(&self, last: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let Access::Write { queue, positions } = &self.access else {
            self.history.close().await;
            return Err(io::Error::other(READ_ONLY));
        };
        // The last connection to close checkpoints the write-ahead log, and only the writer's can.
        tokio::join!(self.history.close(), positions.close());
        let (done, closed) = oneshot::channel();
        let ended = || io::Error::other("the log's writer has ended");
        queue.send(Job::Close { last: Box::new(last), done }).map_err(|_| ended())?;
        closed.await.map_err(|_| ended())?
    }

    /// Returns whether `dir` contains a log. An empty file does not count: it may be left by a process killed while creating one.
    pub fn is_in(dir: &Path) -> bool {
        let file = dir.join(FILE);
        !file::is_empty(&file) || !file::is_empty(&wal::beside(&file))
    }

    fn topic(&self, partition: &Partition) -> Result<Arc<Topic>, ReadError> {
        // Only partition 0 exists, so the error includes the index of any other.
        if partition.index != 0 {
            return Err(ReadError::UnknownTopic { topic: partition.to_string().into() });
        }
        find(&self.topics, &partition.topic)
            .ok_or_else(|| ReadError::UnknownTopic { topic: Arc::clone(&partition.topic) })
    }

    /// Returns the record's topic, or the reason why the log refuses the record.
    fn accept(&self, record: &NewRecord) -> Result<Arc<Topic>, AppendError> {
        let refused = |reason| AppendError::Refused { reason };
        if record.partition.is_some_and(|index| index != 0) {
            return Err(refused(format!("topic {} has only partition 0 on the embedded log", record.topic)));
        }
        record.fits()?;
        find(&self.topics, &record.topic).ok_or_else(|| refused(format!("topic {} does not exist", record.topic)))
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        let closed = || TopicError::Unavailable { reason: "the log's writer has ended".into() };
        let (done, outcome) = oneshot::channel();
        let queue = self.queue().map_err(|reason| TopicError::Unavailable { reason })?;
        queue.send(Job::Create { topics: topics.to_vec(), done }).map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())??;
        Ok(Vec::new())
    }

    fn has_foreign_writers(&self) -> bool {
        false
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        let journal = Partition::journal(topic);
        self.topic(&journal).map(|_| vec![journal])
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        let mut answers = Vec::with_capacity(records.len());
        let mut accepted = Vec::with_capacity(records.len());
        for record in records {
            match self.accept(&record) {
                Ok(topic) => {
                    accepted.push(Appended { place: answers.len(), topic, record });
                    // A placeholder: the writer sets the offset.
                    answers.push(Ok(Landed::journal(u64::MAX)));
                }
                Err(error) => answers.push(Err(error)),
            }
        }
        if accepted.is_empty() {
            return std::future::ready(answers).boxed();
        }
        let count = answers.len();
        let (done, outcome) = oneshot::channel();
        // Queued here rather than in the future, so that records are appended in the order of calls.
        let job = Job::Append { records: accepted, answers, done };
        match self.queue() {
            Ok(queue) => {
                if let Err(mpsc::error::SendError(job)) = queue.send(job) {
                    job.refuse("the log is closed");
                }
            }
            Err(reason) => job.refuse(&reason),
        }
        let lost = || AppendError::Unknown { reason: "the log's writer has ended".into() };
        async move { outcome.await.unwrap_or_else(|_| vec![Err(lost()); count]) }.boxed()
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        let readings: Vec<Reading> = from
            .into_iter()
            .map(|(partition, offset)| match self.topic(&partition) {
                Ok(topic) => reader::read(topic, partition, offset, self.history.clone()),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .collect();
        // An error ends the whole reading, not only that of its partition.
        let all = stream::select_all(readings);
        all.scan(false, |failed, item| {
            let go_on = !*failed;
            *failed = item.is_err();
            std::future::ready(go_on.then_some(item))
        })
        .boxed()
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        let Self { topics, history, access } = &*self;
        Arc::new(Self { topics: Arc::clone(topics), history: history.unbuffered(), access: access.clone() })
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        // Authoritative: the writer is the only one that appends, and it moves the end before it acknowledges.
        partitions.iter().map(|partition| self.topic(partition).map(|topic| topic.end())).collect()
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        let topic = self.topic(partition)?;
        let mut records = Vec::with_capacity(offsets.len());
        for &wanted in offsets {
            let end = topic.end();
            if wanted >= end {
                return Err(ReadError::OutOfRange { partition: partition.clone(), wanted, first: 0, end });
            }
            let recent = if self.history.is_unbuffered() { None } else { topic.recent(wanted, 1) };
            let found = match recent {
                Some(recent) => recent,
                None => self.history.chunk(&topic, wanted, 1).await?,
            };
            records.extend(found);
        }
        Ok(records)
    }

    async fn size_bytes(&self, topic: &str) -> Result<Option<u64>, ReadError> {
        let topic = self.topic(&Partition::journal(topic))?;
        // A topic without records may have no table.
        Ok(Some(if topic.end() == 0 { 0 } else { self.history.size_bytes(&topic).await? }))
    }

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        match &self.access {
            // There is only one process, so joining the group disturbs no other member.
            Access::Write { positions, .. } => EmbeddedLease::new(group, positions.clone()).committed(partitions).await,
            Access::Look(looking) => match &looking.positions {
                Ok(kept) => Ok(partitions.iter().map(|partition| kept.of(group, partition)).collect()),
                Err(reason) => Err(LeaseError::Unavailable { reason: reason.clone() }),
            },
        }
    }

    async fn lead(&self, group: &str, _journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        match &self.access {
            Access::Write { positions, .. } => Ok(Arc::new(EmbeddedLease::new(group, positions.clone()))),
            Access::Look(_) => Err(LeaseError::Unavailable { reason: READ_ONLY.to_owned() }),
        }
    }

    async fn takes_appends(&self) -> Result<(), String> {
        let closed = || "the log's writer has ended".to_owned();
        let (done, outcome) = oneshot::channel();
        self.queue()?.send(Job::Try { done }).map_err(|_| closed())?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn close(&self) {
        // This fails only if the writer has already ended, or the log is read-only.
        drop(self.close_and(|| Ok(())).await);
    }
}

fn find(topics: &Topics, name: &str) -> Option<Arc<Topic>> {
    topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
}

/// The blocking part of [`EmbeddedLog::open`].
fn open(dir: &Path) -> Result<(Writer, Topics), OpenError> {
    let lock = lock(dir).map_err(|refused| not_locked(dir, refused))?;
    let file = dir.join(FILE);
    write_ahead_log(&file)?;
    let (unread, unwritten) = (|bad| OpenError::unread(dir, bad), |bad| OpenError::unwritten(dir, bad));
    let mut connection = file::connect(&file).map_err(file::in_header).map_err(unwritten)?;
    // SQLite opens a file even if it can't write to it.
    file::try_writing(&connection).map_err(file::in_header).map_err(unwritten)?;
    let found = file::create_tables(&mut connection).map_err(file::in_header).map_err(unwritten)?;
    if found != file::FORMAT {
        return Err(OpenError::Format { dir: dir.into(), found });
    }
    file::make_durable(&connection).map_err(|source| OpenError::database(dir, source))?;
    file::add_sums(&connection).map_err(unwritten)?;
    let topics: Topics = Arc::new(RwLock::new(file::load_topics(&connection).map_err(unread)?));
    file::try_append(&connection, &topics).map_err(unwritten)?;
    // The tables are durable; make the directory entries of the files durable too.
    sync_folder(dir).map_err(|source| OpenError::Folder { dir: dir.into(), source })?;
    let checkpointer = Checkpointer::start(&file).map_err(|source| OpenError::database(dir, source))?;
    Ok((Writer::new(connection, checkpointer, Arc::clone(&topics), lock), topics))
}

/// The blocking part of [`EmbeddedLog::open_to_read`].
fn open_to_read(dir: &Path, expected: Vec<TopicSpec>) -> Result<EmbeddedLog, OpenError> {
    let lock = shared_lock(dir).map_err(|refused| not_locked(dir, refused))?;
    let file = dir.join(FILE);
    let sharing = Sharing::beside(write_ahead_log(&file)?);
    let refused = |bad: BadFile| match (sharing, bad.source.sqlite_error_code()) {
        // SQLite needs an index file to read a write-ahead log, and can't create one in a read-only folder.
        (Sharing::Shared, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) => {
            OpenError::WriteAheadLog { file: wal::beside(&file), reason: bad.source.to_string() }
        }
        _ => OpenError::unread(dir, bad),
    };
    let connection = history::open(&file, sharing).map_err(file::in_header).map_err(refused)?;
    let mut topics = match file::format(&connection).map_err(file::in_header).map_err(refused)? {
        file::FORMAT => file::load_topics(&connection).map_err(refused)?,
        0 => return Err(OpenError::NotBegun { dir: dir.into() }),
        found => return Err(OpenError::Format { dir: dir.into(), found }),
    };
    for TopicSpec { name, kind } in expected {
        // A topic without records is never read, so it needs no table.
        topics.entry(Arc::clone(&name)).or_insert_with(|| Arc::new(Topic::new(0, name, kind, 0)));
    }
    let topics: Topics = Arc::new(RwLock::new(topics));
    let end = |name: &str| find(&topics, name).map_or(0, |topic| topic.end());
    let positions = Kept::read(&dir.join(POSITIONS), end);
    let access = Access::Look(Arc::new(Looking { positions, _lock: lock }));
    Ok(EmbeddedLog { history: History::new(&file, sharing), topics, access })
}

fn not_locked(dir: &Path, refused: TryLockError) -> OpenError {
    match refused {
        TryLockError::WouldBlock => OpenError::InUse { dir: dir.into() },
        TryLockError::Error(source) => OpenError::Folder { dir: dir.into(), source },
    }
}

/// Checks the write-ahead log of `file`, which may contain commits that are not in the file yet.
fn write_ahead_log(file: &Path) -> Result<Wal, OpenError> {
    let refused = |reason| OpenError::WriteAheadLog { file: wal::beside(file), reason };
    match wal::look(file).map_err(refused)? {
        // SQLite would delete the write-ahead log.
        Wal::Commits if file::is_empty(file) => Err(refused(format!("{} is missing or empty", file.display()))),
        wal => Ok(wal),
    }
}

/// Takes a shared lock, which admits other readers but no writer. Returns `None` if the folder has no lock file.
fn shared_lock(dir: &Path) -> Result<Option<File>, TryLockError> {
    match File::open(dir.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            let file = opened.map_err(TryLockError::Error)?;
            file.try_lock_shared()?;
            Ok(Some(file))
        }
    }
}

/// Creates the folder and takes its lock, which lasts as long as the returned file is open.
fn lock(dir: &Path) -> Result<File, TryLockError> {
    std::fs::create_dir_all(dir).map_err(TryLockError::Error)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK));
    let file = file.map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
