//! Lines that a separate thread writes, so that no other thread waits for a slow reader.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// What a line costs in addition to its own bytes (queue entry and allocation), so that many short lines are bounded
/// too.
const LINE_BYTES: usize = 48;

/// A bounded queue of lines.
pub struct Lines {
    queue: Mutex<Queue>,
    /// Signals that a line was added.
    added: Condvar,
    /// Signals that the queue is empty.
    written: Condvar,
    n_bytes_max: usize,
    n_dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    n_bytes: usize,
    is_writing: bool,
}

impl Lines {
    /// Creates a queue of at most this many bytes of memory, and the thread `name` that writes it to `sink`.
    pub fn begin(name: &str, sink: impl Write + Send + 'static, n_bytes_max: usize) -> Arc<Self> {
        let lines = Arc::new(Self {
            queue: Mutex::default(),
            added: Condvar::new(),
            written: Condvar::new(),
            n_bytes_max,
            n_dropped: AtomicU64::new(0),
        });
        let writing = Arc::clone(&lines);
        // Without a thread the queue fills and lines are dropped, which is no reason to stop.
        drop(thread::Builder::new().name(name.to_owned()).spawn(move || writing.write_to(sink)));
        lines
    }

    /// Adds a line, or drops it if there is no room. Never waits for the reader.
    pub fn push(&self, line: Vec<u8>) {
        let mut queue = self.lock();
        let n_bytes = line.len() + LINE_BYTES;
        if queue.n_bytes + n_bytes > self.n_bytes_max {
            return self.count_dropped();
        }
        queue.n_bytes += n_bytes;
        queue.waiting.push_back(line);
        drop(queue);
        self.added.notify_one();
    }

    /// The number of lines dropped so far.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line is written or dropped, but no longer than until `deadline`.
    pub fn finish(&self, deadline: Instant) {
        let wait = deadline.saturating_duration_since(Instant::now());
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.waiting.is_empty();
        drop(self.written.wait_timeout_while(self.lock(), wait, is_busy));
    }

    fn write_to(&self, mut sink: impl Write) {
        loop {
            if sink.write_all(&self.next()).is_err() {
                self.count_dropped();
            }
        }
    }

    /// Waits for the next line. The previous one is done.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.lock();
        queue.is_writing = false;
        loop {
            if let Some(line) = queue.waiting.pop_front() {
                queue.n_bytes -= line.len() + LINE_BYTES;
                queue.is_writing = true;
                return line;
            }
            self.written.notify_all();
            queue = self.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn count_dropped(&self) {
        self.n_dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::mpsc::{self, Receiver, Sender},
        time::Duration,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Takes a line whenever it is allowed to, or refuses it.
    struct Sink {
        allowed: Receiver<bool>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Sink {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            match self.allowed.recv() {
                Ok(true) => drop(self.taken.send(line.to_vec())),
                Ok(false) | Err(_) => return Err(io::ErrorKind::StorageFull.into()),
            }
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(n_bytes_max: usize) -> (Arc<Lines>, Sender<bool>, Receiver<Vec<u8>>) {
        let ((allow, allowed), (taken, all_taken)) = (mpsc::channel(), mpsc::channel());
        (Lines::begin("test", Sink { allowed, taken }, n_bytes_max), allow, all_taken)
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_nobody_waits_for_it() {
        let (lines, allow, taken) = lines(3 * LINE_BYTES + 10);
        lines.push(b"first".to_vec());
        // It is being written, so it takes no more room.
        let deadline = Instant::now() + PATIENCE;
        while !lines.lock().waiting.is_empty() && Instant::now() < deadline {
            thread::yield_now();
        }
        for line in ["0123", "4567", "too much", "8", ""] {
            lines.push(line.into());
        }
        assert_eq!(lines.n_dropped(), 2, "what still fits is kept, and an empty line takes room too");
        lines.finish(Instant::now());
        (0..4).for_each(|_| allow.send(true).unwrap());
        lines.finish(deadline);
        assert_eq!(
            taken.try_iter().collect::<Vec<_>>(),
            [b"first".to_vec(), b"0123".into(), b"4567".into(), b"8".into()]
        );
        assert_eq!(lines.n_dropped(), 2);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_next_one_is_tried() {
        let (lines, allow, taken) = lines(1_000);
        for (line, is_taken) in [("lost", false), ("written", true)] {
            lines.push(line.into());
            allow.send(is_taken).unwrap();
        }
        lines.finish(Instant::now() + PATIENCE);
        assert_eq!((lines.n_dropped(), taken.try_iter().collect::<Vec<_>>()), (1, vec![b"written".to_vec()]));
        // A reader that has closed its end.
        drop(allow);
        lines.push(b"lost".to_vec());
        lines.finish(Instant::now() + PATIENCE);
        assert_eq!(lines.n_dropped(), 2);
    }
}
