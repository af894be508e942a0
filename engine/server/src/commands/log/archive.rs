//! `orderlog log import` and `check`.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use orderlog_core::{key::HashKey, words};
use orderlog_runtime::archive::{
    self, Archive, Broken, Entry, ImportError, Imported, KeyError, Manifest, Signed, UpTo, VerifyingKey,
};
use orderlog_runtime::envelope::{Finding, Findings};
use serde_json::json;

use super::undo;
use crate::{
    commands::{
        exit::{Exit, Failure},
        running::{Place, Running},
        serve, when,
    },
    config::{Storage, Trust, quoted},
    output::{
        self, Progress, amounts,
        table::{Column, Table},
    },
    registry::Registry,
    server::{self, StartError},
};

/// What to import, and where to.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// The folder of the export
    #[arg(required_unless_present = "undo")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    wanted: Wanted,

    /// Verify the export and check the log, but write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Revert an unfinished import, which leaves the log empty. The records already written are kept in another file
    #[arg(long, conflicts_with_all = ["dir", "dry_run"])]
    undo: bool,

    /// Print what was imported or undone as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    storage: Storage,
}

/// How much of an export is taken, and by which key it must be signed.
#[derive(Args, Clone, Debug)]
struct Wanted {
    /// Of an export with segments, take those up to this one, or those sealed by this time
    #[arg(long, value_name = "SEGMENT|TIME", value_parser = when::up_to, requires = "dir")]
    to: Option<UpTo>,

    /// Reject an export not signed by the private key of this public key, a PEM file as written by `openssl pkey
    /// -pubout`
    #[arg(long, value_name = "FILE")]
    verify_key: Option<PathBuf>,
}

/// What to prove.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// The folder of the export
    dir: PathBuf,

    #[command(flatten)]
    wanted: Wanted,

    /// Print the contents as JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Imports or undoes an import. Stores the hash key beside an embedded log.
    pub async fn run(&self, registry: &Registry) -> anyhow::Result<Exit> {
        let storage = &self.storage;
        serve::tell(storage, "warn")?;
        // Before anything is created: a folder without an export is probably mistyped.
        let archive = self.dir.as_deref().map(|dir| opened(registry, dir, &self.wanted)).transpose()?;
        let place = Place { server: None, key_file: None, trust: Trust::default(), storage: storage.clone() };
        if storage.data.is_dir() && Running::find(&place).await?.is_some() {
            return Err(Failure::refused("a server runs on this data folder: stop it first"));
        }
        let Some(archive) = archive else { return undo::run(registry, storage, self.json).await };
        let refused = |error| StartError::HashKey(error).told();
        let hash_key = server::given_hash_key(storage).map_err(refused)?;
        if let Some(hash_key) = &hash_key {
            server::refuse_another_hash_key(storage, hash_key).map_err(refused)?;
        }
        let imported = if self.dry_run {
            self.try_out(registry, &archive, hash_key.as_ref()).await?
        } else {
            self.import(registry, &archive, hash_key.as_ref()).await?
        };
        if imported.written && hash_key.is_some() {
            keep_hash_key(storage)?;
        }
        let what = match (imported.written, imported.n_there_before) {
            (false, _) => "can be imported; nothing was written".to_owned(),
            (true, 0) => "imported, and read back".to_owned(),
            (true, n) => {
                let were = if n == 1 { "was" } else { "were" };
                format!("imported, and read back ({} {were} there already)", amounts::count(n, "record"))
            }
        };
        print(self.json, &json!(imported), &what, &imported.manifest)?;
        Ok(Exit::Done)
    }

    async fn import(
        &self,
        registry: &Registry,
        archive: &Archive,
        hash_key: Option<&HashKey>,
    ) -> anyhow::Result<Imported> {
        let log = server::open_topics(registry, &self.storage).await.map_err(StartError::told)?;
        let mut shown = Shown::new("importing");
        let mut tell = |journal: &str, n, of| shown.show(journal, n, of);
        let imported = archive::import(&log, archive, hash_key, &mut tell).await;
        let left = match &imported {
            Ok(_) => None,
            Err(_) => archive::unfinished(log.as_ref()).await.ok().flatten(),
        };
        log.close().await;
        imported.map_err(|error| {
            let help = left.map(|_| help(&error, archive, &self.storage)).unwrap_or_default();
            not_imported(&error, &help)
        })
    }

    /// Creates nothing, not even an empty log.
    async fn try_out(
        &self,
        registry: &Registry,
        archive: &Archive,
        hash_key: Option<&HashKey>,
    ) -> anyhow::Result<Imported> {
        let log = server::open_to_check(registry, &self.storage).await.map_err(StartError::told)?;
        let mut shown = Shown::new("checking");
        let mut tell = |journal: &str, n, of| shown.show(journal, n, of);
        let tried = archive::dry_run(log.as_ref(), archive, hash_key, &mut tell).await;
        if let Some(log) = log {
            log.close().await;
        }
        tried.map_err(|error| not_imported(&error, ""))
    }
}

/// How to proceed with the half of an import that a failure left in the log.
fn help(error: &ImportError, archive: &Archive, storage: &Storage) -> String {
    let (program, log) = (words::program(), storage.log_options());
    let resume = if error.can_resume() {
        format!("resume it with `{program} log import {} {log}`, or ", quoted(&archive.dir().display().to_string()))
    } else {
        String::new()
    };
    format!(
        ". The log holds half of an import, and no server starts on it: {resume}undo it with `{program} log import --undo {log}`"
    )
}

/// Later commands need the hash key given to the import.
fn keep_hash_key(storage: &Storage) -> anyhow::Result<()> {
    let failed = "everything was imported, but the hash key is not stored: pass it by --hash-key-file to every command";
    match server::keep_hash_key(storage).context(failed)? {
        Some(file) => output::note(&format!("the hash key is in {}", file.display())),
        None => {
            output::note("pass the same hash key to every process on this log, by --hash-key-file or ORDERLOG_HASH_KEY")
        }
    }
    Ok(())
}

impl Check {
    /// Verifies the export.
    pub fn run(&self, registry: &Registry) -> anyhow::Result<Exit> {
        let archive = opened(registry, &self.dir, &self.wanted)?;
        let mut shown = Shown::new("checking");
        let warnings = archive.check(&mut |journal, n, of| shown.show(journal, n, of)).map_err(broken)?;
        for (journal, Findings { n, first }) in warnings {
            if let Some(Finding { offset, what }) = first.first() {
                let records = amounts::count(n, "record");
                output::note(&format!(
                    "warning: {records} of {journal} with foreign headers, first {journal}@{offset}: {what}"
                ));
            }
        }
        let what = match archive.signed {
            Signed::Verified => "every record is as it was exported, and the manifest is signed by the key",
            Signed::No | Signed::NotVerified => "every record is as it was exported",
        };
        print(self.json, &json!(archive.manifest), what, &archive.manifest)?;
        Ok(Exit::Done)
    }
}

/// Opens the export in `dir`. Other files in the folder are reported on stderr.
fn opened(registry: &Registry, dir: &Path, Wanted { to, verify_key }: &Wanted) -> anyhow::Result<Archive> {
    let key = verify_key.as_deref().map(VerifyingKey::read).transpose().map_err(no_key)?;
    let archive = Archive::open(dir, &registry.published(), key.as_ref(), *to).map_err(broken)?;
    if archive.signed == Signed::NotVerified {
        output::note("the export is signed, but without --verify-key its signature was not verified");
    }
    for name in &archive.foreign_files {
        output::note(&format!("{name} is not part of the export, and was not checked"));
    }
    Ok(archive)
}

pub(super) fn no_key(error: KeyError) -> anyhow::Error {
    Failure::usage(error.to_string())
}

pub(super) fn broken(error: Broken) -> anyhow::Error {
    with_exit(broken_exit(&error), error.to_string())
}

fn broken_exit(error: &Broken) -> Exit {
    match error {
        // The manifest lists it.
        Broken::File { source, .. } if source.kind() == ErrorKind::NotFound => Exit::Differs,
        Broken::NoManifest { .. } | Broken::NoSegment { .. } | Broken::File { .. } => Exit::Refused,
        Broken::Manifest { .. } | Broken::Record { .. } | Broken::Unsigned { .. } | Broken::Signature { .. } => {
            Exit::Differs
        }
    }
}

fn with_exit(exit: Exit, message: String) -> anyhow::Error {
    Failure { exit, message }.into()
}

fn not_imported(error: &ImportError, help: &str) -> anyhow::Error {
    let exit = match error {
        ImportError::Broken(error) => broken_exit(error),
        ImportError::NotEmpty { .. }
        | ImportError::OtherExport { .. }
        | ImportError::OtherHashKey { .. }
        | ImportError::OtherRecords { .. }
        | ImportError::Displaced { .. } => Exit::Refused,
        ImportError::ReadBack { .. } => Exit::Differs,
        ImportError::Read(error) => error.into(),
        ImportError::Append(_) | ImportError::Topics(_) => Exit::Unavailable,
    };
    with_exit(exit, format!("{error}{help}"))
}

pub(super) fn print(as_json: bool, json: &serde_json::Value, what: &str, manifest: &Manifest) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(json);
    }
    let records = amounts::count(manifest.n_records(), "record");
    let segment = manifest.segment.map(|number| format!(" up to segment {number}")).unwrap_or_default();
    output::print(&format!("export {}{segment} of {}\n{records}: {what}", manifest.export_id, manifest.time))?;
    let row = |entry: &Entry| {
        let hash_key = entry.hash_key.clone().unwrap_or_else(|| "-".to_owned());
        vec![entry.journal.clone(), entry.n_records.to_string(), entry.last_digest.clone(), hash_key]
    };
    let columns =
        [Column::Left("journal"), Column::Right("records"), Column::Left("last digest"), Column::Left("hash key")];
    Table::new(columns).print(&manifest.journals.iter().map(row).collect::<Vec<_>>())
}

/// The progress through all journals.
pub(super) struct Shown {
    what: &'static str,
    progress: Progress,
    journal: String,
    n_before: u64,
    n: u64,
}

impl Shown {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, progress: Progress::begin(), journal: String::new(), n_before: 0, n: 0 }
    }

    pub(super) fn show(&mut self, journal: &str, n: u64, of: u64) {
        if self.journal != journal {
            (self.journal, self.n_before) = (journal.to_owned(), self.n_before + self.n);
        }
        self.n = n;
        let (n_all, what) = (self.n_before + n, self.what);
        self.progress.show(|shown| {
            let per_second = n_all as f64 / shown.seconds();
            format!("{what} {journal}: {n} of {}, {per_second:.0} records/s", amounts::count(of, "record"))
        });
    }
}
