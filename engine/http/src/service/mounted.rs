//! A running service, as used by the server.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use orderlog_eventlog::Lease;
use orderlog_runtime::projection::{LiveProjection, Projection};
use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::OpenApi;
pub use prometheus::core::Collector;

use super::{Service, ServiceDefinition};
use crate::{names::ServiceName, probe::Probe};

pub type RouteTable = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// A running service, as used by the server: its routes and its health.
pub struct Mounted {
    pub name: ServiceName,
    pub routes: Box<dyn FnOnce(&mut RouteTable) + Send>,
    pub probe: Arc<dyn Probe>,
    pub projection: Arc<dyn Projection>,
    /// Knows which instance runs its background tasks.
    pub lease: Arc<dyn Lease>,
    /// Its further dependencies, by name.
    pub dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
    /// Its background tasks without which every request can still be answered.
    pub dispensable: &'static [&'static str],
}

/// A dependency of a service besides the log and the rows.
pub trait Dependency: Send + Sync {
    /// Checks whether it answers. The error says why it does not.
    fn answers(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Returns the metrics of the calls to it.
    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        Vec::new()
    }
}

impl Mounted {
    /// Wraps the service behind `api`.
    pub fn new<S: ServiceDefinition>(service: &Service<S>, api: S::Api) -> Self {
        let Service { replica, lease, .. } = service;
        Self {
            name: ServiceName::of::<S::Decider>(),
            routes: Box::new(move |table| api.add_routes(table)),
            probe: Arc::new(replica.clone()),
            projection: Arc::new(LiveProjection::of(replica.clone())),
            lease: Arc::clone(lease),
            dependencies: Vec::new(),
            dispensable: &[],
        }
    }

    /// Returns the tasks of [`Mounted::dispensable`] as they are named in reports.
    pub fn dispensable_tasks(&self) -> impl Iterator<Item = String> {
        self.dispensable.iter().map(|task| format!("{} {task}", self.name))
    }
}
