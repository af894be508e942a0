//! A log in one SQLite file: nothing to install, one process, `kill -9` at any moment loses nothing acknowledged.
//!
//! - `log.sqlite`: the topics, a table each, in WAL mode with `synchronous=FULL`: an append is acknowledged after its commit
//!   was fsynced. One writer commits whatever has queued as one transaction, so that many callers share one fsync.
//! - `log.lock`: held as long as the log is open; refuses a second process.
//! - `positions.sqlite`: how far each group has come. Not fsynced: a lost position only repeats work.
//!
//! Reading takes the newest records from memory and older ones from the file; [`EventLog::stored`] reads all from the file. When it
//! is not known whether a commit is durable, the process ends: the next one makes durable what it finds before it shows anything.
//!
//! Deliberately absent: a second process, network file systems (their locks lie), several partitions, deletion.

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

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open. Stop that one, or choose another folder.
    #[error("the log in {} is in use by another process: stop that one first, or choose another data folder", dir.display())]
    InUse { dir: PathBuf },
    /// The folder can't be made, written to or locked.
    #[error("the log's folder {} can't be used: {source}", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    /// There is a file without tables, as a process leaves it that is killed while it creates the log.
    #[error("the log in {} has not begun", dir.display())]
    NotBegun { dir: PathBuf },
    /// The file was written by another version.
    #[error("the log in {} has format {found}, but this version knows only {}", dir.display(), file::FORMAT)]
    Format {
        dir: PathBuf,
        /// What the file says.
        found: i64,
    },
    /// The file can be read, but nothing can be appended.
    #[error(
        "the log in {} can't be written: {source}. See that log.sqlite belongs to this user, and is on a file system that is \
         mounted for writing and has room",
        dir.display()
    )]
    Unwritable { dir: PathBuf, source: rusqlite::Error },
    /// The newest records can't be read.
    #[error(
        "{} can't be read, and may hold records that log.sqlite lacks: {reason}. If the folder is read-only, copy it to where it can be \
         written; if the file is damaged, restore the whole folder from a backup",
        file.display()
    )]
    WriteAheadLog { file: PathBuf, reason: String },
    /// The file is not what this program wrote, so that it can't be opened at all.
    #[error(
        "the log in {} is damaged: {place}: {reason}. Nothing was changed: restore log.sqlite from a backup, or import an export into an \
         empty folder",
        dir.display()
    )]
    Damaged {
        dir: PathBuf,
        /// Where in the file.
        place: String,
        reason: String,
    },
    /// SQLite can't open the file.
    #[error("the log in {} can't be opened: {source}", dir.display())]
    Database { dir: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

impl OpenError {
    fn database(dir: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database { dir: dir.into(), source: source.into() }
    }

    /// That the file is damaged, or else what `other` makes of the error.
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

/// The file with the records.
const FILE: &str = "log.sqlite";

/// How far groups have come.
const POSITIONS: &str = "positions.sqlite";
/// The file whose lock is held as long as the log is open.
const LOCK: &str = "log.lock";

/// Every topic, by name. Only the writer adds to it.
type Topics = Arc<RwLock<HashMap<Arc<str>, Arc<Topic>>>>;

/// The log of a data folder. Dropping it closes the folder, once everything queued has been written.
pub struct EmbeddedLog {
    topics: Topics,
    history: History,
    access: Access,
}

/// What the log was opened for.
#[derive(Clone)]
enum Access {
    /// To append as well.
    Write { queue: mpsc::UnboundedSender<Job>, positions: Positions },
    /// To look at it.
    Look(Arc<Looking>),
}

/// What is kept while a log is open for reading only.
struct Looking {
    /// Or why they can't be read.
    positions: Result<Kept, String>,
    /// Keeps writers away; none in a folder that was never locked.
    _lock: Option<File>,
}

const PANICKED: &str = "the thread that opened it panicked";
const READ_ONLY: &str = "the log is open for reading only";

impl EmbeddedLog {
    /// Open the log in `dir`, which is made if it is missing.
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
            tracing::warn!("the log is older than the positions kept beside it: what reads it begins anew");
        }
        let queue = writer.start().map_err(|source| OpenError::database(dir, source))?;
        let history = History::new(&dir.join(FILE), Sharing::Shared);
        Ok(Arc::new(Self { topics, history, access: Access::Write { queue, positions } }))
    }

    /// Open the log in `dir` for reading only: no file is made or changed, and the file system may be read-only. Those of `topics` that
    /// it lacks count as empty. Appends and leases are refused.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while a process has it open for writing; [`OpenError::WriteAheadLog`] if there are records in the write-ahead
    /// log that can't be read: they are never skipped.
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

    /// Close the log, and rename its file to `name` in the same folder: the next opening begins with an empty log. The folder is
    /// locked until that is done.
    ///
    /// # Errors
    /// The file is where it was: `name` exists already, or another program has the file open.
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
        // The last one that closes the file writes into it what lies beside it, and only the writer can.
        tokio::join!(self.history.close(), positions.close());
        let (done, closed) = oneshot::channel();
        let ended = || io::Error::other("the log's writer has ended");
        queue.send(Job::Close { last: Box::new(last), done }).map_err(|_| ended())?;
        closed.await.map_err(|_| ended())?
    }

    /// Whether `dir` holds a log. A process that was killed while it created one may have left an empty file.
    pub fn is_in(dir: &Path) -> bool {
        let file = dir.join(FILE);
        !file::is_empty(&file) || !file::is_empty(&wal::beside(&file))
    }

    fn topic(&self, partition: &Partition) -> Result<Arc<Topic>, ReadError> {
        // Only partition 0 exists; another one is named with its index.
        if partition.index != 0 {
            return Err(ReadError::UnknownTopic { topic: partition.to_string().into() });
        }
        find(&self.topics, &partition.topic)
            .ok_or_else(|| ReadError::UnknownTopic { topic: Arc::clone(&partition.topic) })
    }

    /// The record's topic, or why the log does not take it.
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
                    // The writer puts the offset here.
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
        // Queued here, not in the future: the order of calls is the order in the log.
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
        // After an error the whole reading ends, not only the partition's.
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
        // The writer moves the end before it answers, and nobody else writes: this is the authority.
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

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        match &self.access {
            // Nobody else can have this log open, so taking part disturbs nobody.
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
        // It fails only if the writer had ended before, or there is none.
        drop(self.close_and(|| Ok(())).await);
    }
}

fn find(topics: &Topics, name: &str) -> Option<Arc<Topic>> {
    topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
}

/// Everything that blocks until the log can be used.
fn open(dir: &Path) -> Result<(Writer, Topics), OpenError> {
    let lock = lock(dir).map_err(|refused| not_locked(dir, refused))?;
    let file = dir.join(FILE);
    write_ahead_log(&file)?;
    let (unread, unwritten) = (|bad| OpenError::unread(dir, bad), |bad| OpenError::unwritten(dir, bad));
    let mut connection = file::connect(&file).map_err(file::in_header).map_err(unwritten)?;
    // SQLite also opens a file that it can't write.
    file::try_writing(&connection).map_err(file::in_header).map_err(unwritten)?;
    let found = file::create_tables(&mut connection).map_err(file::in_header).map_err(unwritten)?;
    if found != file::FORMAT {
        return Err(OpenError::Format { dir: dir.into(), found });
    }
    file::make_durable(&connection).map_err(|source| OpenError::database(dir, source))?;
    file::add_sums(&connection).map_err(unwritten)?;
    let topics: Topics = Arc::new(RwLock::new(file::load_topics(&connection).map_err(unread)?));
    file::try_append(&connection, &topics).map_err(unwritten)?;
    // The tables are in the files; this makes the files' names durable too.
    sync_folder(dir).map_err(|source| OpenError::Folder { dir: dir.into(), source })?;
    let checkpointer = Checkpointer::start(&file).map_err(|source| OpenError::database(dir, source))?;
    Ok((Writer::new(connection, checkpointer, Arc::clone(&topics), lock), topics))
}

/// Everything that blocks until the log can be read.
fn open_to_read(dir: &Path, expected: Vec<TopicSpec>) -> Result<EmbeddedLog, OpenError> {
    let lock = shared_lock(dir).map_err(|refused| not_locked(dir, refused))?;
    let file = dir.join(FILE);
    let sharing = Sharing::beside(write_ahead_log(&file)?);
    let refused = |bad: BadFile| match (sharing, bad.source.sqlite_error_code()) {
        // SQLite reads a write-ahead log only with an index beside it, which it can't make in a folder that it can't write.
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
        // Nothing is read of a topic without records, so it needs no table.
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

/// What is in the write-ahead log of `file`: commits that are not in the file yet.
fn write_ahead_log(file: &Path) -> Result<Wal, OpenError> {
    let refused = |reason| OpenError::WriteAheadLog { file: wal::beside(file), reason };
    match wal::look(file).map_err(refused)? {
        // SQLite would delete it.
        Wal::Commits if file::is_empty(file) => Err(refused(format!("{} is missing or empty", file.display()))),
        wal => Ok(wal),
    }
}

/// Take the lock of a folder that others may read meanwhile, but not write. `None` if the folder was never locked.
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

/// Make the folder and take its lock, which lasts as long as the file is open.
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
