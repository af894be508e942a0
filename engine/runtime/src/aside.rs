//! Runs work on a separate low-priority thread, so that commands and queries come first.

use std::{io, thread};

use tokio::sync::oneshot;
use tracing::warn;

/// The nice value of the thread. On a busy machine the thread still gets about a tenth of the CPU time of normal threads, so its work
/// does finish.
const NICE: i32 = 10;

/// Starts the work on a new thread. All threads that it spawns inherit the low priority.
pub fn spawn<W>(name: String, work: impl FnOnce() -> W + Send + 'static) -> io::Result<()>
where
    W: Future<Output = ()>,
{
    let run = {
        let name = name.clone();
        move || {
            if let Err(error) = rustix::process::nice(NICE) {
                warn!("{name} runs with full priority: {error}");
            }
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(work()),
                Err(error) => warn!("{name} can't run: {error}"),
            }
        }
    };
    thread::Builder::new().name(name).spawn(run).map(drop)
}

/// Runs the work on a new thread and returns its result.
pub async fn run<T: Send + 'static>(name: String, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    // The caller may have gone away.
    spawn(name, || async move { drop(done.send(work.await)) })?;
    outcome.await.map_err(|_| io::Error::other("its thread ended"))
}
