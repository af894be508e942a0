//! The one task that writes: it commits whatever has queued as one transaction, so that many callers share one fsync.

use std::{
    fs::File,
    sync::{Arc, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{
    Topics, find, stored,
    topic::{self, INSERT_SIZES, Topic},
};
use crate::{AppendError, NewRecord, Record, TopicError, TopicSpec};

/// No more records than this in one transaction, so that the first caller does not wait for ever.
const GROUP_RECORDS: usize = 8192;
/// Nor more bytes.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// The write-ahead log is copied into the file each time so much was written.
const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;
/// What a record costs in the file beside its own bytes, about.
const ROW_BYTES: usize = 32;

type Answers = Vec<Result<u64, AppendError>>;

/// A record on its way into the log.
pub(super) struct Appended {
    /// Its index in the caller's answers.
    pub place: usize,
    pub topic: Arc<Topic>,
    pub record: NewRecord,
}

/// What the writer is asked for.
pub(super) enum Job {
    /// Append these; `answers` already holds those of the records that were refused before.
    Append { records: Vec<Appended>, answers: Answers, done: oneshot::Sender<Answers> },
    /// Create what is missing.
    Create { topics: Vec<TopicSpec>, done: oneshot::Sender<Result<(), TopicError>> },
    /// End, and drop this once the file is closed.
    Close { done: oneshot::Sender<()> },
}

impl Job {
    /// Answer that nothing of this was done, nor will be.
    pub(super) fn refuse(self, reason: &str) {
        // Nobody may be waiting any more; that is the caller's choice.
        match self {
            Self::Append { records, answers, done } => drop(done.send(refused(&records, answers, reason))),
            Self::Create { done, .. } => drop(done.send(Err(TopicError::Unavailable { reason: reason.into() }))),
            Self::Close { done } => drop(done),
        }
    }
}

/// An append whose records were taken over into the group; it waits for the commit.
struct Waiting {
    answers: Answers,
    /// Which answers to replace should the group be refused.
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
            answers[place] = Ok(offset);
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

    /// The commit is durable: show the records, then answer.
    fn finish(self) {
        for (topic, records) in self.topics {
            topic.publish(records);
        }
        for waiting in self.waiting {
            drop(waiting.done.send(waiting.answers));
        }
    }

    /// Nothing of this was written.
    fn refuse(self, reason: &str) {
        for Waiting { mut answers, places, done } in self.waiting {
            for place in places {
                answers[place] = Err(AppendError::Refused { reason: reason.into() });
            }
            drop(done.send(answers));
        }
    }
}

/// Owns the only connection that writes, and the folder's lock with it.
pub(super) struct Writer {
    connection: SqliteConnection,
    topics: Topics,
    lock: File,
    bytes_since_checkpoint: usize,
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection, topics: Topics, lock: File) -> Self {
        Self { connection, topics, lock, bytes_since_checkpoint: 0 }
    }

    /// Work until every handle on the log is gone, or it is to be closed.
    pub(super) async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut next = None;
        let closing = loop {
            let job = match next.take() {
                Some(job) => Some(job),
                None => jobs.recv().await,
            };
            match job {
                Some(Job::Create { topics, done }) => drop(done.send(self.create(&topics).await)),
                Some(Job::Append { records, answers, done }) => {
                    let time_ms = now_ms();
                    let mut group = Group::default();
                    group.add(records, answers, done, time_ms);
                    while !group.is_full() && next.is_none() {
                        match jobs.try_recv() {
                            Ok(Job::Append { records, answers, done }) => group.add(records, answers, done, time_ms),
                            // Creating is a transaction of its own, after this one; closing comes after it as well.
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.write(group).await;
                }
                Some(Job::Close { done }) => break Some(done),
                None => break None,
            }
        };
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the log's file did not close cleanly; nothing acknowledged is in danger");
        }
        // Not before the file is closed: the next process may open it now.
        drop(self.lock);
        drop(closing);
    }

    async fn write(&mut self, group: Group) {
        if let Err(error) = self.insert(&group).await {
            // Nothing was committed, so nothing of it can be in the log, provided that it is taken back now. Of a full disk, only
            // a group that outgrows SQLite's cache hears here: others reach the file in the commit.
            self.roll_back(&error).await;
            tracing::error!(%error, records = group.records, "the log refused records");
            return group.refuse(&error.to_string());
        }
        if let Err(error) = sqlx::query("commit").execute(&mut self.connection).await {
            end_process("a commit failed", &error);
        }
        self.bytes_since_checkpoint += group.bytes;
        group.finish();
        if self.bytes_since_checkpoint >= CHECKPOINT_BYTES {
            self.checkpoint().await;
        }
    }

    /// Everything up to the commit.
    async fn insert(&mut self, group: &Group) -> Result<(), sqlx::Error> {
        sqlx::query("begin immediate").execute(&mut self.connection).await?;
        for (topic, records) in &group.topics {
            let mut rest = records.as_slice();
            for (size, sql) in INSERT_SIZES.into_iter().zip(&topic.inserts) {
                while let Some((rows, others)) = rest.split_at_checked(size) {
                    // Safe: fixed text with a number in it.
                    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(sql)));
                    for record in rows {
                        query = query
                            .bind(i64::try_from(record.offset).map_err(|full| sqlx::Error::Encode(full.into()))?)
                            .bind(stored::encode_head(record))
                            .bind(record.value.as_ref());
                    }
                    query.execute(&mut self.connection).await?;
                    rest = others;
                }
            }
        }
        Ok(())
    }

    async fn roll_back(&mut self, cause: &sqlx::Error) {
        let Err(error) = sqlx::query("rollback").execute(&mut self.connection).await else {
            return;
        };
        // After some errors, such as that of a disk that is full already here, SQLite has rolled back by itself.
        if !error.to_string().contains("no transaction is active") {
            tracing::error!(%cause, "a write failed and can't be taken back");
            end_process("a rollback failed", &error);
        }
    }

    async fn create(&mut self, topics: &[TopicSpec]) -> Result<(), TopicError> {
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
                None => self.create_one(spec).await?,
            }
        }
        Ok(())
    }

    async fn create_one(&mut self, spec: &TopicSpec) -> Result<(), TopicError> {
        let id = match self.insert_topic(spec).await {
            Ok(id) => id,
            Err(error) => {
                self.roll_back(&error).await;
                return Err(TopicError::Unavailable { reason: error.to_string() });
            }
        };
        if let Err(error) = sqlx::query("commit").execute(&mut self.connection).await {
            end_process("a commit failed", &error);
        }
        let topic = Arc::new(Topic::new(id, Arc::clone(&spec.name), spec.kind, 0));
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(Arc::clone(&spec.name), topic);
        Ok(())
    }

    async fn insert_topic(&mut self, spec: &TopicSpec) -> Result<i64, sqlx::Error> {
        sqlx::query("begin immediate").execute(&mut self.connection).await?;
        let id: i64 = sqlx::query_scalar("insert into topics (name, kind) values (?, ?) returning id")
            .bind(spec.name.as_ref())
            .bind(topic::kind_name(spec.kind))
            .fetch_one(&mut self.connection)
            .await?;
        topic::create_table(&mut self.connection, id).await?;
        Ok(id)
    }

    /// Copy the write-ahead log into the file. Readers are not disturbed; what they still need is left for the next time.
    async fn checkpoint(&mut self) {
        if let Err(error) = sqlx::query("pragma wal_checkpoint(passive)").fetch_all(&mut self.connection).await {
            end_process("a checkpoint failed", &error);
        }
        self.bytes_since_checkpoint = 0;
    }
}

/// After a failed commit or fsync nobody knows what is on the disk, and asking again may be answered from a cache that the
/// disk never got. Answering anything from here on could be a lie, so the process ends; the next one makes durable what it
/// finds before it shows anything.
fn end_process(what: &str, error: &sqlx::Error) -> ! {
    eprintln!(
        "orderlog: {what}, so it is not known what is durable: {error}. Ending the process; restart it to go on."
    );
    std::process::exit(70)
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
