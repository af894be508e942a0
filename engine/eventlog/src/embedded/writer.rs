//! The only thread that writes. It commits all queued appends in one transaction, so that concurrent callers share one fsync.
//!
//! This uses rusqlite because sqlx sends each statement to another thread and waits for it: eight thread switches per commit, and
//! two copies of each value.

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::{
    Topics,
    checkpointer::Checkpointer,
    file::{self, BadFile},
    find, stored,
    topic::{self, Topic},
};
use crate::{AppendError, Landed, NewRecord, Record, TopicError, TopicSpec};

/// A transaction that has this many records takes no more appends, which bounds the wait of the first caller.
const GROUP_RECORDS: usize = 8192;
/// A transaction that has this many bytes takes no more appends.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// A checkpoint starts after this many bytes were written. Larger checkpoints delay concurrent commits on the same disk: with
/// 16 MiB, the 99th percentile of commands was 18 ms instead of 10 ms.
const CHECKPOINT_BYTES: usize = 4 * 1024 * 1024;
/// How long an exiting process waits for its last message to be written to stderr.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long after a successful commit the next one is assumed to succeed.
const PROVEN_FOR: Duration = Duration::from_secs(1);
/// What a trial append adds to the write-ahead log: one page.
const TRIAL_BYTES: usize = 4096;
/// The approximate overhead of a record in the file.
const ROW_BYTES: usize = 32;

type Answers = Vec<Result<Landed, AppendError>>;

/// A record to be written.
pub(super) struct Appended {
    /// The record's index in the caller's answers.
    pub place: usize,
    pub topic: Arc<Topic>,
    pub record: NewRecord,
}

/// A request to the writer.
pub(super) enum Job {
    /// Append these records. `answers` already contains the errors of records that were refused before.
    Append {
        records: Vec<Appended>,
        answers: Answers,
        done: oneshot::Sender<Answers>,
    },
    Create {
        topics: Vec<TopicSpec>,
        done: oneshot::Sender<Result<(), TopicError>>,
    },
    /// Check whether an append would succeed, unless one has just succeeded.
    Try {
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Stop. `last` runs after the file is closed, while the folder is still locked.
    Close {
        last: Box<dyn FnOnce() -> io::Result<()> + Send>,
        done: oneshot::Sender<io::Result<()>>,
    },
}

impl Job {
    /// Answers that the job was not and will not be done.
    pub(super) fn refuse(self, reason: &str) {
        // The caller may have stopped waiting.
        match self {
            Self::Append { records, answers, done } => drop(done.send(refused(&records, answers, reason))),
            Self::Create { done, .. } => drop(done.send(Err(TopicError::Unavailable { reason: reason.into() }))),
            Self::Try { done } => drop(done.send(Err(reason.to_owned()))),
            Self::Close { last: _, done } => drop(done),
        }
    }
}

/// An append whose records are in the group and that waits for the commit.
struct Waiting {
    answers: Answers,
    /// The indices of the answers to replace if the group is refused.
    places: Vec<usize>,
    done: oneshot::Sender<Answers>,
}

/// The records of one transaction, by topic, with their offsets.
#[derive(Default)]
struct Group {
    topics: Vec<(Arc<Topic>, Vec<Record>)>,
    waiting: Vec<Waiting>,
    records: usize,
    bytes: usize,
}

impl Group {
    fn is_full(&self) -> bool {
        self.records >= GROUP_RECORDS || self.bytes >= GROUP_BYTES
    }

    fn add(&mut self, records: Vec<Appended>, mut answers: Answers, done: oneshot::Sender<Answers>, time_ms: i64) {
        let mut places = Vec::with_capacity(records.len());
        for Appended { place, topic, record } in records {
            self.records += 1;
            self.bytes += stored::size(&record) + ROW_BYTES;
            let staged = self.staged(topic);
            let offset = staged.0.end() + staged.1.len() as u64;
            let NewRecord { key, headers, value, .. } = record;
            staged.1.push(Record { offset, time_ms, key, headers, value });
            answers[place] = Ok(Landed::journal(offset));
            places.push(place);
        }
        self.waiting.push(Waiting { answers, places, done });
    }

    fn staged(&mut self, topic: Arc<Topic>) -> &mut (Arc<Topic>, Vec<Record>) {
        let found = self.topics.iter().position(|(staged, _)| Arc::ptr_eq(staged, &topic));
        let index = found.unwrap_or_else(|| {
            self.topics.push((topic, Vec::new()));
            self.topics.len() - 1
        });
        &mut self.topics[index]
    }

    /// The commit is durable: publishes the records, then answers the callers.
    fn finish(self) {
        for (topic, records) in self.topics {
            topic.publish(records);
        }
        for waiting in self.waiting {
            drop(waiting.done.send(waiting.answers));
        }
    }

    /// Nothing was written: answers the callers with errors.
    fn refuse(self, reason: &str) {
        for Waiting { mut answers, places, done } in self.waiting {
            for place in places {
                answers[place] = Err(AppendError::Refused { reason: reason.into() });
            }
            drop(done.send(answers));
        }
    }
}

/// Owns the only connection that appends, and the folder's lock.
pub(super) struct Writer {
    connection: Connection,
    checkpointer: Checkpointer,
    topics: Topics,
    lock: File,
    bytes_since_checkpoint: usize,
    /// When a commit last succeeded.
    committed: Option<Instant>,
}

impl Writer {
    pub(super) fn new(connection: Connection, checkpointer: Checkpointer, topics: Topics, lock: File) -> Self {
        Self { connection, checkpointer, topics, lock, bytes_since_checkpoint: 0, committed: None }
    }

    /// Starts the writer's thread, which runs until every handle on the log is dropped or the log is closed. Returns its job queue.
    pub(super) fn start(self) -> io::Result<mpsc::UnboundedSender<Job>> {
        let (queue, jobs) = mpsc::unbounded_channel();
        thread::Builder::new().name("log-writer".into()).spawn(move || self.run(jobs))?;
        Ok(queue)
    }

    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut next = None;
        let closing = loop {
            match next.take().or_else(|| jobs.blocking_recv()) {
                Some(Job::Create { topics, done }) => drop(done.send(self.create(&topics))),
                Some(Job::Append { records, answers, done }) => {
                    let time_ms = now_ms();
                    let mut group = Group::default();
                    group.add(records, answers, done, time_ms);
                    while !group.is_full() && next.is_none() {
                        match jobs.try_recv() {
                            Ok(Job::Append { records, answers, done }) => group.add(records, answers, done, time_ms),
                            // Other jobs run after this transaction.
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.write(group);
                }
                // The caller has stopped waiting.
                Some(Job::Try { done }) if done.is_closed() => {}
                Some(Job::Try { done }) => drop(done.send(self.try_append())),
                Some(Job::Close { last, done }) => break Some((last, done)),
                None => break None,
            }
        };
        self.checkpointer.close();
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the log's file did not close cleanly; nothing acknowledged is in danger");
        }
        let ended = closing.map(|(last, done)| (last(), done));
        // Only after the file is closed may the next process open it.
        drop(self.lock);
        if let Some((outcome, done)) = ended {
            drop(done.send(outcome));
        }
    }

    fn write(&mut self, group: Group) {
        if let Err(error) = self.insert(&group) {
            // Nothing was committed, so after the rollback none of these records are in the log. A full disk fails the insert only
            // if the group outgrows SQLite's cache; smaller groups are written by the commit.
            self.roll_back(&error);
            tracing::error!(%error, records = group.records, "the log refused records");
            return group.refuse(&error.to_string());
        }
        self.commit();
        self.bytes_since_checkpoint += group.bytes;
        self.committed = Some(Instant::now());
        group.finish();
        self.checkpoint();
    }

    /// # Errors
    /// The reason why the log accepts no append now.
    fn try_append(&mut self) -> Result<(), String> {
        if self.committed.is_some_and(|committed| committed.elapsed() < PROVEN_FOR) {
            return Ok(());
        }
        if let Err(BadFile { source, .. }) = file::try_append(&self.connection, &self.topics) {
            if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
                end_process("a commit failed", &source);
            }
            return Err(source.to_string());
        }
        self.bytes_since_checkpoint += TRIAL_BYTES;
        self.committed = Some(Instant::now());
        self.checkpoint();
        Ok(())
    }

    fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("begin immediate")?.execute([]).map(drop)
    }

    /// Begins the transaction and inserts the records.
    fn insert(&self, group: &Group) -> rusqlite::Result<()> {
        self.begin()?;
        for (topic, records) in &group.topics {
            let mut insert = self.connection.prepare_cached(&topic.insert)?;
            for record in records {
                topic::insert(&mut insert, record)?;
            }
        }
        Ok(())
    }

    fn commit(&self) {
        let committed = self.connection.prepare_cached("commit").and_then(|mut commit| commit.execute([]));
        if let Err(error) = committed {
            end_process("a commit failed", &error);
        }
    }

    fn roll_back(&self, cause: &rusqlite::Error) {
        // After some errors, such as a full disk, SQLite has already rolled back.
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = self.connection.execute_batch("rollback") {
            tracing::error!(%cause, "a write failed and can't be taken back");
            end_process("a rollback failed", &error);
        }
    }

    fn create(&self, topics: &[TopicSpec]) -> Result<(), TopicError> {
        for spec in topics {
            match find(&self.topics, &spec.name) {
                Some(topic) if topic.kind == spec.kind => {}
                Some(topic) => {
                    return Err(TopicError::Drift {
                        topic: Arc::clone(&spec.name),
                        setting: "kind".into(),
                        found: topic::kind_name(topic.kind).into(),
                        wanted: topic::kind_name(spec.kind).into(),
                    });
                }
                None => self.create_one(spec)?,
            }
        }
        Ok(())
    }

    fn create_one(&self, spec: &TopicSpec) -> Result<(), TopicError> {
        let id = self.insert_topic(spec).map_err(|error| {
            self.roll_back(&error);
            TopicError::Unavailable { reason: error.to_string() }
        })?;
        self.commit();
        let topic = Arc::new(Topic::new(id, Arc::clone(&spec.name), spec.kind, 0));
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(Arc::clone(&spec.name), topic);
        Ok(())
    }

    fn insert_topic(&self, spec: &TopicSpec) -> rusqlite::Result<i64> {
        self.begin()?;
        let text = "insert into topics (name, kind) values (?, ?) returning id";
        let id = self.connection.query_row(text, (&*spec.name, topic::kind_name(spec.kind)), |row| row.get(0))?;
        topic::create_table(&self.connection, id)?;
        Ok(id)
    }

    /// Starts a checkpoint on the other thread if one is due. After it has ended, copies what was added meanwhile, so that the
    /// write-ahead log restarts. The part that readers still need is left for the next checkpoint.
    fn checkpoint(&mut self) {
        if self.checkpointer.has_ended() {
            if let Err(error) = file::checkpoint(&self.connection) {
                end_process("a checkpoint failed", &error);
            }
            self.bytes_since_checkpoint = 0;
        } else if self.bytes_since_checkpoint >= CHECKPOINT_BYTES {
            self.checkpointer.begin();
        }
    }
}

/// Ends the process after a failed commit or fsync. The state of the disk is then unknown, and a retry may succeed from a cache
/// that never reached the disk, so no further answer can be trusted. The next process makes every commit that it finds durable
/// before it serves readers.
pub(super) fn end_process(what: &str, error: &rusqlite::Error) -> ! {
    let words = format!(
        "orderlog: {what}, so it is not known what is durable: {error}. Ending the process; restart it to go on.\n"
    );
    last_words(words);
    std::process::exit(70)
}

/// Writes to stderr, for at most [`LAST_WORDS`]: the process must end even if the reader of stderr has stalled.
fn last_words(words: String) {
    let (written, is_written) = std::sync::mpsc::channel();
    let writing = thread::Builder::new().spawn(move || {
        drop(io::stderr().write_all(words.as_bytes()));
        let _ = written.send(());
    });
    if writing.is_ok() {
        let _ = is_written.recv_timeout(LAST_WORDS);
    }
}

fn refused(records: &[Appended], mut answers: Answers, reason: &str) -> Answers {
    for appended in records {
        answers[appended.place] = Err(AppendError::Refused { reason: reason.into() });
    }
    answers
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
