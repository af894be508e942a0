//! What a process has for each of its services to start with.

use std::{error::Error, sync::Arc};

use orderlog_core::decider::{Decider, Millis};
use orderlog_readmodel::RedisAddress;
use orderlog_runtime::{
    assembly::{self, Assembled},
    duty::Troubles,
    replica::Setup,
    snapshots::Keeping,
};
use tokio::sync::watch;

use super::{Service, ServiceDefinition, mounted::Mounted};
use crate::peers::Peers;

/// What every service of a process needs to start.
pub struct Parts {
    /// The log, and what else every replica needs.
    pub setup: Setup,
    /// Where rows are kept.
    pub keeping: Keeping,
    /// What is wrong with the background tasks.
    pub troubles: Troubles,
    /// Turns true when the process is to stop, so that answers without an end find one.
    pub stopping: watch::Receiver<bool>,
    pub peers: Arc<Peers>,
    /// Redis, if there is one.
    pub redis: Option<RedisAddress>,
    /// How long a command may take.
    pub command_timeout_ms: Millis,
}

/// A service can't start.
#[derive(Debug, thiserror::Error)]
#[error("the {service} service can't start")]
pub struct NotStarted {
    service: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl NotStarted {
    /// This service, and why.
    pub fn new(service: &'static str, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { service, source: why.into() }
    }
}

impl Parts {
    /// Start a service with its relay and its reactor. It has further background tasks performed under its lease, by
    /// [`assembly::perform`].
    ///
    /// # Errors
    /// [`NotStarted`] if it can't run.
    pub async fn start<S: ServiceDefinition>(&self) -> Result<Service<S>, NotStarted> {
        let assembled = assembly::start(self.setup.clone(), S::TABLES, &self.keeping, &self.troubles).await;
        let Assembled { replica, lease } = assembled.map_err(|why| NotStarted::new(S::Decider::JOURNAL, why))?;
        let (peers, command_timeout_ms) = (Arc::clone(&self.peers), self.command_timeout_ms);
        Ok(Service { replica, lease, peers, command_timeout_ms })
    }

    /// Starts a service that has nothing besides, and offers its routes.
    ///
    /// # Errors
    /// [`NotStarted`] if it can't run.
    pub async fn mount<S: ServiceDefinition>(&self, api: fn(Service<S>) -> S::Api) -> Result<Mounted, NotStarted> {
        let service = self.start::<S>().await?;
        Ok(Mounted::new(&service.clone(), api(service)))
    }
}
