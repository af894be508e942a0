//! Whom to ask: the server on the data folder, or, if there is none, an instance of our own.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use orderlog_domain::{
    billing::Billing, customers::Customers, inventory::Inventory, notifications::Notifications, orders::Orders,
    values::Reason,
};
use orderlog_eventlog::ReadError;
use orderlog_projections::{Label, SnapshotError, StoreError, Tables};
use orderlog_service::{
    projection::{ParkedRecord, Projection, RebuildRequest, Rows, Status},
    rebuild::{Goal, RebuildError},
    replica::{self, Damage, Discarded, RepairError, Replica, Retried, Setup},
    snapshots::Keeping,
};
use serde_json::json;
use tracing::warn;

use crate::{
    cli::{
        exit::Failure,
        running::{Place, Running},
    },
    config::Storage,
    inspect::{Chunk, InRows, Inspected, Inspector, Projections},
    names::ServiceName,
    server::{self, StartError},
};

/// How long a file may stay open after the instance that used it has stopped.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// How soon it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whom to ask.
pub enum Target {
    /// A running server.
    Server(Running),
    /// The rows themselves and the log, in this process.
    Here(Projections, Inspector),
}

impl Target {
    /// The server at `place`, or what is in its data folder.
    ///
    /// # Errors
    /// Why neither can be asked.
    pub async fn find(services: &[ServiceName], place: &Place) -> anyhow::Result<Self> {
        match Running::find(place).await? {
            Some(running) => Ok(Self::Server(running)),
            None => Self::open(None, services, &place.storage).await,
        }
    }

    /// The same, to do this. Rows that can't be opened, or don't belong to the log, are what verification looks for, and what is
    /// to be replaced.
    ///
    /// # Errors
    /// Why neither can be asked.
    pub async fn find_for(goal: Goal, services: &[ServiceName], place: &Place) -> anyhow::Result<Self> {
        match Running::find(place).await? {
            Some(running) => Ok(Self::Server(running)),
            None => Self::open(Some(goal), services, &place.storage).await,
        }
    }

    /// What `work` comes to. Then the log is let go of, if it was opened for this: the embedded one is one file again.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn ask<T>(self, work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let outcome = work(&self).await;
        if let Self::Here(projections, inspector) = self {
            drop(projections);
            inspector.close().await;
        }
        outcome
    }

    async fn open(goal: Option<Goal>, services: &[ServiceName], storage: &Storage) -> anyhow::Result<Self> {
        let setup = server::open_begun(storage).await.map_err(StartError::told)?;
        let mut projections = BTreeMap::new();
        for service in services {
            let (setup, keeping) = (setup.clone(), storage.keeping());
            let rows = match service {
                ServiceName::Customers => rows::<Customers>(goal, setup, &keeping).await,
                ServiceName::Orders => rows::<Orders>(goal, setup, &keeping).await,
                ServiceName::Inventory => rows::<Inventory>(goal, setup, &keeping).await,
                ServiceName::Billing => rows::<Billing>(goal, setup, &keeping).await,
                ServiceName::Notifications => rows::<Notifications>(goal, setup, &keeping).await,
            };
            projections.insert(*service, rows.with_context(|| format!("the rows of {service}"))?);
        }
        let projections = Arc::new(projections);
        let inspector = Inspector::new(setup.log, Arc::new(InRows(Arc::clone(&projections))));
        Ok(Self::Here(projections, inspector))
    }

    /// Begin a rebuild.
    ///
    /// # Errors
    /// Why it can't be begun.
    pub async fn begin(&self, service: ServiceName, asked: RebuildRequest) -> anyhow::Result<()> {
        match self {
            Self::Server(running) => {
                running.post::<Status>(&format!("/admin/projections/{service}"), &json!(asked)).await.map(drop)
            }
            Self::Here(projections, _) => projections[&service].begin(asked).await.map_err(|error| match error {
                RebuildError::UnderWay(_) | RebuildError::NothingBefore(_) | RebuildError::From(_) => {
                    Failure::refused(error.to_string())
                }
                error => error.into(),
            }),
        }
    }

    /// Make a snapshot.
    ///
    /// # Errors
    /// Why none could be made.
    pub async fn snapshot(&self, service: ServiceName) -> anyhow::Result<Label> {
        match self {
            Self::Server(running) => running.post(&format!("/admin/snapshots/{service}"), &json!({})).await,
            Self::Here(projections, _) => projections[&service].snapshot().await.map_err(|error| match error {
                SnapshotError::Empty(_) => Failure::refused(error.to_string()),
                error => error.into(),
            }),
        }
    }

    /// The records of a journal that could not be folded.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn parked(&self, service: ServiceName) -> anyhow::Result<Vec<ParkedRecord>> {
        match self {
            Self::Server(running) => running.get(&format!("/admin/parked/{service}")).await,
            Self::Here(projections, _) => Ok(projections[&service].parked().await?),
        }
    }

    /// A record of a journal.
    ///
    /// # Errors
    /// That there is none at this offset, or why it can't be read.
    pub async fn record(&self, service: ServiceName, offset: u64) -> anyhow::Result<Inspected> {
        let chunk: Chunk = match self {
            Self::Server(running) => running.get(&format!("/admin/log/{service}/0?from={offset}&limit=1")).await?,
            Self::Here(_, inspector) => {
                let refused = |error: anyhow::Error| Failure::refused(error.to_string());
                inspector.chunk(service.as_str(), 0, offset, 1).await.map_err(refused)?
            }
        };
        let found = chunk.records.into_iter().find(|record| record.offset == offset);
        found.ok_or_else(|| Failure::refused(format!("{service}@{offset} does not exist")))
    }

    /// Have a parked record have no effect.
    ///
    /// # Errors
    /// What became of it instead.
    pub async fn discard(&self, service: ServiceName, offset: u64, reason: Reason) -> anyhow::Result<Discarded> {
        match self {
            Self::Server(running) => {
                running.post(&format!("/admin/parked/{service}/{offset}"), &json!({ "reason": reason })).await
            }
            Self::Here(projections, _) => projections[&service].discard(offset, reason).await.map_err(unrepaired),
        }
    }

    /// Fold what is parked, as far as it can be.
    ///
    /// # Errors
    /// Why that can't be done now.
    pub async fn retry(&self, service: ServiceName) -> anyhow::Result<Retried> {
        match self {
            Self::Server(running) => running.post(&format!("/admin/parked/{service}"), &json!({})).await,
            Self::Here(projections, _) => projections[&service].retry().await.map_err(unrepaired),
        }
    }

    /// Where rows stand.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn status(&self, service: ServiceName) -> anyhow::Result<Status> {
        match self {
            Self::Server(running) => running.get(&format!("/admin/projections/{service}")).await,
            Self::Here(projections, _) => projections[&service].status().await.map_err(Failure::unavailable),
        }
    }
}

fn unrepaired(error: RepairError) -> anyhow::Error {
    match error {
        RepairError::Cannot(_) | RepairError::Overtaken { .. } => Failure::refused(error.to_string()),
        RepairError::Refused | RepairError::Unknown | RepairError::Unavailable(_) => {
            Failure::unavailable(error.to_string())
        }
        RepairError::Rows(error) => error.into(),
    }
}

/// An instance that only folds: it has no duties, so it publishes nothing and tells nobody.
async fn rows<D: Tables>(goal: Option<Goal>, setup: Setup, keeping: &Keeping) -> anyhow::Result<Arc<dyn Projection>> {
    match serving::<D>(setup.clone(), keeping).await {
        Err(error) if is_damaged_log(&error) => Err(Failure::differs(told(&error))),
        Err(error) if goal == Some(Goal::Verify) && is_fault(&error) => Err(Failure::differs(told(&error))),
        Err(error) if goal == Some(Goal::Replace) && is_fault(&error) => {
            warn!("the rows of {} are built anew from the log: {}", D::JOURNAL, told(&error));
            let began = Instant::now();
            begin_anew::<D>(&setup, keeping).await?;
            Ok(Arc::new(Rows::built(serving::<D>(setup, keeping).await?, began.elapsed())))
        }
        Err(error) if is_fault(&error) => Err(Failure::refused(told(&error))),
        rows => Ok(Arc::new(Rows::of(rows?))),
    }
}

/// Rows that turned out to be damaged while they caught up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DamagedRows(String);

/// Whether the rows are at fault: damaged, another log's, or no rows of this service.
fn is_fault(error: &anyhow::Error) -> bool {
    error.is::<DamagedRows>()
        || error.downcast_ref().is_some_and(|error: &replica::StartError| match error {
            replica::StartError::OtherHistory { .. } | replica::StartError::Rows(StoreError::Foreign { .. }) => true,
            replica::StartError::Rows(error) => error.is_damage(),
            replica::StartError::Journal(_) => false,
        })
}

/// Has empty rows serve, once the instance that found the damage has closed its file.
async fn begin_anew<D: Tables>(setup: &Setup, keeping: &Keeping) -> Result<(), replica::StartError> {
    let until = Instant::now() + CLOSED_WITHIN;
    loop {
        match keeping.begin_anew::<D>(setup.log.as_ref()).await {
            Err(replica::StartError::Rows(StoreError::InUse { .. })) if Instant::now() < until => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether a record of the journal is damaged, which no rows can repair.
fn is_damaged_log(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(replica::StartError::Journal(ReadError::Damaged { .. })))
}

/// An error with its causes, in one line.
fn told(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

async fn serving<D: Tables>(setup: Setup, keeping: &Keeping) -> anyhow::Result<Replica<D>> {
    let store = keeping.open::<D>(setup.log.as_ref()).await.map_err(|error| match error {
        replica::StartError::Rows(StoreError::InUse { .. }) => Failure::unavailable(error.to_string()),
        error => error.into(),
    })?;
    let replica = Replica::start(setup, Arc::new(store)).await?;
    match replica.ready().await {
        Ok(()) => Ok(replica),
        Err(why) => Err(match replica.damage() {
            Some(Damage::Rows) => DamagedRows(why).into(),
            Some(Damage::Journal) => Failure::differs(why),
            None => Failure::unavailable(why),
        }),
    }
}
