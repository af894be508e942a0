//! Exports journals to files.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chrono::{SecondsFormat, Utc};
use futures_util::StreamExt;
use orderlog_core::public::Services;
use orderlog_eventlog::{Partition, ReadError};
use uuid::Uuid;

use super::{
    Broken, Cut, FORMAT, Journals, MANIFEST, Manifest, SigningKey, Tell, file_name, journals_of,
    signing::SIGNATURE,
    sync_folder, with_suffix,
    writing::{JournalWriter, Reached},
};
use crate::envelope;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An export is never overwritten. Choose another folder.
    #[error("{} is an export already: choose another folder", dir.display())]
    Exists { dir: PathBuf },
    /// The folder contains something else. Choose another one.
    #[error("{} is not empty, it has {found}: choose another folder", dir.display())]
    NotEmpty {
        dir: PathBuf,
        /// A file in the folder.
        found: String,
    },
    /// Another process writes segments to the folder.
    #[error("another export writes to {}: stop it first, or choose another folder", dir.display())]
    InUse { dir: PathBuf },
    /// The log is another one, or was replaced by an older copy, so its records do not continue the segments.
    #[error(
        "{journal}@{offset} is the last record in {}, and the log has another one or none there: it is another log, or an older copy \
         of it. Choose another folder",
        dir.display()
    )]
    OtherLog { dir: PathBuf, journal: String, offset: u64 },
    /// The segments in the folder can't be continued.
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("there is nothing to export: all journals are empty")]
    Nothing,
    #[error("{journal}@{offset} is not the beginning of a journal of {journal}")]
    NoGenesis { journal: String, offset: u64 },
    /// The journal cannot be read.
    #[error("{journal} can't be read from {journal}@{next} on: {source}")]
    Read {
        journal: String,
        /// The first record that was not read.
        next: u64,
        source: ReadError,
    },
    /// The ends of the journals cannot be read.
    #[error(transparent)]
    Ends(#[from] ReadError),
    #[error("{} can't be written: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
}

/// Exports the current journals of these services to `dir`, which is created if missing, and signs the export if `key` is given.
///
/// # Errors
/// [`ExportError`]. The files written so far are not an export, and the next attempt replaces them.
pub async fn export(
    journals: &dyn Journals,
    services: &Services,
    dir: &Path,
    key: Option<&SigningKey>,
    tell: Tell<'_>,
) -> Result<Manifest, ExportError> {
    prepare(dir, services)?;
    let time = now();
    let Cut { ends, one_moment } = journals.cut().await?;
    if ends.iter().all(|(_, end)| *end == 0) {
        return Err(ExportError::Nothing);
    }
    let mut entries = Vec::with_capacity(ends.len());
    for (journal, end) in ends {
        entries.push(write_journal(journals, &Reached::beginning(&journal), end, dir, tell).await?.entry);
    }
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let export_id = Uuid::now_v7();
    let manifest = Manifest { format: FORMAT, export_id, program, time, one_moment, segment: None, journals: entries };
    write_manifest(dir, &manifest, key)?;
    Ok(manifest)
}

/// The time in a manifest.
pub(super) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Writes the file of the records that follow `reached`, up to `end`.
pub(super) async fn write_journal(
    journals: &dyn Journals,
    reached: &Reached,
    end: u64,
    dir: &Path,
    tell: Tell<'_>,
) -> Result<Reached, ExportError> {
    let journal = &reached.entry.journal;
    let mut writer = JournalWriter::create(dir, reached.clone())?;
    let mut records = journals.records(journal, reached.next, end);
    while let Some(some) = records.next().await {
        let read = |next, source| ExportError::Read { journal: journal.clone(), next, source };
        for record in &some.map_err(|source| read(writer.next(), source))? {
            if let Some(reason) = envelope::difference(record) {
                let (partition, offset) = (Partition::journal(journal.as_str()), record.offset);
                return Err(read(offset, ReadError::Damaged { partition, offset, reason }));
            }
            writer.push(record)?;
        }
        tell(journal, writer.next(), end);
    }
    let next = writer.next();
    if next < end {
        let source = ReadError::Unavailable { reason: "reading ended too early".to_owned() };
        return Err(ExportError::Read { journal: journal.clone(), next, source });
    }
    writer.finish()
}

/// Creates the folder if it is missing. It may only contain files of an incomplete export.
fn prepare(dir: &Path, services: &Services) -> Result<(), ExportError> {
    let failed = |source| ExportError::File { file: dir.to_owned(), source };
    if dir.join(MANIFEST).exists() {
        return Err(ExportError::Exists { dir: dir.to_owned() });
    }
    fs::create_dir_all(dir).map_err(failed)?;
    let names = journals_of(services).map(file_name).chain([MANIFEST, SIGNATURE].map(str::to_owned));
    let ours: Vec<_> = names.flat_map(|name| [format!("{name}.new"), name]).collect();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !ours.contains(&name) {
            return Err(ExportError::NotEmpty { dir: dir.to_owned(), found: name });
        }
    }
    Ok(())
}

/// Writes the manifest last and atomically, since it makes the export complete. Its signature is written before.
pub(super) fn write_manifest(dir: &Path, manifest: &Manifest, key: Option<&SigningKey>) -> Result<(), ExportError> {
    let mut text = serde_json::to_vec_pretty(manifest).expect("a manifest is JSON");
    text.push(b'\n');
    let signature = dir.join(SIGNATURE);
    match key {
        Some(key) => write_whole(&signature, &key.sign(&text))?,
        // Left by an incomplete export.
        None if signature.exists() => {
            fs::remove_file(&signature).map_err(|source| ExportError::File { file: signature, source })?;
        }
        None => {}
    }
    // Sync the other names first: the manifest must not become durable before them.
    sync_folder(dir).map_err(|source| ExportError::File { file: dir.to_owned(), source })?;
    write_whole(&dir.join(MANIFEST), &text)?;
    sync_folder(dir).map_err(|source| ExportError::File { file: dir.to_owned(), source })
}

/// Writes a file atomically: it has all of its bytes, or does not exist.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let fresh = with_suffix(file, ".new");
    let write = || -> io::Result<()> {
        let mut out = File::create(&fresh)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&fresh, file)
    };
    write().map_err(|source| ExportError::File { file: file.to_owned(), source })
}
