//! A running service, as the server sees it.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use orderlog_eventlog::Lease;
use orderlog_runtime::projection::{Projection, Rows};
use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::OpenApi;

use super::{Service, ServiceDefinition};
use crate::{names::ServiceName, probe::Probe};

/// Endpoints by path and method.
pub type RouteTable = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// A running service, as the server sees it: its routes and how it does.
pub struct Mounted {
    pub name: ServiceName,
    pub routes: Box<dyn FnOnce(&mut RouteTable) + Send>,
    pub probe: Arc<dyn Probe>,
    pub projection: Arc<dyn Projection>,
    /// Says which instance performs its background tasks.
    pub lease: Arc<dyn Lease>,
    /// What else it uses, by name.
    pub dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
}

/// What a service uses beside log and rows.
pub trait Dependency: Send + Sync {
    /// Whether it answers, or why it does not.
    fn answers(&self) -> BoxFuture<'_, Result<(), String>>;
}

impl Mounted {
    /// The service behind `api`.
    pub fn new<S: ServiceDefinition>(service: &Service<S>, api: S::Api) -> Self {
        let Service { replica, lease, .. } = service;
        Self {
            name: ServiceName::of::<S::Decider>(),
            routes: Box::new(move |table| api.add_routes(table)),
            probe: Arc::new(replica.clone()),
            projection: Arc::new(Rows::of(replica.clone())),
            lease: Arc::clone(lease),
            dependencies: Vec::new(),
        }
    }
}
