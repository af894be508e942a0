//! Where commands run: on the data folder's server, or, if there is none, on instances in this process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use orderlog_core::{reason::Reason, words};
use orderlog_eventlog::{EventLog, Partition};
use orderlog_http::names::ServiceName;
use orderlog_readmodel::{Label, SnapshotError, StoreError, prepared_in};
use orderlog_runtime::{
    projection::{ParkedRecord, Projection, Rebuild, RebuildRequest, Status},
    rebuild::{
        Goal, RebuildError,
        republish::{RepublishError, Tell},
    },
    replica::{self, Discarded, RepairError, Retried, Setup},
    snapshots::Keeping,
};
use serde_json::json;
use tempfile::TempDir;
use tracing::warn;

use crate::{
    commands::{
        exit::Failure,
        running::{Place, Running},
    },
    config::Storage,
    inspect::{Chunk, InRows, Inspected, Inspector, Projections},
    registry::{AnyService, FoldError, Registry},
    server::{self, StartError},
};

pub enum Target {
    Server(Running),
    /// The read models and the log, in this process.
    Here(Here),
}

/// Instances in this process. For reading only, they work on copies of the read models.
pub struct Here {
    projections: Projections,
    inspector: Inspector,
    /// Why certain read models can't be verified. Others can.
    faults: Mutex<BTreeMap<ServiceName, anyhow::Error>>,
    copies: Option<Copies>,
}

/// Copies of read models, in a folder that is deleted on drop.
struct Copies {
    scratch: TempDir,
    /// The folder that was copied.
    data: PathBuf,
}

impl Copies {
    /// Replaces paths of the copies by those of the originals.
    fn named_as_copied(&self, text: &str) -> String {
        text.replace(&*self.scratch.path().to_string_lossy(), &self.data.to_string_lossy())
    }
}

impl Here {
    /// Replaces what names the copies, or is only in the original folder.
    async fn named_as_copied(&self, status: Status) -> Status {
        let Some(copies) = &self.copies else { return status };
        let prepared = prepared_in(&copies.data, &status.service).await;
        let named = |text: Option<String>| text.map(|text| copies.named_as_copied(&text));
        let rebuild = status.rebuild.map(|rebuild| Rebuild { error: named(rebuild.error), ..rebuild });
        Status { why: named(status.why), rebuild, prepared, ..status }
    }

    fn rows_of(&self, service: ServiceName) -> anyhow::Result<&Arc<dyn Projection>> {
        let fault = || self.faults.lock().unwrap_or_else(PoisonError::into_inner).remove(&service);
        let found = self.projections.iter().find(|(name, _)| *name == service).map(|(_, rows)| rows);
        found.ok_or_else(|| fault().unwrap_or_else(|| anyhow::anyhow!("no rows of {service}")))
    }
}

impl Target {
    /// The server at `place`, or copies of the read models in its data folder, which stays unchanged. The copies are
    /// made in `scratch`, or else in the system's temporary folder.
    pub async fn look(
        registry: &'static Registry,
        goal: Option<Goal>,
        services: &[ServiceName],
        place: &Place,
        scratch: Option<&Path>,
    ) -> anyhow::Result<Self> {
        if let Some(running) = Running::find(place).await? {
            return Ok(Self::Server(running));
        }
        let storage = &place.storage;
        let setup = server::open_begun_to_read(registry, storage).await.map_err(StartError::told)?;
        have_rows(&storage.data)?;
        have_begun(setup.log.as_ref(), services).await?;
        let dir = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
        let made = tempfile::Builder::new().prefix("orderlog-").tempdir_in(&dir);
        let scratch = made.map_err(|error| {
            Failure::unavailable(format!(
                "no read models can be built in {}: {error}; name another folder",
                dir.display()
            ))
        })?;
        let copies = Copies { scratch, data: storage.data.clone() };
        Self::open(registry, goal, services, (setup, storage.keeping()), Some(copies)).await
    }

    /// The server at `place`, or its data folder's read models.
    pub async fn find(registry: &'static Registry, services: &[ServiceName], place: &Place) -> anyhow::Result<Self> {
        match Running::find(place).await? {
            Some(running) => Ok(Self::Server(running)),
            None => Self::change(registry, None, services, &place.storage).await,
        }
    }

    /// Like [`Target::find`], for this goal: read models that can't be opened, or belong to another log, are what
    /// verification looks for, and what a replacement replaces.
    pub async fn find_for(
        registry: &'static Registry,
        goal: Goal,
        services: &[ServiceName],
        place: &Place,
    ) -> anyhow::Result<Self> {
        match Running::find(place).await? {
            Some(running) => Ok(Self::Server(running)),
            None => Self::change(registry, Some(goal), services, &place.storage).await,
        }
    }

    /// Runs `work` and then closes the log if it was opened for this; the embedded one is a single file again.
    pub async fn ask<T>(self, work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let outcome = work(&self).await;
        if let Self::Here(Here { projections, inspector, faults: _, copies: _copies }) = self {
            drop(projections);
            inspector.close().await;
        }
        outcome
    }

    async fn change(
        registry: &'static Registry,
        goal: Option<Goal>,
        services: &[ServiceName],
        storage: &Storage,
    ) -> anyhow::Result<Self> {
        let setup = server::open_begun(registry, storage).await.map_err(StartError::told)?;
        Self::open(registry, goal, services, (setup, storage.keeping()), None).await
    }

    /// Starts an instance of each service, on copies of its read model if `copies` is given.
    async fn open(
        registry: &'static Registry,
        goal: Option<Goal>,
        services: &[ServiceName],
        (setup, keeping): (Setup, Keeping),
        copies: Option<Copies>,
    ) -> anyhow::Result<Self> {
        let (mut projections, mut faults) = (Vec::new(), BTreeMap::new());
        for service in registry.those(services) {
            let name = service.name();
            let rows = rows(service, goal, &setup, &keeping, copies.as_ref()).await;
            match rows.with_context(|| format!("the rows of {name}")) {
                Ok(rows) => projections.push((name, rows)),
                Err(error) if goal == Some(Goal::Verify) => drop(faults.insert(name, error)),
                Err(error) => return Err(error),
            }
        }
        let projections: Projections = projections.into();
        let inspector = Inspector::new(registry, setup.log, Arc::new(InRows(Arc::clone(&projections))));
        Ok(Self::Here(Here { projections, inspector, faults: Mutex::new(faults), copies }))
    }

    /// Starts a rebuild.
    pub async fn begin(&self, service: ServiceName, asked: RebuildRequest) -> anyhow::Result<()> {
        match self {
            Self::Server(running) => {
                running.post::<Status>(&format!("/admin/projections/{service}"), &json!(asked)).await.map(drop)
            }
            Self::Here(here) => here.rows_of(service)?.begin(asked).await.map_err(|error| match error {
                RebuildError::UnderWay(_) | RebuildError::NothingBefore(_) | RebuildError::From(_) => {
                    Failure::refused(error.to_string())
                }
                error => error.into(),
            }),
        }
    }

    /// Makes a snapshot.
    pub async fn snapshot(&self, service: ServiceName) -> anyhow::Result<Label> {
        match self {
            Self::Server(running) => running.post(&format!("/admin/snapshots/{service}"), &json!({})).await,
            Self::Here(here) => here.rows_of(service)?.snapshot().await.map_err(|error| match error {
                SnapshotError::Empty(_) => Failure::refused(error.to_string()),
                error => error.into(),
            }),
        }
    }

    /// The parked records of a journal.
    pub async fn parked(&self, service: ServiceName) -> anyhow::Result<Vec<ParkedRecord>> {
        match self {
            Self::Server(running) => running.get(&format!("/admin/parked/{service}")).await,
            Self::Here(here) => Ok(here.rows_of(service)?.parked().await?),
        }
    }

    /// A record of a journal.
    pub async fn record(&self, service: ServiceName, offset: u64) -> anyhow::Result<Inspected> {
        let chunk: Chunk = match self {
            Self::Server(running) => running.get(&format!("/admin/log/{service}/0?from={offset}&limit=1")).await?,
            Self::Here(Here { inspector, .. }) => {
                let refused = |error: anyhow::Error| Failure::refused(error.to_string());
                inspector.chunk(service.as_str(), 0, offset, 1).await.map_err(refused)?
            }
        };
        let found = chunk.records.into_iter().find(|record| record.offset == offset);
        found.ok_or_else(|| Failure::refused(format!("{service}@{offset} does not exist")))
    }

    /// Discards a parked record.
    pub async fn discard(&self, service: ServiceName, offset: u64, reason: Reason) -> anyhow::Result<Discarded> {
        match self {
            Self::Server(running) => {
                running.post(&format!("/admin/parked/{service}/{offset}"), &json!({ "reason": reason })).await
            }
            Self::Here(here) => here.rows_of(service)?.discard(offset, reason).await.map_err(unrepaired),
        }
    }

    /// Folds parked records, as far as possible.
    pub async fn retry(&self, service: ServiceName) -> anyhow::Result<Retried> {
        match self {
            Self::Server(running) => running.post(&format!("/admin/parked/{service}"), &json!({})).await,
            Self::Here(here) => here.rows_of(service)?.retry().await.map_err(unrepaired),
        }
    }

    /// Publishes again what a public topic has lost. Returns the number of events that it should contain.
    pub async fn republish(
        &self,
        service: ServiceName,
        topic: &'static str,
        is_dry_run: bool,
        tell: &mut Tell<'_>,
    ) -> anyhow::Result<u64> {
        match self {
            Self::Server(_) => Err(Failure::refused("a server runs on this data folder: stop it first")),
            Self::Here(here) => {
                let published = here.rows_of(service)?.republish(topic, is_dry_run, tell).await;
                published.map_err(|error| match error {
                    RepublishError::Running(_) => Failure::refused(error.to_string()),
                    RepublishError::Append(_) | RepublishError::Lease(_) => Failure::unavailable(error.to_string()),
                    RepublishError::Check(error) => error.into(),
                })
            }
        }
    }

    /// The status of a read model.
    pub async fn status(&self, service: ServiceName) -> anyhow::Result<Status> {
        match self {
            Self::Server(running) => running.get(&format!("/admin/projections/{service}")).await,
            Self::Here(here) => {
                let status = here.rows_of(service)?.status().await.map_err(Failure::unavailable)?;
                Ok(here.named_as_copied(status).await)
            }
        }
    }
}

/// The journals may be on Kafka, and the read models in another folder.
fn have_rows(data: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(data).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::refused(format!("{} holds no read models: check --data", data.display()))),
        Err(error) => Err(Failure::refused(format!("{} can't be read: {error}; check --data", data.display()))),
    }
}

/// Reading begins no journal.
pub(super) async fn have_begun(log: &dyn EventLog, services: &[ServiceName]) -> anyhow::Result<()> {
    let journals: Vec<_> = services.iter().map(|service| Partition::journal(service.as_str())).collect();
    let ends = log.ends(&journals).await.map_err(Failure::unread)?;
    match services.iter().zip(ends).find(|(_, end)| *end == 0) {
        Some((service, _)) => Err(Failure::refused(format!(
            "the journal {service} has not begun: start `{} serve` with that service once",
            words::program()
        ))),
        None => Ok(()),
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

/// An instance of a service that only folds. The goal determines which errors count as faults of the read model.
async fn rows(
    service: &dyn AnyService,
    goal: Option<Goal>,
    setup: &Setup,
    keeping: &Keeping,
    copies: Option<&Copies>,
) -> anyhow::Result<Arc<dyn Projection>> {
    let error = match service.fold(setup.clone(), keeping, copies.map(|copies| copies.scratch.path())).await {
        Ok(rows) => return Ok(rows),
        Err(error) => error,
    };
    let (is_damaged_log, is_fault) = (error.is_damaged_log(), error.is_fault_of_rows());
    let error = failed(error);
    let told = format!("{error:#}");
    let told = copies.map(|copies| copies.named_as_copied(&told)).unwrap_or(told);
    match goal {
        _ if is_damaged_log => Err(Failure::differs(told)),
        Some(Goal::Verify) if is_fault => Err(Failure::differs(told)),
        Some(Goal::Replace) if is_fault => {
            warn!("the rows of {} are built anew from the log: {told}", service.name());
            service.fold_anew(setup.clone(), keeping).await.map_err(failed)
        }
        _ if is_fault => Err(Failure::refused(told)),
        _ => Err(error),
    }
}

fn failed(error: FoldError) -> anyhow::Error {
    match error {
        FoldError::Start(replica::StartError::Rows(used @ StoreError::InUse { .. })) => {
            Failure::unavailable(used.to_string())
        }
        FoldError::Start(error) => error.into(),
        FoldError::DamagedJournal(why) => Failure::differs(why),
        FoldError::Stopped(why) => Failure::unavailable(why),
        FoldError::DamagedRows(_) => error.into(),
    }
}
