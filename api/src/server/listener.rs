//! Where requests come in.

use std::{io, net::SocketAddr, time::Duration};

use poem::{
    http::uri::Scheme,
    listener::{Acceptor, TcpAcceptor},
    web::{LocalAddr, RemoteAddr},
};
use tokio::net::{TcpListener, TcpStream};

use super::StartError;

/// How long nothing is accepted after a failure, such as too many open files; the server itself would try again at once,
/// for ever.
const REST: Duration = Duration::from_millis(50);

/// Accepts connections without Nagle's delay.
pub struct Listening(TcpAcceptor);

impl Acceptor for Listening {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        match self.0.accept().await {
            Ok(accepted) => {
                // Answers are small and whole: waiting for more of them only costs time. If it fails they are just slower.
                drop(accepted.0.set_nodelay(true));
                Ok(accepted)
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(REST).await;
                Err(error)
            }
        }
    }
}

/// Listen on `address`; port 0 takes any free one.
pub async fn bind(address: &str) -> Result<(Listening, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((Listening(TcpAcceptor::from_tokio(listener).map_err(failed)?), addr))
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
