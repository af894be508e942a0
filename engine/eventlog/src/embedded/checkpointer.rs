//! Copies the write-ahead log into the file on its own thread. Copying a few MiB takes tens of milliseconds, during which the
//! writer could not acknowledge appends.
//!
//! SQLite restarts the write-ahead log only when all of it has been copied, which never happens while records are being added. So
//! the writer itself copies the little that was added meanwhile.

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
};

use super::{file, writer::end_process};

/// A thread with its own connection. The thread ends when this is dropped.
pub(super) struct Checkpointer {
    wanted: SyncSender<()>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
    is_under_way: bool,
}

impl Checkpointer {
    /// Starts the thread for this file, which must have its tables.
    pub(super) fn start(file: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let connection = file::connect(file)?;
        let (wanted, orders) = mpsc::sync_channel::<()>(1);
        let (tell, done) = mpsc::sync_channel(1);
        let work = move || {
            for () in orders {
                if let Err(error) = file::checkpoint(&connection) {
                    end_process("a checkpoint failed", &error);
                }
                if tell.send(()).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("log-checkpoints".into()).spawn(work)?;
        Ok(Self { wanted, done, thread, is_under_way: false })
    }

    /// Starts a checkpoint unless one is running.
    pub(super) fn begin(&mut self) {
        if !self.is_under_way {
            self.is_under_way = self.wanted.send(()).is_ok();
        }
    }

    /// Returns whether a checkpoint has ended. Returns true once per checkpoint.
    pub(super) fn has_ended(&mut self) -> bool {
        let has_ended = self.is_under_way && self.done.try_recv().is_ok();
        self.is_under_way &= !has_ended;
        has_ended
    }

    /// Waits for a running checkpoint, then closes the connection.
    pub(super) fn close(self) {
        drop((self.wanted, self.done));
        // On an error the thread ends the process, so it does not panic.
        drop(self.thread.join());
    }
}
