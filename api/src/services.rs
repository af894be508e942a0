//! The five services by name, and what each has to offer to be served.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use orderlog_projections::Tables;
use orderlog_service::{
    lag::Behind,
    measures::Measures,
    projection::{Projection, Rows},
    replica::{Replica, State},
};
use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{OpenApi, Tags};

use crate::{execute::Service, handover::Handover};

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum ServiceName {
    /// Who customers are.
    Customers,
    /// What they order.
    Orders,
    /// What there is.
    Inventory,
    /// What is paid.
    Billing,
    /// What people are told.
    Notifications,
}

impl ServiceName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Customers, Self::Orders, Self::Inventory, Self::Billing, Self::Notifications];

    /// The name, which is also that of the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Billing => "billing",
            Self::Notifications => "notifications",
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The services as groups of operations.
#[derive(Tags)]
pub enum Tag {
    /// Who customers are, and whether they may place orders.
    #[oai(rename = "customers")]
    Customers,
    /// What customers order, whether it can be supplied, and whether it is paid.
    #[oai(rename = "orders")]
    Orders,
    /// What there is of each SKU, and what is set aside.
    #[oai(rename = "inventory")]
    Inventory,
    /// What is due, paid and refunded for each order.
    #[oai(rename = "billing")]
    Billing,
    /// What people are told, and whether they have read it.
    #[oai(rename = "notifications")]
    Notifications,
}

/// Endpoints by path and method.
pub type RouteTable = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// A running service, as the server sees it: its routes and how it does.
pub struct Mounted {
    /// Which.
    pub name: ServiceName,
    /// Adds its routes.
    pub routes: Box<dyn FnOnce(&mut RouteTable) + Send>,
    /// How it does.
    pub probe: Arc<dyn Probe>,
    /// Its rows.
    pub projection: Arc<dyn Projection>,
    /// Hands its commands to another instance, if that is wished for.
    pub handover: Option<Arc<Handover>>,
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
    pub fn new<D: Tables>(name: ServiceName, service: &Service<D>, api: impl OpenApi + Send + 'static) -> Self {
        let Service { replica, handover, .. } = service;
        Self {
            name,
            routes: Box::new(move |table| api.add_routes(table)),
            probe: Arc::new(replica.clone()),
            projection: Arc::new(Rows::of(replica.clone())),
            handover: handover.clone(),
            dependencies: Vec::new(),
        }
    }
}

/// How far a service has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is doing.
    pub state: State,
    /// One past the last record in its rows.
    pub position: u64,
    /// One past the last record of its journal, or why that is not known.
    pub end: Result<u64, String>,
    /// For how long a record has been missing in its rows.
    pub behind_ms: u64,
    /// Why its rows can't be read, if they can't.
    pub rows: Result<(), String>,
    /// What it can't do, though it goes on.
    pub trouble: Option<String>,
}

/// How a service does.
pub trait Probe: Send + Sync {
    /// Now, as far as it can be told within `wait`.
    fn standing(&self, wait: Duration) -> BoxFuture<'_, Standing>;

    /// How far its rows are behind.
    fn behind(&self) -> Behind;

    /// What it counts of itself.
    fn measures(&self) -> &Arc<Measures>;

    /// Another instance has answered a command for this one, with a record below `position`.
    fn has_answered_elsewhere(&self, position: u64);

    /// Have its duties end, and wait until everything that was answered stands in the rows.
    fn settle(&self) -> BoxFuture<'_, ()>;
}

impl<D: Tables> Probe for Replica<D> {
    fn standing(&self, wait: Duration) -> BoxFuture<'_, Standing> {
        async move {
            let (journal, store) = ([Self::journal()], self.store());
            let ends = tokio::time::timeout(wait, self.log().ends(&journal));
            let rows = tokio::time::timeout(wait, store.checkpoint());
            let (ends, rows) = tokio::join!(ends, rows);
            let end = match ends {
                Ok(ends) => ends.map(|ends| ends.first().copied().unwrap_or(0)).map_err(|error| error.to_string()),
                Err(_) => Err("it does not say where the journal ends".to_owned()),
            };
            let rows = match rows {
                Ok(rows) => rows.map(drop).map_err(|error| error.to_string()),
                Err(_) => Err("they can't be read in time".to_owned()),
            };
            let (state, position) = (self.state().borrow().clone(), *self.committed().borrow());
            let behind_ms = self.behind().ms;
            Standing { state, position, end, behind_ms, rows, trouble: self.trouble() }
        }
        .boxed()
    }

    fn behind(&self) -> Behind {
        Self::behind(self)
    }

    fn measures(&self) -> &Arc<Measures> {
        Self::measures(self)
    }

    fn has_answered_elsewhere(&self, position: u64) {
        Self::has_answered_elsewhere(self, position);
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        async move {
            self.end_duties().await;
            self.read_your_writes().await;
        }
        .boxed()
    }
}
