//! The generations of a service's rows. One serves; the one before it may be kept to go back to, and the next one may be
//! being built beside it. Each is a file of its own, `<service>.<number>.sqlite`; which one serves stands in
//! `<service>.generation`, which is replaced in one step.
//!
//! Deliberately absent: opening them (that is [`Store`](crate::Store)), building and comparing generations (that is `service::rebuild`), and renaming files that are open.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::StoreError,
    opening,
    replacing::replace,
    snapshots::{SnapshotError, Snapshots},
    tables::Tables,
};
use orderlog_core::decider::Decider;

/// Where snapshots are, unless it is said.
pub const SNAPSHOTS: &str = "snapshots";
/// The first generation of rows that were never rebuilt.
const FIRST: u32 = 1;

/// The generations in a data folder, which nobody else uses as long as this, or a store of it, is there.
pub struct Generations<D: Decider> {
    dir: PathBuf,
    snapshots: Snapshots<D>,
    /// `None` if the folder is open for reading only and was never locked.
    lock: Option<Arc<File>>,
    tables: &'static Tables<D>,
}

impl<D: Decider> Clone for Generations<D> {
    fn clone(&self) -> Self {
        Self { dir: self.dir.clone(), snapshots: self.snapshots.clone(), lock: self.lock.clone(), tables: self.tables }
    }
}

impl<D: Decider> Generations<D> {
    /// Those in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process uses them, [`StoreError::Folder`] if the folder can't be used.
    pub fn lock(dir: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        Ok(Self::locked_by(dir, tables, Some(opening::lock(dir, D::JOURNAL)?)))
    }

    /// Those in `dir`, for reading only: nothing is made or changed there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a process uses them, [`StoreError::Folder`] if the folder can't be read.
    pub fn to_read(dir: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        Ok(Self::locked_by(dir, tables, opening::shared_lock(dir, D::JOURNAL)?))
    }

    fn locked_by(dir: &Path, tables: &'static Tables<D>, lock: Option<File>) -> Self {
        let (lock, snapshots) = (lock.map(Arc::new), Snapshots::in_dir(&dir.join(SNAPSHOTS), tables));
        Self { dir: dir.to_owned(), snapshots, lock, tables }
    }

    /// The same, with snapshots in another folder.
    #[must_use]
    pub fn with_snapshots(self, dir: &Path) -> Self {
        Self { snapshots: Snapshots::in_dir(dir, self.tables), ..self }
    }

    /// The tables of these rows.
    pub const fn tables(&self) -> &'static Tables<D> {
        self.tables
    }

    /// The snapshots of these rows.
    pub fn snapshots(&self) -> &Snapshots<D> {
        &self.snapshots
    }

    /// Begins a generation, which must not be there, as a copy of the snapshot at `position`.
    ///
    /// # Errors
    /// [`SnapshotError`]; then it is not there.
    pub async fn begin_from_snapshot(&self, number: u32, position: u64) -> Result<(), SnapshotError> {
        self.snapshots.copy(position, &self.file(number)).await
    }

    /// Which one serves.
    ///
    /// # Errors
    /// [`StoreError`] if the file that says so can't be read.
    pub fn serving(&self) -> Result<u32, StoreError> {
        Ok(self.kept()?.first().copied().unwrap_or(FIRST))
    }

    /// Which one served before, if it is kept.
    ///
    /// # Errors
    /// [`StoreError`] if the file that says so can't be read.
    pub fn before(&self) -> Result<Option<u32>, StoreError> {
        Ok(self.kept()?.get(1).copied())
    }

    /// The numbers that are kept: the serving one, then the one before.
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

    /// From now on this one serves, and the one that served is the one before. Others than these are deleted: nobody has them
    /// open.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if that can't be kept; the one before serves on then.
    pub fn serve(&self, number: u32) -> Result<(), StoreError> {
        let path = self.pointer();
        let before = match self.serving() {
            Ok(before) => before,
            // Which one served is not known any more, so none is deleted.
            Err(StoreError::Damaged { .. }) => {
                let kept = replace(&path, format!("{number}\n").as_bytes());
                return kept.map_err(|source| StoreError::Folder { path, source });
            }
            Err(error) => return Err(error),
        };
        replace(&path, format!("{number} {before}\n").as_bytes())
            .map_err(|source| StoreError::Folder { path, source })?;
        for other in self.all()?.into_iter().filter(|other| ![number, before].contains(other)) {
            self.remove(other)?;
        }
        Ok(())
    }

    /// Copies the files of the generation that serves, if there is one, into the folder `to`: byte by byte, damage included.
    ///
    /// # Errors
    /// [`StoreError`] if a file can't be read or written.
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
                // A copy of a file that its owner may only read has to be written.
                Ok(_) => fs::set_permissions(&copy, Permissions::from_mode(0o600))
                    .map_err(|source| StoreError::Folder { path: copy, source })?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The numbers of those that are there, ascending.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if the folder can't be read.
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

    /// Deletes one that nobody has open.
    ///
    /// # Errors
    /// [`StoreError::Folder`] if a file of it can't be deleted.
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

    /// The file of a generation.
    pub fn file(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{}.{number}.sqlite", D::JOURNAL))
    }

    fn pointer(&self) -> PathBuf {
        self.dir.join(format!("{}.generation", D::JOURNAL))
    }
}
