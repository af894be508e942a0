//! `orderlog projection prepare`: read models of a new version, built beside a server of the earlier one.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_readmodel::StoreError;
use orderlog_runtime::{
    aside,
    prepared::{Preparation, PrepareError, Progress},
    replica::{self, Setup},
};
use serde_json::json;

use super::{ServiceArgs, target};
use crate::{
    commands::{
        exit::{Exit, Failure},
        running::{Running, ServerLog},
        serve,
    },
    config::LogUrl,
    output::{self, amounts, print, print_json},
    registry::{AnyService, Registry},
    server::{self, StartError},
};

/// How often to check the progress and the server.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long to wait for the ends of the log, and how long it may be unreadable.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// The read models in preparation, and the server beside which they are prepared.
struct Work {
    preparations: Vec<Box<dyn Preparation>>,
    running: Option<Arc<Running>>,
    until_stopped: bool,
}

pub async fn run(registry: &'static Registry, asked: ServiceArgs, until_stopped: bool) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let (asked, elsewhere) = asked.here(registry).await?;
    let rest = elsewhere.note("projection prepare", &asked);
    // At low priority: the server comes first.
    let exit = aside::run("prepare".to_owned(), prepare(registry, asked, until_stopped)).await??;
    Ok(Exit::worst([exit, rest]))
}

async fn prepare(registry: &'static Registry, asked: ServiceArgs, until_stopped: bool) -> anyhow::Result<Exit> {
    let ServiceArgs { services, json, place } = asked;
    let storage = &place.storage;
    let services: Vec<_> = registry.those(&services.0).collect();
    services.iter().try_for_each(|service| is_owner(*service, &storage.data))?;
    let running = Running::find(&place).await?.map(Arc::new);
    let setup = match &running {
        Some(running) if storage.log == LogUrl::Embedded => {
            let journal = services.first().map_or("", |service| service.name().as_str());
            gives_records(running, journal).await?;
            server::open_begun_on(registry, storage, Arc::new(ServerLog(Arc::clone(running)))).await
        }
        Some(_) | None => server::open_begun_to_read(registry, storage).await,
    };
    let setup = setup.map_err(StartError::told)?;
    let log = Arc::clone(&setup.log);
    let outcome =
        prepare_from(setup, &services, &storage.data, Work { preparations: Vec::new(), running, until_stopped });
    let outcome = outcome.await;
    log.close().await;
    let (prepared, exit) = outcome?;
    for progress in &prepared {
        if json { print_json(&json!(progress)) } else { print(&summary(progress)) }?;
    }
    Ok(exit)
}

async fn prepare_from(
    setup: Setup,
    services: &[&'static dyn AnyService],
    data: &Path,
    mut work: Work,
) -> anyhow::Result<(Vec<Progress>, Exit)> {
    let names: Vec<_> = services.iter().map(|service| service.name()).collect();
    target::have_begun(setup.log.as_ref(), &names).await?;
    for service in services {
        match service.prepare(setup.clone(), data).await.map_err(failed)? {
            Some(preparation) => work.preparations.push(preparation),
            None => output::note(&format!(
                "{}: the read model has the tables of this version already, so there is nothing to prepare",
                service.name()
            )),
        }
    }
    let outcome = work.follow().await;
    for preparation in work.preparations {
        preparation.stop().await;
    }
    outcome
}

impl Work {
    /// Waits until everything is prepared, or the server has stopped.
    async fn follow(&self) -> anyhow::Result<(Vec<Progress>, Exit)> {
        let (mut shown, mut is_noted) = (output::Progress::begin(), false);
        let (mut last, mut read) = (Vec::new(), Instant::now());
        loop {
            let has_stopped = match &self.running {
                Some(running) => running.has_stopped().await,
                None => false,
            };
            // If the next server waits for this program to end, it accepts requests and does not answer them.
            match tokio::time::timeout(ANSWER_WITHIN, self.look()).await {
                Ok(Ok(found)) => (last, read) = (found, Instant::now()),
                // Its log can't be read any more.
                Ok(Err(_)) | Err(_) if has_stopped => {}
                Ok(Err(error)) if !error.is_passing() || read.elapsed() > PATIENCE => return Err(failed(error)),
                Err(_) if read.elapsed() > PATIENCE => return Err(Failure::unavailable("the log does not answer")),
                Ok(Err(_)) | Err(_) => {}
            }
            let is_near = last.len() == self.preparations.len() && last.iter().all(|progress| progress.near);
            if has_stopped || is_near && (!self.until_stopped || self.running.is_none() || last.is_empty()) {
                return Ok((last, if is_near { Exit::Done } else { Exit::Unavailable }));
            }
            if is_near && !std::mem::replace(&mut is_noted, true) {
                output::note("everything is prepared; following the journals until the server stops");
            }
            shown.show(|shown| line(&last, shown.seconds()));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Result<Vec<Progress>, PrepareError> {
        let mut all = Vec::with_capacity(self.preparations.len());
        for preparation in &self.preparations {
            all.push(preparation.progress().await?);
        }
        Ok(all)
    }
}

/// Checks that the serving read model belongs to this user. The server could not adopt another user's files.
fn is_owner(service: &dyn AnyService, data: &Path) -> anyhow::Result<()> {
    let Some(serving) = service.serving_file(data)? else { return Ok(()) };
    let (owner, own) = (fs::metadata(serving.path())?.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} belongs to the user with the id {owner}, and this is {own}: run the command as the user of the server, which could not \
         adopt the files of another one",
        serving.path().display()
    )))
}

/// Checks that the server has the operations that [`ServerLog`] needs.
async fn gives_records(running: &Running, journal: &str) -> anyhow::Result<()> {
    let end = running.get::<u64>(&format!("/admin/records/{journal}/0/end")).await;
    end.map(drop).map_err(|error| {
        Failure::refused(format!(
            "the running server does not hand out the records of its embedded log ({error:#}): if it is of a version before \
             `projection prepare`, the first start of this version rebuilds the read models"
        ))
    })
}

fn failed(error: PrepareError) -> anyhow::Error {
    match error {
        PrepareError::Start(replica::StartError::Rows(
            error @ (StoreError::Folder { .. } | StoreError::Database { .. }),
        )) => {
            let error = anyhow::Error::from(error);
            Failure::unavailable(format!("nothing can be prepared, and the serving read model is as it was: {error:#}"))
        }
        PrepareError::UnderWay(_) => Failure::refused(error.to_string()),
        PrepareError::Damaged { .. } | PrepareError::DamagedJournal(_) => Failure::differs(error.to_string()),
        PrepareError::Stopped { .. } => Failure::unavailable(error.to_string()),
        PrepareError::Start(replica::StartError::Journal(error)) => Failure::unread(error),
        PrepareError::Start(error) if error.is_damage() => Failure::differs(error.to_string()),
        PrepareError::Start(error) => error.into(),
    }
}

fn line(all: &[Progress], seconds: f64) -> String {
    let n_done: u64 = all.iter().map(|it| it.position.saturating_sub(it.from)).sum();
    let (position, end) = all.iter().fold((0, 0), |(position, end), it| (position + it.position, end + it.end));
    let n_missing: u64 = all.iter().map(|it| it.n_missing).sum();
    let missing = amounts::count(n_missing, "record");
    let percent = (position * 100).checked_div(end).unwrap_or(100).min(100);
    format!("preparing: {percent} %, {:.0} records/s, {missing} missing", n_done as f64 / seconds)
}

fn summary(Progress { service, schema, from, position, end, near, n_parked, .. }: &Progress) -> String {
    let resumed = if *from > 0 { format!(", resumed at {service}@{from}") } else { String::new() };
    let next = if *near {
        "the next start of this version adopts it"
    } else {
        "the server stopped before the rest was read; the next start of this version adopts this and reads the rest"
    };
    let parked = match n_parked {
        0 => String::new(),
        n => format!("; {} parked, since this version can't read what is in the journal", amounts::count(*n, "record")),
    };
    format!("{service}: prepared up to {service}@{position} of {end} with tables {schema}{resumed}: {next}{parked}")
}
