//! Snapshots: consistent copies of a service's rows, each named by where it stands (`<service>@1042.sqlite`) and labelled with a
//! hash of its bytes (`<service>@1042.json`). What has no label is no snapshot: the label is written last.
//!
//! Deliberately absent: whether a snapshot belongs to the log (that is `service::snapshots`), and transport. The folder may be
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

/// So much is read at a time.
const CHUNK: usize = 1 << 20;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub service: String,
    /// Every record below this offset is in them.
    pub position: u64,
    /// The version of their tables.
    pub schema: String,
    /// How large the file is.
    pub bytes: u64,
    /// The BLAKE3 hash of the file.
    pub blake3: String,
}

/// Why a snapshot can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is nothing in the rows.
    #[error("the rows of {0} are empty")]
    Empty(&'static str),
    /// Its label is missing or damaged.
    #[error("{} is no label of a snapshot: {why}", file.display())]
    Label {
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It has other tables than this program.
    #[error("{} has tables of version {found}, this program has {expected}", file.display())]
    OtherTables {
        file: PathBuf,
        /// As its label says.
        found: String,
        expected: String,
    },
    /// Its bytes are not those that its label tells of.
    #[error("{} is damaged: its bytes are not those of its label", file.display())]
    Damaged { file: PathBuf },
    /// A file can't be read or written.
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
    /// Those in `dir`, which need not be there.
    pub fn in_dir(dir: &Path, tables: &'static Tables<D>) -> Self {
        Self { dir: dir.to_owned(), tables }
    }

    /// The positions of those that have a label, ascending.
    ///
    /// # Errors
    /// [`SnapshotError::File`] if the folder can't be read.
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

    /// The file of the one at `position`.
    pub fn file(&self, position: u64) -> PathBuf {
        self.dir.join(format!("{}@{position}.sqlite", D::JOURNAL))
    }

    fn label_file(&self, position: u64) -> PathBuf {
        self.dir.join(format!("{}@{position}.json", D::JOURNAL))
    }

    /// Where the next one is made.
    pub(crate) fn fresh(&self) -> Result<Fresh, SnapshotError> {
        fs::create_dir_all(&self.dir).map_err(failed(&self.dir))?;
        // Named by the process too: instances may share the folder.
        Ok(Fresh::new(self.dir.join(format!("{}.{}.new", D::JOURNAL, std::process::id()))))
    }

    /// Labels a copy of the rows as they stood at `position`. If there is a snapshot of the same position, that is kept.
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

    /// What the one at `position` says of itself; its bytes are not looked at.
    ///
    /// # Errors
    /// [`SnapshotError`], if it can't be used by this program.
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

    /// Whether the bytes of the one at `position` are those of its label.
    ///
    /// # Errors
    /// [`SnapshotError`], with what is wrong with it.
    pub fn check(&self, position: u64) -> Result<Label, SnapshotError> {
        self.read(position, &mut io::sink())
    }

    /// Reads it whole, into `copy` too.
    fn read(&self, position: u64, copy: &mut (impl Write + Send)) -> Result<Label, SnapshotError> {
        let (label, file) = (self.label(position)?, self.file(position));
        let (bytes, hash) = blocking(|| hash_of(&file, copy))?;
        if (bytes, hash.to_string()) == (label.bytes, label.blake3.clone()) {
            Ok(label)
        } else {
            Err(SnapshotError::Damaged { file })
        }
    }

    /// Makes `to`, which must not be there, a copy of the one at `position`, to go on from.
    ///
    /// # Errors
    /// [`SnapshotError`]; then there is no `to`.
    pub(crate) async fn copy(&self, position: u64, to: &Path) -> Result<(), SnapshotError> {
        let fresh = Fresh::of(to);
        let mut file = File::create(&fresh.0).map_err(failed(&fresh.0))?;
        self.read(position, &mut file)?;
        file.sync_all().map_err(failed(&fresh.0))?;
        drop(file);
        fresh.begin(to, position).await
    }

    /// Deletes all but the newest `n_kept`.
    ///
    /// # Errors
    /// [`SnapshotError::File`] if one can't be deleted.
    pub fn prune(&self, n_kept: usize) -> Result<(), SnapshotError> {
        let positions = self.positions()?;
        let n_old = positions.len().saturating_sub(n_kept);
        positions[..n_old].iter().try_for_each(|position| self.remove(*position))
    }

    /// Deletes those behind `position`. Whether there were any.
    ///
    /// # Errors
    /// [`SnapshotError::File`] if one can't be deleted.
    pub fn remove_behind(&self, position: u64) -> Result<bool, SnapshotError> {
        let behind: Vec<u64> = self.positions()?.into_iter().filter(|it| *it > position).collect();
        behind.iter().try_for_each(|position| self.remove(*position))?;
        Ok(!behind.is_empty())
    }

    fn remove(&self, position: u64) -> Result<(), SnapshotError> {
        // The label first: without it the rest is no snapshot.
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

/// Notes in a copied file where its rows come from, so that whoever wants rows that were folded from the first record can tell.
async fn based_on(file: &Path, position: u64) -> Result<(), StoreError> {
    let origin = Origin::new(file);
    let failed = |error| origin.error("beginning from a copy", error);
    // Without a WAL: it has to be one file when it is renamed.
    let options = opening::making(file).journal_mode(sqlx::sqlite::SqliteJournalMode::Delete);
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let text = format!("begin; update meta set base = {position}; {}; commit", schema::note_base(position));
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// A file that is deleted unless it is renamed before.
pub(crate) struct Fresh(PathBuf);

impl Fresh {
    fn new(file: PathBuf) -> Self {
        let fresh = Self(file);
        fresh.remove();
        fresh
    }

    /// Where a copy is made that is to become `to`.
    pub(crate) fn of(to: &Path) -> Self {
        Self::new(to.with_extension("copying"))
    }

    pub(crate) fn file(&self) -> &Path {
        &self.0
    }

    /// Makes `to`, which must not be there, of this copy of rows as they stood at `position`, to go on from.
    pub(crate) async fn begin(self, to: &Path, position: u64) -> Result<(), SnapshotError> {
        based_on(&self.0, position).await?;
        fs::rename(&self.0, to).map_err(failed(to))
    }

    fn remove(&self) {
        // Nothing depends on it: it has no name that anybody looks for.
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

/// A file's length and hash, while it is copied.
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

/// Work that reads a whole file, without keeping others on a shared runtime from theirs.
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
