//! The write connection. It has its own thread, because SQLite blocks and async tasks must not.
//!
//! This uses rusqlite, while reading uses sqlx. sqlx allocates for each bound value, which took as much CPU time in a replay as
//! SQLite itself.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Origin;
use crate::{error::StoreError, opening};

/// The capacity of the job queue. Large enough that neither the caller nor the thread idles while the other works.
const N_JOBS: usize = 4;

type Job = Box<dyn FnOnce(&mut Thread) + Send>;

/// The state of the current change set.
enum Course {
    /// Its parts are executed.
    On,
    /// It was written before, so its parts are skipped.
    Over,
    /// A part has failed, so the others are skipped.
    Failed(StoreError),
}

/// Rolls back a transaction that failed or was abandoned, unless SQLite has already done so.
pub(super) fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("rollback") }
}

struct Thread {
    connection: Connection,
    origin: Origin,
    course: Course,
}

/// A handle on the thread, which finishes its jobs and ends when this is dropped.
pub(super) struct WritingConnection {
    jobs: mpsc::Sender<Job>,
    origin: Origin,
}

impl WritingConnection {
    /// Opens an existing file and starts the thread, which inherits the priority of the calling one. `is_beside` says whether
    /// another generation is serving.
    pub(super) fn open(origin: &Origin, service: &str, is_beside: bool) -> Result<Self, StoreError> {
        let opened = opening::writer(&origin.file, is_beside);
        let connection = opened.map_err(|error| origin.refused("opening the rows for writing", error))?;
        let mut thread = Thread { connection, origin: origin.clone(), course: Course::On };
        let (jobs, mut todo) = mpsc::channel::<Job>(N_JOBS);
        let work = move || {
            while let Some(job) = todo.blocking_recv() {
                job(&mut thread);
            }
        };
        thread::Builder::new()
            .name(format!("rows-{service}"))
            .spawn(work)
            .map_err(|source| StoreError::Folder { path: origin.file.clone(), source })?;
        Ok(Self { jobs, origin: origin.clone() })
    }

    /// Runs `work` after all earlier jobs, and waits for its result.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.answer(|thread| work(&mut thread.connection, &thread.origin)).await
    }

    /// Begins a change set. Its parts are executed only if `work` returns true. Callers wait for results only at the
    /// [end](Self::end), so that they prepare the next part while the thread works.
    pub(super) async fn begin(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<bool, StoreError> + Send + 'static,
    ) {
        self.send(Box::new(|thread| {
            thread.course = match work(&mut thread.connection, &thread.origin) {
                Ok(true) => Course::On,
                Ok(false) => Course::Over,
                Err(error) => Course::Failed(error),
            };
        }))
        .await;
    }

    /// Adds a part to the change set.
    pub(super) async fn part(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<(), StoreError> + Send + 'static,
    ) {
        self.send(Box::new(|thread| thread.go_on(work))).await;
    }

    /// Adds the last part of the change set and waits for the result. Returns false if it was written before.
    pub(super) async fn end(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<bool, StoreError> {
        self.answer(|thread| {
            thread.go_on(work);
            match std::mem::replace(&mut thread.course, Course::On) {
                Course::On => Ok(true),
                Course::Over => Ok(false),
                Course::Failed(error) => {
                    // The next change set would also roll back, but until then the file would stay locked.
                    drop(roll_back(&thread.connection));
                    Err(error)
                }
            }
        })
        .await
    }

    async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Thread) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        // The caller may have stopped waiting.
        self.send(Box::new(move |thread| drop(answer.send(work(thread))))).await;
        answered.await.unwrap_or_else(|_| {
            let source = "the thread that writes has ended".into();
            Err(StoreError::Database { doing: "writing rows", file: self.origin.file.clone(), source })
        })
    }

    async fn send(&self, job: Job) {
        // If the thread has ended, waiting for the answer fails.
        drop(self.jobs.send(job).await);
    }
}

impl Thread {
    fn go_on(&mut self, work: impl FnOnce(&mut Connection, &Origin) -> Result<(), StoreError>) {
        if matches!(self.course, Course::On)
            && let Err(error) = work(&mut self.connection, &self.origin)
        {
            self.course = Course::Failed(error);
        }
    }
}
