//! Exports that go on: a folder of segments, each of which continues the one before.
//!
//! ## Storage format: change nothing here without a new format number
//! `segment-00000001`, `segment-00000002` and so on are folders as those of an export that is not continued, with a manifest whose
//! `segment` is their number. All of them have the same `export_id`. A manifest describes the journals from their beginning up to the
//! end of its segment, and so is the manifest of the whole export up to there. A journal's file has the records that the
//! segments before do not have; the count and the digest at its end are again those of the whole journal.
//!
//! A segment is written in a folder with the suffix `.new`, which is renamed once all of it is durable. So a copy of the folder, made at
//! any time, has whole segments; a `.new` folder in it is ignored. Every segment ends with a [cut](super::cut).

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use futures_util::StreamExt;
use orderlog_core::public::Services;
use orderlog_eventlog::Record;
use serde::Serialize;
use uuid::Uuid;

use super::{
    Archive, Cut, ExportError, FORMAT, Journals, MANIFEST, Manifest, SigningKey, Tell,
    exporting::{now, write_journal, write_manifest},
    journals_of, reading, sync_folder, with_suffix,
    writing::Reached,
};

const PREFIX: &str = "segment-";
const UNFINISHED: &str = ".new";
/// Held by the process that writes segments.
const LOCK: &str = "writer.lock";

pub(super) fn name(number: u64) -> String {
    format!("{PREFIX}{number:08}")
}

fn number(file: &str) -> Option<u64> {
    let number = file.strip_prefix(PREFIX)?.parse().ok()?;
    (name(number) == file).then_some(number)
}

/// Whether `file` is part of a folder of segments.
pub(super) fn is_ours(file: &str) -> bool {
    file == LOCK || number(file.strip_suffix(UNFINISHED).unwrap_or(file)).is_some()
}

/// Returns the numbers of the segments in `dir`, ascending. The last one is left out if it has no manifest: a copy of
/// it was interrupted.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = names(dir)?.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    numbers.pop_if(|last| !dir.join(name(*last)).join(MANIFEST).exists());
    Ok(numbers)
}

/// Whether `dir` has segments, or a writer has begun with the first one.
pub fn has_segments(dir: &Path) -> bool {
    dir.join(LOCK).exists() || numbers(dir).is_ok_and(|numbers| !numbers.is_empty())
}

/// What one call to [`Segments::seal`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sealed {
    /// The newest segment; 0 if there is none.
    pub segment: u64,
    /// Every record acknowledged before is in the segments. RFC 3339.
    pub time: String,
    /// The number of records in all segments.
    pub n_records: u64,
    /// How many of them are new. If 0, no segment was made.
    pub n_new: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// A folder of segments to which this process writes.
pub struct Segments {
    dir: PathBuf,
    key: Option<SigningKey>,
    export_id: Uuid,
    /// The newest segment.
    number: u64,
    journals: Vec<Reached>,
    _lock: File,
}

impl Segments {
    /// Opens a folder to continue its segments, or to begin the first one. Creates it if it is missing.
    ///
    /// # Errors
    /// [`ExportError`] if the folder holds something else, if another process writes to it, or if its segments are broken.
    pub fn open(dir: &Path, services: &Services, key: Option<SigningKey>) -> Result<Self, ExportError> {
        let lock = prepare(dir)?;
        let begun = !numbers(dir).map_err(|source| ExportError::File { file: dir.to_owned(), source })?.is_empty();
        let archive = begun.then(|| Archive::open(dir, services, None, None)).transpose()?;
        let (export_id, number) = match &archive {
            Some(Archive { manifest, .. }) => (manifest.export_id, manifest.segment.unwrap_or(0)),
            None => (Uuid::now_v7(), 0),
        };
        let reached = |journal| match &archive {
            Some(archive) => reading::reached(&archive.parts, journal),
            None => Ok(Reached::beginning(journal)),
        };
        let journals = journals_of(services).map(reached).collect::<Result<_, _>>()?;
        Ok(Self { dir: dir.to_owned(), key, export_id, number, journals, _lock: lock })
    }

    /// Seals a segment with the records that are new, if there are any.
    ///
    /// # Errors
    /// [`ExportError`]. The sealed segments are as before, and the next call tries again.
    pub async fn seal(&mut self, journals: &dyn Journals, tell: Tell<'_>) -> Result<Sealed, ExportError> {
        let (begun, time) = (Instant::now(), now());
        let Cut { ends, one_moment } = journals.cut().await?;
        let end_of = |journal: &str| ends.iter().find(|(name, _)| name == journal).map_or(0, |(_, end)| *end);
        let ends: Vec<u64> = self.journals.iter().map(|reached| end_of(&reached.entry.journal)).collect();
        self.same_log(journals, &ends).await?;
        let n_before = self.n_records();
        if self.journals.iter().zip(&ends).any(|(reached, end)| reached.next < *end) {
            let segment = self.dir.join(name(self.number + 1));
            let unfinished = with_suffix(&segment, UNFINISHED);
            let written = self.write(journals, &ends, (&time, one_moment), &unfinished, tell).await;
            let written = written.and_then(|written| {
                let renamed = fs::rename(&unfinished, &segment).and_then(|()| sync_folder(&self.dir));
                renamed.map(|()| written).map_err(|source| ExportError::File { file: segment, source })
            });
            match written {
                Ok(journals) => (self.journals, self.number) = (journals, self.number + 1),
                Err(error) => {
                    // Frees a full disk. The next attempt would replace it.
                    drop(fs::remove_dir_all(&unfinished));
                    return Err(error);
                }
            }
        }
        Ok(Sealed {
            segment: self.number,
            time,
            n_records: self.n_records(),
            n_new: self.n_records() - n_before,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn n_records(&self) -> u64 {
        self.journals.iter().map(|reached| reached.entry.n_records).sum()
    }

    /// Checks that the log still has the last record of each journal.
    async fn same_log(&self, journals: &dyn Journals, ends: &[u64]) -> Result<(), ExportError> {
        for (Reached { entry, last, .. }, end) in self.journals.iter().zip(ends) {
            let Some(last) = last else { continue };
            let (journal, offset) = (entry.journal.clone(), last.offset);
            let found = match offset < *end {
                true => journals.records(&journal, offset, offset + 1).next().await,
                false => None,
            };
            let found = found.transpose().map_err(|source| ExportError::Read {
                journal: journal.clone(),
                next: offset,
                source,
            })?;
            let same =
                |found: &Record| (&found.key, &found.headers, &found.value) == (&last.key, &last.headers, &last.value);
            if !found.is_some_and(|records| records.first().is_some_and(same)) {
                return Err(ExportError::OtherLog { dir: self.dir.clone(), journal, offset });
            }
        }
        Ok(())
    }

    /// Writes the next segment into `dir`.
    async fn write(
        &self,
        journals: &dyn Journals,
        ends: &[u64],
        (time, one_moment): (&str, bool),
        dir: &Path,
        tell: Tell<'_>,
    ) -> Result<Vec<Reached>, ExportError> {
        fs::create_dir(dir).map_err(|source| ExportError::File { file: dir.to_owned(), source })?;
        let mut written = Vec::with_capacity(self.journals.len());
        for (reached, end) in self.journals.iter().zip(ends) {
            written.push(write_journal(journals, reached, *end, dir, tell).await?);
        }
        let manifest = Manifest {
            format: FORMAT,
            export_id: self.export_id,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            time: time.to_owned(),
            one_moment,
            segment: Some(self.number + 1),
            journals: written.iter().map(|reached| reached.entry.clone()).collect(),
        };
        write_manifest(dir, &manifest, self.key.as_ref())?;
        Ok(written)
    }
}

/// Takes the folder's lock, and removes what a killed writer has left. Creates the folder if it is missing.
fn prepare(dir: &Path) -> Result<File, ExportError> {
    let failed = |source| ExportError::File { file: dir.to_owned(), source };
    if dir.join(MANIFEST).exists() {
        return Err(ExportError::Exists { dir: dir.to_owned() });
    }
    fs::create_dir_all(dir).map_err(failed)?;
    if let Some(found) = names(dir).map_err(failed)?.into_iter().find(|name| !is_ours(name)) {
        return Err(ExportError::NotEmpty { dir: dir.to_owned(), found });
    }
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ExportError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let last = numbers(dir).map_err(failed)?.pop().unwrap_or(0);
    let is_unfinished = |name: &String| name.ends_with(UNFINISHED) || number(name).is_some_and(|number| number > last);
    for name in names(dir).map_err(failed)?.into_iter().filter(is_unfinished) {
        fs::remove_dir_all(dir.join(name)).map_err(failed)?;
    }
    let parent = dir.canonicalize().map_err(failed)?;
    parent.parent().map_or(Ok(()), sync_folder).map_err(failed)?;
    Ok(lock)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests;
