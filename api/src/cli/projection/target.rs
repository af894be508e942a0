//! Whom to ask: the server on the data folder, or, if there is none, an instance of our own.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use orderlog_domain::{
    billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications, orders::Orders,
};
use orderlog_eventlog::embedded::OpenError;
use orderlog_projections::{Store, StoreError, Tables};
use orderlog_service::{
    projection::{Projection, Rows, Status},
    rebuild::{Goal, RebuildError},
    replica::{Replica, Setup},
};
use serde_json::json;

use crate::{
    cli::exit::Failure,
    config::Storage,
    problem::Problem,
    server::{self, StartError},
    services::ServiceName,
};

/// How long a running server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whom to ask.
pub enum Target {
    /// A running server.
    Server {
        /// Asks it.
        client: reqwest::Client,
        /// Where it is.
        url: String,
    },
    /// The rows themselves, in this process.
    Here(BTreeMap<ServiceName, Arc<dyn Projection>>),
}

impl Target {
    /// The server at `url`, or the one that the data folder tells of, or the data folder itself.
    ///
    /// # Errors
    /// Why neither can be asked.
    pub async fn find(url: Option<&str>, services: &[ServiceName], storage: &Storage) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        if let Some(url) = url {
            return Ok(Self::Server { client, url: url.trim_end_matches('/').to_owned() });
        }
        if let Some(url) = server::found_at(&storage.data)
            && client.get(format!("{url}/livez")).send().await.is_ok_and(|answer| answer.status().is_success())
        {
            return Ok(Self::Server { client, url });
        }
        if !storage.data.is_dir() {
            return Err(Failure::refused(format!("there is no data folder {}: use --data", storage.data.display())));
        }
        Self::open(services, storage).await
    }

    async fn open(services: &[ServiceName], storage: &Storage) -> anyhow::Result<Self> {
        let setup = server::open(storage).await.map_err(|error| match error {
            StartError::Embedded(OpenError::InUse { .. }) => Failure::unavailable(format!(
                "{error}; it does not answer where it said it would, use --server to say where it is"
            )),
            error => error.into(),
        })?;
        let mut projections = BTreeMap::new();
        for service in services {
            let (setup, data) = (setup.clone(), storage.data.as_path());
            let rows = match service {
                ServiceName::Customers => rows::<Customers>(setup, data).await,
                ServiceName::Orders => rows::<Orders>(setup, data).await,
                ServiceName::Inventory => rows::<Inventory>(setup, data).await,
                ServiceName::Billing => rows::<Billing>(setup, data).await,
                ServiceName::Notifications => rows::<Notifications>(setup, data).await,
            };
            projections.insert(*service, rows.with_context(|| format!("the rows of {service}"))?);
        }
        Ok(Self::Here(projections))
    }

    /// Begin a rebuild.
    ///
    /// # Errors
    /// Why it can't be begun.
    pub async fn begin(&self, service: ServiceName, goal: Goal) -> anyhow::Result<()> {
        match self {
            Self::Server { client, url } => {
                let request = client.post(format!("{url}/admin/projections/{service}")).json(&json!({ "goal": goal }));
                answered(request).await.map(drop)
            }
            Self::Here(projections) => projections[&service].begin(goal).map_err(|error| match error {
                RebuildError::UnderWay(_) | RebuildError::NothingBefore(_) => Failure::refused(error.to_string()),
                error => error.into(),
            }),
        }
    }

    /// Where rows stand.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn status(&self, service: ServiceName) -> anyhow::Result<Status> {
        match self {
            Self::Server { client, url } => {
                let answer = answered(client.get(format!("{url}/admin/projections/{service}"))).await?;
                serde_json::from_slice(&answer).context("the server answers something else: is it of the same version?")
            }
            Self::Here(projections) => projections[&service].status().await.map_err(Failure::unavailable),
        }
    }
}

async fn answered(request: reqwest::RequestBuilder) -> anyhow::Result<Vec<u8>> {
    let unreachable = |error: reqwest::Error| Failure::unavailable(format!("the server does not answer: {error}"));
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(unreachable)?.to_vec();
    if status.is_success() {
        return Ok(body);
    }
    let detail = serde_json::from_slice::<Problem>(&body).map_or_else(|_| status.to_string(), |problem| problem.detail);
    Err(match status.as_u16() {
        404 | 409 => Failure::refused(detail),
        503 | 504 => Failure::unavailable(detail),
        _ => anyhow::anyhow!("{detail}"),
    })
}

/// An instance that only folds: it has no duties, so it publishes nothing and tells nobody.
async fn rows<D: Tables>(setup: Setup, data: &Path) -> anyhow::Result<Arc<dyn Projection>> {
    let store = Store::<D>::open(data).await.map_err(|error| match error {
        StoreError::InUse { .. } => Failure::unavailable(error.to_string()),
        error => error.into(),
    })?;
    let replica = Replica::start(setup, Arc::new(store)).await?;
    replica.ready().await.map_err(Failure::unavailable)?;
    Ok(Arc::new(Rows::of(replica)))
}
