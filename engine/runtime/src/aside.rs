//! Work on a thread of its own with low priority, so that commands and queries come first.

use std::{io, thread};

use tokio::sync::oneshot;
use tracing::warn;

/// How nice the thread is to the others: on a machine that is busy all the time it still gets about a tenth of what they get,
/// so that it does end.
const NICE: i32 = 10;

/// Start it. Everything that the work starts inherits the low priority.
///
/// # Errors
/// If there is no thread to be had.
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

/// What comes of it.
///
/// # Errors
/// If there is no thread to be had, or it came to nothing.
pub async fn run<T: Send + 'static>(name: String, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    // Whoever waits may have gone away.
    spawn(name, || async move { drop(done.send(work.await)) })?;
    outcome.await.map_err(|_| io::Error::other("its thread ended"))
}
