//! Copies the write-ahead log into the file while the writer goes on: some MiB take tens of milliseconds, in which nobody's
//! append would be answered.
//!
//! The write-ahead log begins anew only when all of it has been copied, which it never is while records come in. So the writer
//! itself copies what little was added meanwhile.

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
};

use super::{file, writer::end_process};

/// A thread with a connection of its own. It ends when this is dropped.
pub(super) struct Checkpointer {
    wanted: SyncSender<()>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
    is_under_way: bool,
}

impl Checkpointer {
    /// One for this file, which has its tables.
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

    /// Copy, unless that is under way.
    pub(super) fn begin(&mut self) {
        if !self.is_under_way {
            self.is_under_way = self.wanted.send(()).is_ok();
        }
    }

    /// Whether what was begun has come to its end: said once.
    pub(super) fn has_ended(&mut self) -> bool {
        let has_ended = self.is_under_way && self.done.try_recv().is_ok();
        self.is_under_way &= !has_ended;
        has_ended
    }

    /// Wait until nothing is under way, and close the connection.
    pub(super) fn close(self) {
        drop((self.wanted, self.done));
        // It ends the process rather than panic.
        drop(self.thread.join());
    }
}
