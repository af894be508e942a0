//! The connection that writes, on a thread of its own: SQLite blocks whoever calls it, and tasks must not be blocked.
//!
//! By rusqlite, and all else by sqlx: that hands each value over in allocations of its own, which cost a replay as much processor
//! time again as SQLite itself.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Origin;
use crate::{error::StoreError, opening};

/// So much waits for the thread before whoever asks waits as well: enough that neither stands still while the other works.
const N_JOBS: usize = 4;

type Job = Box<dyn FnOnce(&mut Thread) + Send>;

/// What comes of a change set's parts so far.
enum Course {
    /// Each is to be done.
    On,
    /// There is nothing to do, since it was done before.
    Over,
    /// One could not be done, so the others must not be.
    Failed(StoreError),
}

/// Takes a transaction back that failed, or that nobody waited for to its end. Some errors have done so already.
///
/// # Errors
/// SQLite can't.
pub(super) fn roll_back(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("rollback") }
}

struct Thread {
    connection: Connection,
    origin: Origin,
    course: Course,
}

/// The thread; it ends when this is dropped, once it has done what it was told.
pub(super) struct WritingConnection {
    jobs: mpsc::Sender<Job>,
    origin: Origin,
}

impl WritingConnection {
    /// Of rows that are there, beside others that serve or not. The thread has the priority of the one that calls.
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

    /// Have this done after all that was asked before, and wait for it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.answer(|thread| work(&mut thread.connection, &thread.origin)).await
    }

    /// Begin a change set: the parts that follow are done only if this says so. Nobody waits for any of them until its
    /// [end](Self::end), so that they are made while the thread works.
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

    /// Have a part of the change set done that was begun.
    pub(super) async fn part(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<(), StoreError> + Send + 'static,
    ) {
        self.send(Box::new(|thread| thread.go_on(work))).await;
    }

    /// Have the last part of the change set done, and wait for what came of all of it: whether it was done now.
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
                    // The next change set does so too, but until then the file would stay locked.
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
        // Whoever asked may not wait any more.
        self.send(Box::new(move |thread| drop(answer.send(work(thread))))).await;
        answered.await.unwrap_or_else(|_| {
            let source = "the thread that writes has ended".into();
            Err(StoreError::Database { doing: "writing rows", file: self.origin.file.clone(), source })
        })
    }

    async fn send(&self, job: Job) {
        // That the thread has ended is noticed where its answer is waited for.
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
