//! Accepts connections and serves HTTP/1.1 on them, with limits that the framework's own server lacks: the number of
//! connections, the time for a head, and idle time.
//!
//! [`super::seats`] decides which connections are served when there is not room for all. Deliberately absent: HTTP/2,
//! which no caller here needs, and which offers more ways to abuse a server.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use orderlog_http::{measures::HttpMeasures, peers::Routes, tls::Identity};
use poem::{
    Endpoint,
    http::{HeaderValue, header, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    N_RESERVED,
    heads::HEAD_BYTES_MAX,
    open_files,
    paced::{Paced, Turns},
    seats::{Seat, Seats},
};
use crate::config::Limits;

/// The pause after a failed accept, for example with too many open files; otherwise it would be retried in a busy loop.
const REST: Duration = Duration::from_millis(50);
/// How long a connection of the reserve may take for its only request.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest head in bytes, and the most bytes of a response that are buffered.
const BUFFER_BYTES: usize = HEAD_BYTES_MAX;

/// How many connections are allowed, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub n_max: usize,
    /// For the head of a request, from its first byte.
    pub header: Duration,
    /// Without a request, or without reading any of a response.
    pub idle: Duration,
}

impl ConnectionLimits {
    /// From the options and the system's limit on open files.
    pub fn of(limits: &Limits) -> Self {
        let [header, idle] = [limits.header_timeout_ms, limits.idle_timeout_ms].map(Duration::from_millis);
        Self { n_max: open_files::make_room_for(limits.max_connections as usize), header, idle }
    }
}

/// What connections share.
#[derive(Clone)]
pub struct Serving {
    pub app: Arc<Routes>,
    /// The certificate and key of this listener, if it uses TLS.
    pub identity: Option<Arc<Identity>>,
    pub limits: ConnectionLimits,
    /// Turns true when the process is about to stop: then each response closes its connection.
    pub leaving: watch::Receiver<bool>,
    /// Counts connections for which there is no room.
    pub measures: HttpMeasures,
}

/// Serves connections from `listener` until `stopped` turns true; then requests in progress have `patience` to finish.
pub async fn serve(listener: TcpListener, serving: Serving, mut stopped: watch::Receiver<bool>, patience: Duration) {
    let seats = Seats::new(serving.limits.n_max, N_RESERVED, serving.measures.clone());
    let (stopping, is_stopping) = watch::channel(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            stopped = stopped.wait_for(|stopped| *stopped) => break drop(stopped),
        };
        match accepted {
            Ok((stream, from)) => {
                // Without a seat it is closed immediately.
                if let Some(seat) = seats.take() {
                    tokio::spawn(connection(stream, canonical(from), seat, serving.clone(), is_stopping.clone()));
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

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    seat: Seat,
    mut serving: Serving,
    stopping: watch::Receiver<bool>,
) {
    // Responses are small and complete: waiting for more only costs time. If this fails they are just slower.
    drop(stream.set_nodelay(true));
    let at = stream.local_addr().map_or_else(|_| LocalAddr::default(), |at| LocalAddr(at.into()));
    if !seat.is_usual() {
        (serving.limits.header, serving.limits.idle) = (RESERVE_TIMEOUT, RESERVE_TIMEOUT);
    }
    let Some(identity) = &serving.identity else {
        return requests(stream, (at, from, Scheme::HTTP), &seat, &serving, stopping).await;
    };
    let shaking = tokio::time::timeout(serving.limits.header, identity.acceptor().accept(stream));
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        () = seat.is_wanted() => return,
    };
    // A client that speaks no TLS, or does so too slowly, gets no answer.
    if let Ok(Ok(stream)) = shaken {
        requests(stream, (at, from, Scheme::HTTPS), &seat, &serving, stopping).await;
    }
}

/// Serves the requests on a connection.
async fn requests<S>(
    stream: S,
    (at, from, scheme): (LocalAddr, SocketAddr, Scheme),
    seat: &Seat,
    serving: &Serving,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let turns = Turns::default();
    let ConnectionLimits { header, idle, n_max: _ } = serving.limits;
    let io = TokioIo::new(Paced::new(stream, turns.clone(), header, idle));
    let worked_on = turns.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, turns, at, scheme) = (Arc::clone(&serving.app), worked_on.clone(), at.clone(), scheme.clone());
        async move {
            let mut request: poem::Request = (request, at, RemoteAddr(from.into()), scheme).into();
            request.set_data(seat.clone());
            let mut response: Response<_> = turns.work_on(app.get_response(request)).await.into();
            if *serving.leaving.borrow() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(BUFFER_BYTES).keep_alive(seat.is_usual());
    let connection = http.serve_connection(io, service);
    tokio::pin!(connection);
    // How it ends concerns only its caller.
    tokio::select! {
        ended = &mut connection => return drop(ended),
        stopped = stopping.wait_for(|stopping| *stopping) => drop(stopped),
        () = seat.is_wanted() => {
            if !turns.is_working() {
                return;
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

/// Maps `::ffff:127.0.0.1` to IPv4, so that a machine has one address in rules, rates and logs.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The URL at which this machine reaches a server that listens on `addr`.
pub fn url(addr: SocketAddr) -> String {
    let port = addr.port();
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{port}"),
        SocketAddr::V4(_) | SocketAddr::V6(_) => format!("http://{addr}"),
    }
}
