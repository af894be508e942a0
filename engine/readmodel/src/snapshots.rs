//! Snapshots are consistent copies of a service's rows. Each is named after its position (`<service>@1042.sqlite`) and has a label
//! with a hash of its bytes (`<service>@1042.json`). The label is written last, so a file without one is not a snapshot.
//!
//! Deliberately absent: checking that a snapshot belongs to the log (that is `service::snapshots`), and transport. The folder may be
//! copied anywhere, or shared by several instances.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use orderlog_core::{decider::Decider, decoding};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::{error::StoreError, opening, origin::Origin, replacing::replace, schema, tables::Tables};

/// The read buffer's size, in bytes.
const CHUNK: usize = 1 << 20;

/// The metadata of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub service: String,
    /// Every record below this offset is folded.
    pub position: u64,
    /// The schema version of the tables.
    pub schema: String,
    /// The size of the file.
    pub bytes: u64,
    /// The BLAKE3 hash of the file, in hexadecimal.
    pub blake3: String,
}

/// Why a snapshot can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the rows of {0} are empty")]
    Empty(&'static str),
    #[error("{} is no label of a snapshot: {why}", file.display())]
    Label {
        file: PathBuf,
        /// The fault in the label.
        why: String,
    },
    #[error("{} has tables of version {found}, this program has {expected}", file.display())]
    OtherTables {
        file: PathBuf,
        /// The version in the label.
        found: String,
        expected: String,
    },
    #[error("{} is damaged: its bytes are not those of its label", file.display())]
    Damaged { file: PathBuf },
    #[error("{} can't be used", file.display())]
    File {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// The snapshots of a service in a folder.
pub struct Snapshots<D: Decider> {
    dir: PathBuf,
    tables: &'static Tables<D>,
}

impl<D: Decider> Clone for Snapshots<D> {
    fn clone(&self) -> Self {
        Self { dir: self.dir.clone(), tables: self.tables }
    }
}

impl<D: Decider> Snapshots<D> {
    /// The snapshots in `dir`, which need not exist.
    pub fn in_dir(dir: &Path, tables: &'static Tables<D>) -> Self {
        Self { dir: dir.to_owned(), tables }
    }

    /// Returns the positions of all labels, ascending.
    pub fn positions(&self) -> Result<Vec<u64>, SnapshotError> {
        let failed = failed(&self.dir);
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(&failed)?,
        };
        let mut positions = Vec::new();
        for entry in entries {
            let name = entry.map_err(&failed)?.file_name();
            let position = name
                .to_str()
                .and_then(|name| name.strip_prefix(D::JOURNAL)?.strip_prefix('@')?.strip_suffix(".json"))
                .and_then(|position| position.parse::<u64>().ok());
            positions.extend(position);
        }
        positions.sort_unstable();
        Ok(positions)
    }

    pub fn file(&self, position: u64) -> PathBuf {
        self.dir.join(format!("{}@{position}.sqlite", D::JOURNAL))
    }

    fn label_file(&self, position: u64) -> PathBuf {
        self.dir.join(format!("{}@{position}.json", D::JOURNAL))
    }

    /// Returns a temporary file for a new snapshot. Creates the folder if it is missing.
    pub(crate) fn fresh(&self) -> Result<Fresh, SnapshotError> {
        fs::create_dir_all(&self.dir).map_err(failed(&self.dir))?;
        // The name includes the process id, because instances may share the folder.
        Ok(Fresh::new(self.dir.join(format!("{}.{}.new", D::JOURNAL, std::process::id()))))
    }

    /// Makes a copy of the rows at `position` a snapshot. If one with the same position exists, keeps that one.
    pub(crate) fn keep(&self, fresh: &Fresh, position: u64) -> Result<Label, SnapshotError> {
        if position == 0 {
            return Err(SnapshotError::Empty(D::JOURNAL));
        }
        if let Ok(label) = self.label(position) {
            return Ok(label);
        }
        let (bytes, hash) = blocking(|| {
            File::open(&fresh.0).and_then(|file| file.sync_all()).map_err(failed(&fresh.0))?;
            hash_of(&fresh.0, &mut io::sink())
        })?;
        fs::rename(&fresh.0, self.file(position)).map_err(failed(&fresh.0))?;
        let (service, schema) = (D::JOURNAL.to_owned(), self.tables.version());
        let label = Label { service, position, schema, bytes, blake3: hash.to_string() };
        self.put_label(&label)?;
        Ok(label)
    }

    fn put_label(&self, label: &Label) -> Result<(), SnapshotError> {
        let path = self.label_file(label.position);
        let text = serde_json::to_vec_pretty(label).expect("texts and numbers have a JSON form");
        replace(&path, &text).map_err(failed(&path))
    }

    /// Reads the label of the snapshot at `position`, without checking the snapshot itself.
    pub fn label(&self, position: u64) -> Result<Label, SnapshotError> {
        let (file, path) = (self.label_file(position), self.file(position));
        let text = fs::read(&file).map_err(failed(&file))?;
        let wrong = |why: String| SnapshotError::Label { file: file.clone(), why };
        let label: Label = decoding::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if (label.service.as_str(), label.position) != (D::JOURNAL, position) {
            return Err(wrong(format!("it is that of {}@{}", label.service, label.position)));
        }
        let expected = self.tables.version();
        if label.schema != expected {
            return Err(SnapshotError::OtherTables { file: path, found: label.schema, expected });
        }
        Ok(label)
    }

    pub fn check(&self, position: u64) -> Result<Label, SnapshotError> {
        self.read(position, &mut io::sink())
    }

    /// Reads and checks the whole snapshot, and writes its bytes to `copy`.
    fn read(&self, position: u64, copy: &mut (impl Write + Send)) -> Result<Label, SnapshotError> {
        let (label, file) = (self.label(position)?, self.file(position));
        let (bytes, hash) = blocking(|| hash_of(&file, copy))?;
        if (bytes, hash.to_string()) == (label.bytes, label.blake3.clone()) {
            Ok(label)
        } else {
            Err(SnapshotError::Damaged { file })
        }
    }

    /// Copies the snapshot at `position` to `to`, which must not exist, as a new generation.
    ///
    /// # Errors
    /// [`SnapshotError`]. Then `to` was not created.
    pub(crate) async fn copy(&self, position: u64, to: &Path) -> Result<(), SnapshotError> {
        let fresh = Fresh::of(to);
        let mut file = File::create(&fresh.0).map_err(failed(&fresh.0))?;
        self.read(position, &mut file)?;
        file.sync_all().map_err(failed(&fresh.0))?;
        drop(file);
        fresh.begin(to, position).await
    }

    /// Deletes all snapshots before the newest `n_kept` of these tables. Instances of another version may share the folder, so theirs
    /// don't count.
    pub fn prune(&self, n_kept: usize) -> Result<(), SnapshotError> {
        let positions = self.positions()?;
        let own: Vec<_> =
            positions.iter().rev().filter(|position| self.label(**position).is_ok()).take(n_kept).collect();
        let oldest = own.last().filter(|_| own.len() == n_kept).map_or(0, |position| **position);
        positions.iter().filter(|position| **position < oldest).try_for_each(|position| self.remove(*position))
    }

    /// Deletes the snapshots after `position`. Returns whether there were any.
    pub fn remove_behind(&self, position: u64) -> Result<bool, SnapshotError> {
        let behind: Vec<u64> = self.positions()?.into_iter().filter(|it| *it > position).collect();
        behind.iter().try_for_each(|position| self.remove(*position))?;
        Ok(!behind.is_empty())
    }

    fn remove(&self, position: u64) -> Result<(), SnapshotError> {
        // The label first, because a file without a label is not a snapshot.
        for file in [self.label_file(position), self.file(position)] {
            match fs::remove_file(&file) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(SnapshotError::File { file, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Records in a copied file the position it was copied at, which distinguishes it from rows folded from the first record.
async fn based_on(file: &Path, position: u64) -> Result<(), StoreError> {
    let origin = Origin::new(file);
    let failed = |error| origin.error("beginning from a copy", error);
    // Without a WAL, so that there is only one file to rename.
    let options = opening::making(file).journal_mode(sqlx::sqlite::SqliteJournalMode::Delete);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let text = format!("begin; update meta set base = {position}; {}; commit", schema::note_base(position));
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// A temporary file that is deleted on drop unless it was renamed.
pub(crate) struct Fresh(PathBuf);

impl Fresh {
    fn new(file: PathBuf) -> Self {
        let fresh = Self(file);
        fresh.remove();
        fresh
    }

    /// The temporary file for a copy that is to become `to`.
    pub(crate) fn of(to: &Path) -> Self {
        Self::new(to.with_extension("copying"))
    }

    pub(crate) fn file(&self) -> &Path {
        &self.0
    }

    /// Turns this copy of the rows at `position` into the generation `to`, which must not exist.
    pub(crate) async fn begin(self, to: &Path, position: u64) -> Result<(), SnapshotError> {
        based_on(&self.0, position).await?;
        fs::rename(&self.0, to).map_err(failed(to))
    }

    fn remove(&self) {
        // Best effort: nothing looks for a file with this name.
        drop(fs::remove_file(&self.0));
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.remove();
    }
}

fn failed(file: &Path) -> impl Fn(io::Error) -> SnapshotError + use<> {
    let file = file.to_owned();
    move |source| SnapshotError::File { file: file.clone(), source }
}

/// Copies a file to `copy`, and returns its length and hash.
fn hash_of(file: &Path, copy: &mut impl Write) -> Result<(u64, blake3::Hash), SnapshotError> {
    let failed = failed(file);
    let (mut reading, mut hasher) = (File::open(file).map_err(&failed)?, blake3::Hasher::new());
    let (mut chunk, mut bytes) = (vec![0; CHUNK], 0);
    loop {
        let n = reading.read(&mut chunk).map_err(&failed)?;
        if n == 0 {
            return Ok((bytes, hasher.finalize()));
        }
        hasher.update(&chunk[..n]);
        copy.write_all(&chunk[..n]).map_err(&failed)?;
        bytes += n as u64;
    }
}

/// Runs blocking work without blocking other tasks on a multi-threaded runtime.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service, self.position)
    }
}
