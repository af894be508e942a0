//! A running process and its shutdown: it becomes unready, accepts no more requests, answers those in progress, ends
//! the background tasks, writes the read models and closes the log. Work that does not finish in time is dropped, since
//! the log has everything.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use orderlog_eventlog::EventLog;
use orderlog_http::{auth::Token, probe::Probe};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{admin, connections, gate::Gate};

/// The least time for background tasks and read models, and then for closing the log, however long requests took.
const LEAST: Duration = Duration::from_millis(500);

/// The stages of a shutdown.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// The process is no longer ready, which load balancers observe. Responses close their connections.
    pub leaving: watch::Sender<bool>,
    /// No connections are accepted any more, and endless responses must end.
    pub draining: watch::Sender<bool>,
}

/// A process that accepts requests.
pub struct Running {
    pub addr: SocketAddr,
    pub(super) stopping: Stopping,
    /// The URL for unencrypted requests from this machine.
    pub(super) own_url: String,
    /// How long requests are still accepted after readiness ends, and how long everything after that may take.
    pub(super) patience: (Duration, Duration),
    /// The servers at `addr`, and at `own_url` if that differs.
    pub(super) servers: Vec<JoinHandle<()>>,
    pub(super) probes: Vec<Arc<dyn Probe>>,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) gate: Arc<Gate>,
    /// Keeps the file with the server's address, for commands on this machine.
    pub(super) _found_at: admin::FoundAt,
}

impl Running {
    /// The base URL at which this machine reaches the server.
    pub fn url(&self) -> String {
        let own = connections::url(self.addr);
        if own == self.own_url { own } else { own.replacen("http://", "https://", 1) }
    }

    /// The URL without TLS, for this machine only.
    pub fn own_url(&self) -> String {
        self.own_url.clone()
    }

    pub fn demo_key(&self) -> Option<Token> {
        self.gate.demo.clone()
    }

    /// Shuts down, as described in the module's documentation.
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
        };
        let settled = timeout_at(deadline.max(Instant::now() + LEAST), settled).await.is_ok();
        // In any case: another instance waits for the lease.
        let closed = timeout_at(deadline.max(Instant::now() + LEAST), self.log.close()).await.is_ok();
        if !(settled && closed) {
            tracing::warn!("not everything came to an end in time; the next start reads from the log what is missing");
        }
    }

    /// Stops accepting requests and waits for those in progress. The servers themselves enforce the timeout.
    async fn drain(&mut self) {
        self.stopping.draining.send_replace(true);
        for server in &mut self.servers {
            if let Err(error) = server.await {
                tracing::warn!("the HTTP server ended: {error}");
            }
        }
    }
}
