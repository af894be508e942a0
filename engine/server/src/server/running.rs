//! A process that takes requests, and how it stops: it says that it is not ready, takes no more requests, answers those under way,
//! has its duties end, its rows written, and the log let go. What does not come to an end in time is left: the log has everything.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use orderlog_eventlog::EventLog;
use orderlog_http::{auth::Token, probe::Probe};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{admin, connections, gate::Gate};

/// What is always left for the rows, however long requests took.
const FOR_ROWS: Duration = Duration::from_secs(1);

/// What is told when the process is to stop.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// It is not ready any more; load balancers look there.
    pub leaving: watch::Sender<bool>,
    /// No connections are taken any more, and answers without an end are to find one.
    pub draining: watch::Sender<bool>,
}

/// A process that takes requests.
pub struct Running {
    pub addr: SocketAddr,
    pub(super) stopping: Stopping,
    /// Where requests come in unencrypted, for this machine.
    pub(super) own_url: String,
    /// How long requests are still taken after readiness is gone, and how long all else may take.
    pub(super) patience: (Duration, Duration),
    /// What takes requests: at `addr`, and at `own_url` if that is elsewhere.
    pub(super) servers: Vec<JoinHandle<()>>,
    pub(super) probes: Vec<Arc<dyn Probe>>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) gate: Arc<Gate>,
    /// Tells commands of this machine where the server is, as long as it is there.
    pub(super) _found_at: admin::FoundAt,
}

impl Running {
    /// The base URL, as this machine reaches it.
    pub fn url(&self) -> String {
        let own = connections::url(self.addr);
        if own == self.own_url { own } else { own.replacen("http://", "https://", 1) }
    }

    /// The same, without TLS, for this machine only.
    pub fn own_url(&self) -> String {
        self.own_url.clone()
    }

    /// The key of its demo, if it plays one.
    pub fn demo_key(&self) -> Option<Token> {
        self.gate.demo.clone()
    }

    /// Stop, as this module tells.
    pub async fn stop(mut self) {
        let (delay, patience) = self.patience;
        self.stopping.leaving.send_replace(true);
        tokio::time::sleep(delay).await;
        let deadline = Instant::now() + patience;
        self.drain().await;
        let settled = async {
            for probe in &self.probes {
                probe.settle().await;
            }
            self.log.close().await;
        };
        if timeout_at(deadline.max(Instant::now() + FOR_ROWS), settled).await.is_err() {
            tracing::warn!("not everything came to an end in time; the next start reads from the log what is missing");
        }
    }

    /// No more requests; those under way are answered. The server itself gives up when its time is up.
    async fn drain(&mut self) {
        self.stopping.draining.send_replace(true);
        for server in &mut self.servers {
            if let Err(error) = server.await {
                tracing::warn!("the HTTP server ended: {error}");
            }
        }
    }
}
