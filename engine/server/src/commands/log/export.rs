//! `orderlog log export`: once, or as the log grows.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use clap::Args;
use futures_util::{StreamExt, stream};
use orderlog_eventlog::{EventLog, Partition, ReadError};
use orderlog_runtime::archive::{self, Cut, ExportError, Journals, OfLog, Records, Sealed, Segments, SigningKey};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};

use super::archive::{Shown, broken, no_key, print};
use crate::{
    commands::{
        exit::{self, Exit, Failure},
        running::{Place, Running, broken_off, records_in},
        serve, when,
    },
    config::LogUrl,
    output::{self, amounts},
    registry::Registry,
    server::{self, StartError},
};

/// What to export, and where to.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// The folder for the files; created if missing. If it has segments, they are continued once
    dir: PathBuf,

    /// Continue until SIGTERM: seal a segment of what is new, time after time
    #[arg(long)]
    follow: bool,

    /// The time between two segments, such as 10s or 5m
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "follow", value_parser = when::duration)]
    every: Duration,

    /// Sign each manifest with this Ed25519 private key, a PEM file as written by `openssl genpkey -algorithm ed25519`
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,

    /// Print what was exported as JSON, with `--follow` one line each time
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

impl Export {
    /// Exports all journals.
    pub async fn run(&self, registry: &Registry) -> anyhow::Result<Exit> {
        serve::tell(&self.place.storage, "warn")?;
        let key = self.sign_key.as_deref().map(SigningKey::read).transpose().map_err(no_key)?;
        if self.follow {
            self.follow(registry, key).await?;
        } else if archive::has_segments(&self.dir) {
            let mut segments = self.segments(registry, key)?;
            let sealed = self.seal(registry, &mut segments).await?;
            self.report(&sealed)?;
        } else {
            self.once(registry, key.as_ref()).await?;
        }
        output::note("the hash key is not in the export: back it up too, since without it the journals are of no use");
        Ok(Exit::Done)
    }

    async fn once(&self, registry: &Registry, key: Option<&SigningKey>) -> anyhow::Result<()> {
        let source = self.source(registry).await?;
        let mut shown = Shown::new("exporting");
        let mut tell = |journal: &str, n, of| shown.show(journal, n, of);
        let services = registry.published();
        let manifest = archive::export(source.journals.as_ref(), &services, &self.dir, key, &mut tell).await;
        source.close().await;
        let manifest = manifest.map_err(not_exported)?;
        let signed = if key.is_some() { ", signed" } else { "" };
        print(self.json, &json!(manifest), &format!("exported to {}{signed}", self.dir.display()), &manifest)
    }

    /// Seals segments until a signal, and a last one then. Waits while the log can't be read.
    async fn follow(&self, registry: &Registry, key: Option<SigningKey>) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be listened for")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be listened for")?;
        let mut segments = self.segments(registry, key)?;
        let mut times = tokio::time::interval(self.every);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                _ = terminate.recv() => true,
                _ = interrupt.recv() => true,
                _ = times.tick() => false,
            };
            match self.seal(registry, &mut segments).await {
                Ok(sealed) => self.report(&sealed)?,
                Err(error) if !is_last && exit::of(&error) == Exit::Unavailable => {
                    output::note(&format!("nothing is exported now: {error:#}"));
                }
                Err(error) => return Err(error),
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn segments(&self, registry: &Registry, key: Option<SigningKey>) -> anyhow::Result<Segments> {
        Segments::open(&self.dir, &registry.published(), key).map_err(not_exported)
    }

    /// Opens the log anew each time, since servers and brokers come and go.
    async fn seal(&self, registry: &Registry, segments: &mut Segments) -> anyhow::Result<Sealed> {
        let source = self.source(registry).await?;
        let mut shown = Shown::new("exporting");
        let sealed = segments.seal(source.journals.as_ref(), &mut |journal, n, of| shown.show(journal, n, of)).await;
        source.close().await;
        sealed.map_err(not_exported)
    }

    fn report(&self, sealed: &Sealed) -> anyhow::Result<()> {
        let Sealed { segment, time, n_records, n_new, duration_ms: _ } = sealed;
        if self.json {
            output::print_json(sealed)
        } else if *n_new == 0 && self.follow {
            Ok(())
        } else {
            let (new, all) = (amounts::count(*n_new, "new record"), amounts::count(*n_records, "record"));
            output::print(&format!("{time} segment {segment}: {new}, {all} in all"))
        }
    }

    async fn source(&self, registry: &Registry) -> anyhow::Result<Source> {
        let Place { server, storage, .. } = &self.place;
        let is_embedded = storage.log == LogUrl::Embedded;
        // Kafka can be read from a machine on which nothing else of this deployment is.
        let may_have_server = is_embedded || server.is_some() || storage.data.is_dir();
        if may_have_server && let Some(running) = Running::find(&self.place).await? {
            return Ok(Source { journals: Box::new(OfServer(Arc::new(running))), log: None });
        }
        if is_embedded && self.follow {
            // Opening it would keep a server from starting.
            return Err(Failure::unavailable(format!(
                "no server runs on {}, and --follow reads an embedded log through its server",
                storage.data.display()
            )));
        }
        let log = server::open_to_read(registry, storage).await.map_err(StartError::told)?;
        Ok(Source { journals: Box::new(OfLog(Arc::clone(&log), registry.published())), log: Some(log) })
    }
}

/// Where the journals are read.
struct Source {
    journals: Box<dyn Journals>,
    /// The log, if this process has opened it.
    log: Option<Arc<dyn EventLog>>,
}

impl Source {
    async fn close(self) {
        if let Some(log) = self.log {
            log.close().await;
        }
    }
}

fn not_exported(error: ExportError) -> anyhow::Error {
    match error {
        ExportError::Exists { .. }
        | ExportError::NotEmpty { .. }
        | ExportError::InUse { .. }
        | ExportError::OtherLog { .. }
        | ExportError::Nothing
        | ExportError::NoGenesis { .. } => Failure::refused(error.to_string()),
        ExportError::Broken(error) => broken(error),
        ExportError::Read { source: ReadError::Damaged { .. }, .. } => Failure::differs(error.to_string()),
        ExportError::Read { .. } => Failure::unavailable(error.to_string()),
        ExportError::Ends(error) => Failure::unread(error),
        ExportError::File { .. } => error.into(),
    }
}

/// The journals of a running server, whose log no other process can open.
struct OfServer(Arc<Running>);

#[async_trait]
impl Journals for OfServer {
    async fn cut(&self) -> Result<Cut, ReadError> {
        self.0.get("/admin/journals").await.map_err(|error| broken_off(&error))
    }

    fn records(&self, journal: &str, from: u64, end: u64) -> Records {
        let (running, path) = (Arc::clone(&self.0), format!("/admin/journals/{journal}?from={from}&end={end}"));
        let bytes = async move { running.stream(&path).await };
        let bytes = stream::once(bytes).flat_map(|bytes| match bytes {
            Ok(bytes) => bytes.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        });
        records_in(bytes, Partition::journal(journal))
    }
}
