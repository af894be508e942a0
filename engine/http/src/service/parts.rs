//! What a process provides to start each of its services.

use std::{error::Error, sync::Arc};

use orderlog_core::decider::{Decider, Millis};
use orderlog_readmodel::RedisAddress;
use orderlog_runtime::{
    assembly::{self, Assembled},
    background::Troubles,
    replica::Setup,
    snapshots::Keeping,
};
use tokio::sync::watch;

use super::{Service, ServiceDefinition, mounted::Mounted};
use crate::peers::Peers;

/// What every service of a process needs to start.
pub struct Parts {
    /// The configuration of every replica, including the log.
    pub setup: Setup,
    /// Where rows are stored.
    pub keeping: Keeping,
    /// Problems of the background tasks.
    pub troubles: Troubles,
    /// Becomes true when the process stops, so that endless responses end.
    pub stopping: watch::Receiver<bool>,
    pub peers: Arc<Peers>,
    pub redis: Option<RedisAddress>,
    /// The time limit of a command, in milliseconds.
    pub command_timeout_ms: Millis,
}

#[derive(Debug, thiserror::Error)]
#[error("the {service} service can't start")]
pub struct NotStarted {
    service: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl NotStarted {
    pub fn new(service: &'static str, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { service, source: why.into() }
    }
}

impl Parts {
    /// Starts a service with its relay and its reactor. Start its further background tasks with [`assembly::perform`].
    pub async fn start<S: ServiceDefinition>(&self) -> Result<Service<S>, NotStarted> {
        for (other, lost) in S::CALLS.iter().filter(|(other, _)| !self.peers.has(*other)) {
            tracing::warn!("{other} is not in this process, and --{other}-url is not set: {lost}");
        }
        let assembled = assembly::start(self.setup.clone(), S::TABLES, &self.keeping, &self.troubles).await;
        let Assembled { replica, lease } = assembled.map_err(|why| NotStarted::new(S::Decider::JOURNAL, why))?;
        let (peers, command_timeout_ms) = (Arc::clone(&self.peers), self.command_timeout_ms);
        Ok(Service { replica, lease, peers, command_timeout_ms })
    }

    /// Starts a service without further background tasks or dependencies, and returns its routes.
    pub async fn mount<S: ServiceDefinition>(&self, api: fn(Service<S>) -> S::Api) -> Result<Mounted, NotStarted> {
        let service = self.start::<S>().await?;
        Ok(Mounted::new(&service.clone(), api(service)))
    }
}
