//! Takes connections and serves HTTP/1.1 on them, with limits that the framework's own server does not have: on how many there
//! are, how long a head may take, and how long nothing may happen.
//!
//! Beyond the limit there is a small reserve, so that whoever looks after the process still gets an answer. Deliberately absent:
//! HTTP/2, which nobody who asks here needs, and which has more ways to be abused.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Endpoint,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use super::{
    open_files,
    paced::{Paced, Turns},
};
use crate::config::Limits;

/// How long nothing is accepted after a failure, such as too many open files; else it would be tried again at once, for ever.
const REST: Duration = Duration::from_millis(50);
/// How many connections there may be beyond the limit.
const N_RESERVE: usize = 64;
/// How long such a one may take with its only request.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many bytes of a head are taken, and how many of an answer wait for its caller.
const BUFFER_BYTES: usize = 64 * 1024;

/// How many connections there may be, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// So many.
    pub n_max: usize,
    /// For the head of a request, from its first byte.
    pub header: Duration,
    /// Without a request, or without taking any of an answer.
    pub idle: Duration,
}

impl ConnectionLimits {
    /// As the limits say, and the system allows.
    pub fn of(limits: &Limits) -> Self {
        let [header, idle] = [limits.header_timeout_ms, limits.idle_timeout_ms].map(Duration::from_millis);
        Self { n_max: open_files::make_room_for(limits.max_connections as usize), header, idle }
    }
}

/// A request on a connection that is one too many.
#[derive(Clone, Copy, Debug)]
pub struct OneTooMany;

/// Serve `app` on what `listener` accepts until `stopped`; then those who are being answered have `patience`.
pub async fn serve<E>(
    listener: TcpListener,
    app: E,
    limits: ConnectionLimits,
    stopped: impl Future<Output = ()>,
    patience: Duration,
) where
    E: Endpoint<Output = poem::Response> + 'static,
{
    let app = Arc::new(app);
    let seats = Seats::new(limits.n_max);
    let (stopping, is_stopping) = watch::channel(false);
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // Without a seat it is closed at once.
                if let Some(seat) = seats.take() {
                    tokio::spawn(connection(stream, from, seat, limits, Arc::clone(&app), is_stopping.clone()));
                }
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
    drop((listener, is_stopping));
    stopping.send_replace(true);
    // Each connection holds a receiver.
    if tokio::time::timeout(patience, stopping.closed()).await.is_err() {
        tracing::warn!("not every request under way was answered in time");
    }
}

/// Whoever has one is served.
struct Seats {
    usual: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

struct Seat {
    is_usual: bool,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    fn new(n: usize) -> Self {
        let [usual, reserve] = [n, N_RESERVE].map(|n| Arc::new(Semaphore::new(n)));
        Self { usual, reserve }
    }

    fn take(&self) -> Option<Seat> {
        let of = |seats: &Arc<Semaphore>| Arc::clone(seats).try_acquire_owned().ok();
        let usual = of(&self.usual).map(|permit| Seat { is_usual: true, _permit: permit });
        usual.or_else(|| of(&self.reserve).map(|permit| Seat { is_usual: false, _permit: permit }))
    }
}

async fn connection<E>(
    stream: TcpStream,
    from: SocketAddr,
    seat: Seat,
    limits: ConnectionLimits,
    app: Arc<E>,
    mut stopping: watch::Receiver<bool>,
) where
    E: Endpoint<Output = poem::Response> + 'static,
{
    // Answers are small and whole: waiting for more of them only costs time. If it fails they are just slower.
    drop(stream.set_nodelay(true));
    let (is_usual, turns) = (seat.is_usual, Turns::default());
    let [header, idle] = if is_usual { [limits.header, limits.idle] } else { [RESERVE_TIMEOUT; 2] };
    let at = stream.local_addr().map_or_else(|_| LocalAddr::default(), |at| LocalAddr(at.into()));
    let io = TokioIo::new(Paced::new(stream, turns.clone(), header, idle));
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, turns, at) = (Arc::clone(&app), turns.clone(), at.clone());
        async move {
            let mut request: poem::Request = (request, at, RemoteAddr(from.into()), Scheme::HTTP).into();
            if !is_usual {
                request.set_data(OneTooMany);
            }
            let response: Response<_> = turns.work_on(app.get_response(request)).await.into();
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(BUFFER_BYTES).keep_alive(is_usual);
    let connection = http.serve_connection(io, service);
    tokio::pin!(connection);
    // How it ends is its caller's business.
    tokio::select! {
        ended = &mut connection => return drop(ended),
        stopped = stopping.wait_for(|stopping| *stopping) => drop(stopped),
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

/// Listen on `address`; port 0 takes any free one.
///
/// # Errors
/// The system's words.
pub async fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// The URL by which this machine reaches what listens on `addr`.
pub fn url(addr: SocketAddr) -> String {
    let port = addr.port();
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{port}"),
        SocketAddr::V4(_) | SocketAddr::V6(_) => format!("http://{addr}"),
    }
}
