//! The connection that writes, on a thread of its own: SQLite blocks whoever calls it, and tasks must not be blocked.
//!
//! By rusqlite, and all else by sqlx: that hands each value over in allocations of its own, which cost a replay as much processor
//! time again as SQLite itself.

use std::{sync::mpsc, thread};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Origin, opening};
use crate::error::StoreError;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// What comes of a piece of work, or why there is nothing.
pub(super) type Answer<T> = oneshot::Receiver<Result<T, StoreError>>;

/// The thread; it ends when this is dropped, once it has done what it was told.
pub(super) struct WritingConnection {
    jobs: mpsc::Sender<Job>,
    origin: Origin,
}

impl WritingConnection {
    /// Of rows that are there. The thread has the priority of the one that calls.
    pub(super) fn open(origin: &Origin, service: &str) -> Result<Self, StoreError> {
        let mut connection =
            opening::writer(&origin.file).map_err(|error| origin.refused("opening the rows for writing", error))?;
        let (jobs, todo) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name(format!("rows-{service}"))
            .spawn(move || todo.into_iter().for_each(|job| job(&mut connection)))
            .map_err(|source| StoreError::Folder { path: origin.file.clone(), source })?;
        Ok(Self { jobs, origin: origin.clone() })
    }

    /// Have this done after all that was asked before.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &Origin) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        let origin = self.origin.clone();
        // Whoever asked may not wait any more. A thread that has ended is noticed when the answer is taken.
        let job: Job = Box::new(move |connection| drop(answer.send(work(connection, &origin))));
        drop(self.jobs.send(job));
        answered
    }

    /// What came of it.
    pub(super) async fn take<T>(&self, answer: Answer<T>) -> Result<T, StoreError> {
        answer.await.unwrap_or_else(|_| {
            let source = "the thread that writes has ended".into();
            Err(StoreError::Database { doing: "writing rows", file: self.origin.file.clone(), source })
        })
    }
}
