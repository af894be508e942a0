//! The generations of a service's read model. One is serving. The previous one may be kept to go back to, and the next one may
//! be in the process of being built. Each is a separate file, `<service>.<number>.sqlite`. The file `<service>.generation` names the
//! serving one, and is replaced atomically. The link `<service>.sqlite` points at that file too, for people and their tools.
//!
//! Deliberately absent: opening generations (that is [`Store`](crate::Store)), building and comparing them (that is
//! `service::rebuild`), and renaming open files.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::StoreError,
    opening,
    origin::Origin,
    replacing::{replace, replace_link},
    snapshots::{SnapshotError, Snapshots},
    sql::ServingFile,
    tables::Tables,
};
use orderlog_core::decider::Decider;

/// The default folder for snapshots, within the data folder.
pub const SNAPSHOTS: &str = "snapshots";
/// The serving generation if the file that names it does not exist.
const FIRST: u32 = 1;

/// The generations in a data folder, which stays locked as long as this, or a store opened from it, exists.
pub struct Generations<D: Decider> {
    dir: PathBuf,
    snapshots: Snapshots<D>,
    /// `None` if the folder is open read-only and has no lock file.
    lock: Option<Arc<File>>,
    tables: &'static Tables<D>,
}

impl<D: Decider> Clone for Generations<D> {
    fn clone(&self) -> Self {
        Self { dir: self.dir.clone(), snapshots: self.snapshots.clone(), lock: self.lock.clone(), tables: self.tables }
    }
}

impl<D: Decider> Generations<D> {
    /// Locks the generations in `dir`, creating the folder if it is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process uses them, [`StoreError::Folder`] if the folder can't be used.
    pub fn lock(dir: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        Ok(Self::locked_by(dir, tables, Some(opening::lock(dir, D::JOURNAL)?)))
    }

    /// Opens the generations in `dir` read-only. Creates and changes nothing there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a process uses them, [`StoreError::Folder`] if the folder can't be read.
    pub fn to_read(dir: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        Ok(Self::locked_by(dir, tables, opening::shared_lock(dir, D::JOURNAL)?))
    }

    /// Returns the serving generation in `dir` for [`Sql`](crate::Sql), whether or not a process is writing it. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if the folder can't be read.
    pub fn serving_file(dir: &Path, tables: &'static Tables<D>) -> Result<Option<ServingFile>, StoreError> {
        let (lock, is_written) = match opening::shared_lock(dir, D::JOURNAL) {
            Err(StoreError::InUse { .. }) => (None, true),
            lock => (lock?, false),
        };
        let generations = Self::locked_by(dir, tables, lock);
        let file = generations.file(generations.serving()?);
        let found = file.exists();
        Ok(found.then_some(ServingFile { service: D::JOURNAL, file, is_written, _lock: generations.lock }))
    }

    /// Returns whether the serving generation in `dir` has these tables, whether or not a process is writing it. `None` if there is
    /// none.
    pub async fn serves_these_tables(dir: &Path, tables: &'static Tables<D>) -> Result<Option<bool>, StoreError> {
        let Some(serving) = Self::serving_file(dir, tables)? else { return Ok(None) };
        let file = &serving.file;
        let options = if serving.is_written { opening::reading(file) } else { opening::reading_alone(file) };
        opening::has_tables(&Origin::new(file), tables, &options).await
    }

    /// Returns whether generation `number` has these tables. `None` if its file does not exist.
    pub async fn has_these_tables(&self, number: u32) -> Result<Option<bool>, StoreError> {
        let file = self.file(number);
        opening::has_tables(&Origin::new(&file), self.tables, &opening::reading_alone(&file)).await
    }

    fn locked_by(dir: &Path, tables: &'static Tables<D>, lock: Option<File>) -> Self {
        let (lock, snapshots) = (lock.map(Arc::new), Snapshots::in_dir(&dir.join(SNAPSHOTS), tables));
        Self { dir: dir.to_owned(), snapshots, lock, tables }
    }

    /// Sets the folder for snapshots.
    #[must_use]
    pub fn with_snapshots(self, dir: &Path) -> Self {
        Self { snapshots: Snapshots::in_dir(dir, self.tables), ..self }
    }

    pub const fn tables(&self) -> &'static Tables<D> {
        self.tables
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn snapshots(&self) -> &Snapshots<D> {
        &self.snapshots
    }

    /// Creates a generation, which must not exist, as a copy of the snapshot at `position`.
    ///
    /// # Errors
    /// [`SnapshotError`]. Then the generation was not created.
    pub async fn begin_from_snapshot(&self, number: u32, position: u64) -> Result<(), SnapshotError> {
        self.snapshots.copy(position, &self.file(number)).await
    }

    /// Returns the number of the serving generation.
    pub fn serving(&self) -> Result<u32, StoreError> {
        Ok(self.kept()?.first().copied().unwrap_or(FIRST))
    }

    /// Returns the number of the previous generation, if it is kept.
    pub fn before(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.kept()?.get(1).copied())
    }

    /// Reads the kept numbers: the serving one, then the previous one.
    fn kept(&self) -> Result<Vec<u32>, StoreError> {
        let path = self.pointer();
        match fs::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| {
                    let detail = format!("`{}` are no numbers of generations", text.trim());
                    StoreError::Damaged { file: path, detail }
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(StoreError::Folder { path, source }),
        }
    }

    /// Makes this generation the serving one, and keeps the one that served as the previous one. Deletes all others, which must not
    /// be open.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if the file that names the serving one can't be replaced, which then continues to serve, or an old
    /// generation can't be deleted.
    pub fn serve(&self, number: u32) -> Result<(), StoreError> {
        let path = self.pointer();
        let before = match self.serving() {
            Ok(before) => Some(before),
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let kept = before.map_or_else(|| number.to_string(), |before| format!("{number} {before}"));
        replace(&path, format!("{kept}\n").as_bytes()).map_err(|source| StoreError::Folder { path, source })?;
        self.link(number);
        // Without the generation that served, delete none.
        let Some(before) = before else { return Ok(()) };
        for other in self.all()?.into_iter().filter(|other| ![number, before].contains(other)) {
            self.remove(other)?;
        }
        Ok(())
    }

    /// Copies the files of the serving generation, if there is one, into the folder `to`, byte for byte and including any damage.
    pub fn copy_serving(&self, to: &Path) -> Result<(), StoreError> {
        let file = self.file(self.serving()?);
        let wal = opening::companion(&file, opening::WAL);
        for path in [self.pointer(), file, wal] {
            let Some(name) = path.file_name() else { continue };
            let copy = to.join(name);
            match fs::copy(&path, &copy) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Folder { path, source });
                }
                // The copy must be writable even if the original is read-only.
                Ok(_) => fs::set_permissions(&copy, Permissions::from_mode(0o600))
                    .map_err(|source| StoreError::Folder { path: copy, source })?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Returns the numbers of all existing generations, ascending.
    pub fn all(&self) -> Result<Vec<u32>, StoreError> {
        let failed = |source| StoreError::Folder { path: self.dir.clone(), source };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix(D::JOURNAL)?.strip_prefix('.')?.strip_suffix(".sqlite"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Deletes a generation, which must not be open.
    pub fn remove(&self, number: u32) -> Result<(), StoreError> {
        let file = self.file(number);
        let companions = opening::COMPANIONS.map(|end| opening::companion(&file, end));
        for path in std::iter::once(file).chain(companions) {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Folder { path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Returns the path of a generation's file.
    pub fn file(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{}.{number}.sqlite", D::JOURNAL))
    }

    /// Points the service's stable name at this generation. The program itself does not use it, so a failure is only logged.
    pub(crate) fn link(&self, number: u32) {
        let (link, file) = (self.dir.join(format!("{}.sqlite", D::JOURNAL)), self.file(number));
        let Some(target) = file.file_name() else { return };
        if let Err(error) = replace_link(&link, target.as_ref()) {
            tracing::warn!(
                service = D::JOURNAL,
                "{} does not point at {}, which serves: {error}",
                link.display(),
                file.display()
            );
        }
    }

    fn pointer(&self) -> PathBuf {
        self.dir.join(format!("{}.generation", D::JOURNAL))
    }
}
