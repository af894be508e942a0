//! Listeners for requests. With TLS there is a second one without, for this machine only: commands on the data folder
//! use it, whatever names the certificate has.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use orderlog_http::tls::Identity;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{
    StartError,
    connections::{self, Serving},
};
use crate::config::Options;

/// Any free port on the loopback interface.
const OWN: &str = "127.0.0.1:0";

/// The listeners of a process.
pub struct Doors {
    pub addr: SocketAddr,
    listener: TcpListener,
    secret: Option<Secret>,
}

struct Secret {
    identity: Arc<Identity>,
    own: (TcpListener, SocketAddr),
}

impl Doors {
    /// Starts to listen. Early connections wait until requests are served.
    pub async fn open(options: &Options) -> Result<Self, StartError> {
        let identity = options.security.identity()?;
        let (listener, addr) = bind(&options.listen).await?;
        let secret = match identity {
            Some(identity) => Some(Secret { identity: Arc::new(identity), own: bind(OWN).await? }),
            None => None,
        };
        Ok(Self { addr, listener, secret })
    }

    /// The URL at which commands on this machine reach the process.
    pub fn own_url(&self) -> String {
        connections::url(self.secret.as_ref().map_or(self.addr, |secret| secret.own.1))
    }

    /// Serves all listeners until `stopping`; each has its own seats.
    pub fn serve(self, serving: &Serving, stopping: &watch::Sender<bool>, patience: Duration) -> Vec<JoinHandle<()>> {
        let serve = |listener, identity| {
            let serving = Serving { identity, ..serving.clone() };
            tokio::spawn(connections::serve(listener, serving, stopping.subscribe(), patience))
        };
        match self.secret {
            Some(Secret { identity, own }) => vec![serve(self.listener, Some(identity)), serve(own.0, None)],
            None => vec![serve(self.listener, None)],
        }
    }
}

/// The address that `listen` names, without listening on it.
///
/// # Errors
/// [`StartError::Listen`] if its host is unknown.
pub fn resolved(listen: &str) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Listen { address: listen.to_owned(), source };
    let found = listen.to_socket_addrs().map_err(failed)?.next();
    found.map(connections::canonical).ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))
}

async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, connections::canonical(addr)))
}
