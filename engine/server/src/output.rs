//! Everything that the program prints.
//!
//! The answer of a command goes to stdout in full, by [`print`] or [`deliver`]. Everything else is for people: the log, progress
//! and failures on stderr ([`Progress`], [`note`], [`fail`]), the banner and the demo on stdout ([`tell`]). None of that may stop the work, so it waits
//! in a bounded queue for a thread of its own ([`lines`]). A line that can't be written, or for which there is no room because
//! the reader has stalled, is dropped and counted.
//!
//! Everything writes to the file descriptors directly: the standard library's `Stdout` and `Stderr` have a lock, which
//! a thread that waits for a stalled reader would hold.

pub mod amounts;
mod lines;
mod progress;
pub mod table;
mod terminal;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fs,
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    panic::{self, PanicHookInfo},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use serde::Serialize;

use lines::Lines;
pub use progress::Progress;
pub use terminal::{Stream, Style};

/// Room for waiting lines: under load, a reader may pause for seconds before any is dropped.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// How long a process that exits waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How often a descriptor that another process has set to non-blocking is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(10);

static STDERR: LazyLock<Arc<Lines>> = LazyLock::new(|| Lines::begin("stderr", Descriptor(io::stderr()), QUEUE_BYTES));
static STDOUT: LazyLock<Arc<Lines>> = LazyLock::new(|| Lines::begin("stdout", Descriptor(io::stdout()), QUEUE_BYTES));

/// Whether the reader of stdout has closed it.
static READER_IS_GONE: AtomicBool = AtomicBool::new(false);

/// Whether only answers and errors are printed.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Silences progress and notes from now on.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Prints a command's answer, or a part of it, and a line break. Blocks while the reader is slow.
///
/// A reader that stops early (`| head -1`) is not a failure: the command continues and exits with its own code.
///
/// # Errors
/// If stdout can't be written, for example because the disk is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    match deliver(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            READER_IS_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        delivered => delivered.context("stdout can't be written"),
    }
}

/// Prints an answer as JSON: one object, on one line. A list is printed as one object after another.
pub fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(document).context("the answer is not JSON")?)
}

/// Whether [`print`] has noticed that the reader is gone, so that a stream can end.
pub fn reader_is_gone() -> bool {
    READER_IS_GONE.load(Ordering::Relaxed)
}

/// Prints output that must not be lost, and a line break. Unlike with [`print`], a closed pipe is an error.
pub fn deliver(text: &str) -> io::Result<()> {
    progress::erase();
    Descriptor(io::stdout()).write_all(format!("{text}\n").as_bytes())
}

/// Whether stdout is the null device, which is also the case if it was closed when the program started.
pub fn is_discarded() -> bool {
    let device = |file: io::Result<fs::Metadata>| file.ok().map(|file| file.rdev()).filter(|device| *device != 0);
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let stdout = device(stdout.and_then(|stdout| fs::File::from(stdout).metadata()));
    stdout.is_some() && stdout == device(fs::metadata("/dev/null"))
}

/// Queues a line for people on stdout; it may be dropped.
pub fn tell(text: &str) {
    STDOUT.push(format!("{text}\n").into_bytes());
}

/// Queues a line for people on stderr, unless they want none; it may be dropped.
pub fn note(text: &str) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        fail(text);
    }
}

/// Queues an error on stderr; it may be dropped.
pub fn fail(text: &str) {
    note_bytes(format!("{text}\n").into_bytes());
}

/// Queues these bytes on stderr as one line; it may be dropped.
pub fn note_bytes(bytes: Vec<u8>) {
    STDERR.push(progress::instead_of_progress(bytes));
}

/// The number of lines dropped so far, by output.
pub fn dropped() -> [(&'static str, u64); 2] {
    [("stdout", STDOUT.n_dropped()), ("stderr", STDERR.n_dropped())]
}

/// Waits until all queued lines are written, for at most a second.
pub fn finish() {
    let deadline = Instant::now() + LAST_LINES;
    STDOUT.finish(deadline);
    STDERR.finish(deadline);
}

/// stderr, as a writer whose every write is a line. It never fails.
#[derive(Clone, Copy, Debug)]
pub struct Notes;

impl Write for Notes {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        note_bytes(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reports panics like everything else. The standard library's hook would wait for a stalled reader.
pub fn report_panics() {
    panic::set_hook(Box::new(|info| {
        let report = report_of(info);
        if tracing::dispatcher::has_been_set() { tracing::error!("{report}") } else { fail(&report) }
    }));
}

fn report_of(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    // Messages other than literals are formatted, possibly from a record.
    let literal = info.payload().downcast_ref::<&'static str>();
    let message = literal.copied().unwrap_or("its message is not logged, because it may hold personal data");
    let mut report = format!("thread '{}' panicked{place}: {message}", thread.name().unwrap_or("unnamed"));
    // Only if `RUST_BACKTRACE` enables it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        report += &format!("\n{backtrace}");
    }
    report
}

/// A file descriptor, without a lock around it.
struct Descriptor<F>(F);

impl<F: AsFd> Write for Descriptor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let descriptor: BorrowedFd<'_> = self.0.as_fd();
        loop {
            match rustix::io::write(descriptor, bytes).map_err(io::Error::from) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_EVERY),
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        process::{Command, Stdio},
    };

    use super::*;

    /// Set for a test that runs itself in a second process, since a panic hook belongs to the whole process.
    const CHILD: &str = "ORDERLOG_TEST_PANIC";

    #[test]
    fn a_panic_is_reported_on_stderr_and_does_no_further_harm_where_that_is_broken() {
        if let Some(n_dropped) = env::var_os(CHILD) {
            report_panics();
            assert!(panic::catch_unwind(|| panic!("on purpose")).is_err());
            let email = "eve@example.com".to_owned();
            assert!(panic::catch_unwind(|| panic!("a bad address: {email}")).is_err());
            let number = || serde_json::from_str::<u8>(r#""eve@example.com""#).expect("a number");
            assert!(panic::catch_unwind(number).is_err());
            finish();
            assert_eq!(dropped()[1].1.to_string(), n_dropped.into_string().unwrap());
            return;
        }
        let child = |n_dropped: &str, stderr: Stdio| {
            let test = "output::tests::a_panic_is_reported_on_stderr_and_does_no_further_harm_where_that_is_broken";
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--exact", test, "--nocapture"]).env(CHILD, n_dropped).env_remove("RUST_BACKTRACE");
            child.stderr(stderr).output().unwrap()
        };
        let read = child("0", Stdio::piped());
        let report = String::from_utf8(read.stderr).unwrap();
        assert!(read.status.success() && report.contains("panicked at engine/server/src/output.rs"), "{report}");
        assert!(report.contains("on purpose") && !report.contains("stack backtrace"), "{report}");
        assert!(report.matches("panicked at").count() == 3 && !report.contains("eve"), "{report}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let broken = child("3", full.into());
        assert!(broken.status.success(), "{}", String::from_utf8_lossy(&broken.stdout));
    }
}
