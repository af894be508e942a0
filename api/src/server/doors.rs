//! Where requests come in. With TLS there is a second door for this machine only, without: the process asks itself there, and so do
//! commands on its data folder, whatever names its certificate has.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use poem::{Endpoint, Response};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::{
    StartError,
    connections::{self, ConnectionLimits, Serving},
};
use crate::{config::Options, tls::Identity};

/// Any free port of this machine.
const OWN: &str = "127.0.0.1:0";

/// Where requests come in.
pub struct Doors {
    /// For everybody.
    pub addr: SocketAddr,
    listener: TcpListener,
    secret: Option<Secret>,
}

/// With TLS.
struct Secret {
    identity: Arc<Identity>,
    own: (TcpListener, SocketAddr),
}

impl Doors {
    /// Listen, so that whoever connects waits until there is an answer.
    ///
    /// # Errors
    /// [`StartError`], with what is in the way.
    pub async fn open(options: &Options) -> Result<Self, StartError> {
        let identity = options.security.identity()?;
        let (listener, addr) = bind(&options.listen).await?;
        let secret = match identity {
            Some(identity) => Some(Secret { identity: Arc::new(identity), own: bind(OWN).await? }),
            None => None,
        };
        Ok(Self { addr, listener, secret })
    }

    /// The URL by which the process reaches itself.
    pub fn own_url(&self) -> String {
        connections::url(self.secret.as_ref().map_or(self.addr, |secret| secret.own.1))
    }

    /// Have `app` answer until `stopping`.
    pub fn serve<E>(
        self,
        app: E,
        limits: ConnectionLimits,
        stopping: &watch::Sender<bool>,
        patience: Duration,
    ) -> Vec<JoinHandle<()>>
    where
        E: Endpoint<Output = Response> + 'static,
    {
        let app = Arc::new(app);
        let serve = |listener, identity| {
            let serving = Serving { app: Arc::clone(&app), identity, limits };
            tokio::spawn(connections::serve(listener, serving, stopping.subscribe(), patience))
        };
        match self.secret {
            Some(Secret { identity, own }) => vec![serve(self.listener, Some(identity)), serve(own.0, None)],
            None => vec![serve(self.listener, None)],
        }
    }
}

async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, connections::canonical(addr)))
}
