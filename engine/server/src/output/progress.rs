//! Progress on stderr: one line that is redrawn on a terminal, and otherwise a line every few seconds.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    IS_QUIET, LAST_LINES, STDERR,
    terminal::{Stream, cut},
};

/// How often the line is redrawn.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// How often to print a line if stderr is not a terminal. Short work prints none.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Returns to the first column and erases the line.
const ERASE: &[u8] = b"\r\x1b[2K";

/// Whether the cursor is behind a line of progress.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// The progress of one piece of work. Dropping it erases the line.
pub struct Progress {
    begun: Instant,
    last: Option<Instant>,
    can_redraw: bool,
}

impl Progress {
    pub fn begin() -> Self {
        Self { begun: Instant::now(), last: None, can_redraw: Stream::Stderr.can_redraw() }
    }

    /// The time since the beginning, in seconds; never 0.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64().max(0.001)
    }

    /// Shows a line, unless the last one is too recent.
    pub fn show(&mut self, line: impl FnOnce(&Self) -> String) {
        let every = if self.can_redraw { REDRAW_EVERY } else { LINE_EVERY };
        let is_due = match self.last {
            Some(last) => last.elapsed() >= every,
            None => self.can_redraw || self.begun.elapsed() >= every,
        };
        if !is_due || IS_QUIET.load(Ordering::Relaxed) {
            return;
        }
        self.last = Some(Instant::now());
        let line = line(self);
        match Stream::Stderr.columns().filter(|_| self.can_redraw) {
            // A full line would move the cursor to the next one.
            Some(columns) => {
                STDERR.push([ERASE, cut(&line, columns - 1).as_bytes()].concat());
                IS_SHOWN.store(true, Ordering::Relaxed);
            }
            None => super::note(&line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        erase();
    }
}

/// Erases the line, and waits until it is gone: stdout is often the same terminal.
pub fn erase() {
    if IS_SHOWN.load(Ordering::Relaxed) {
        STDERR.push(instead_of_progress(Vec::new()));
        STDERR.finish(Instant::now() + LAST_LINES);
    }
}

/// The bytes that print `line` in the place of the line of progress, if there is one.
pub fn instead_of_progress(line: Vec<u8>) -> Vec<u8> {
    if IS_SHOWN.swap(false, Ordering::Relaxed) { [ERASE, &line].concat() } else { line }
}
