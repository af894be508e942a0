//! A connection whose other end may not dawdle: not with the head of a request, once it has begun, and not with taking answers.
//!
//! How long nothing at all may come is left to the HTTP library, which knows when a connection waits for its next request. It does
//! not tell that from a head that arrives in drops.

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

/// How far a connection is with its requests: odd while one is worked on.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<AtomicU64>);

impl Turns {
    /// What comes of the request whose head is complete.
    pub async fn work_on<W: Future>(&self, work: W) -> W::Output {
        self.0.fetch_add(1, Ordering::Relaxed);
        let outcome = work.await;
        self.0.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Whether a request is worked on.
    pub fn is_working(&self) -> bool {
        !self.now().is_multiple_of(2)
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection whose other end may not dawdle.
pub struct Paced<S> {
    inner: S,
    turns: Turns,
    /// How long a head may take.
    head: Duration,
    /// How long no byte of an answer may be taken.
    stall: Duration,
    /// The turn before which the first byte of a head has come.
    begun: Option<u64>,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// A connection with these limits.
    pub fn new(inner: S, turns: Turns, head: Duration, stall: Duration) -> Self {
        Self { inner, turns, head, stall, begun: None, reading: None, writing: None }
    }

    /// What was written, or that nothing could be for too long.
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
            // What comes while a request is worked on is its body.
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
