//! Connections with timeouts: for the head of a request once it has begun, and for reading responses.
//!
//! The HTTP library limits idle time, because it knows when a connection waits for its next request. But it does not
//! distinguish that from a head that arrives byte by byte.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Counts a connection's requests: odd while one is being processed.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Runs `work` for a request whose head is complete.
    pub async fn work_on<W: Future>(&self, work: W) -> W::Output {
        self.0.fetch_add(1, Ordering::Relaxed);
        let outcome = work.await;
        self.0.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Whether a request is being processed.
    pub fn is_working(&self) -> bool {
        !self.now().is_multiple_of(2)
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection with timeouts for its peer.
pub struct Paced<S> {
    inner: S,
    turns: Turns,
    /// How long a head may take.
    head: Duration,
    /// How long the peer may read no byte of a response.
    stall: Duration,
    /// The turn before which the first byte of a head arrived.
    begun: Option<u64>,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub fn new(inner: S, turns: Turns, head: Duration, stall: Duration) -> Self {
        Self { inner, turns, head, stall, begun: None, reading: None, writing: None }
    }

    /// Returns the result of a write, or `TimedOut` if writing has stalled for too long.
    fn or_stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let stall = self.stall;
        ready!(self.writing.get_or_insert_with(|| Box::pin(sleep(stall))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n_before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let turn = self.turns.now();
        if read.is_ready() {
            // Bytes that arrive while a request is being processed are its body.
            let is_head = turn.is_multiple_of(2) && buf.filled().len() > n_before;
            if self.begun != Some(turn) {
                self.reading = None;
                self.begun = is_head.then_some(turn);
            }
            return read;
        }
        if self.begun != Some(turn) {
            self.reading = None;
            return Poll::Pending;
        }
        let head = self.head;
        ready!(self.reading.get_or_insert_with(|| Box::pin(sleep(head))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.or_stalled(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.or_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.or_stalled(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.or_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
