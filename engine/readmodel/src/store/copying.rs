//! Consistent copies of the rows. Writing continues meanwhile.

use std::path::Path;

use orderlog_core::decider::Decider;
use sqlx::Connection;

use super::{Origin, Store, reader};
use crate::{
    error::StoreError,
    snapshots::{Fresh, Label, SnapshotError},
};

impl<D: Decider> Store<D> {
    /// Makes a snapshot. If one with the same position exists, keeps that one.
    ///
    /// # Errors
    /// [`SnapshotError`]. Then no snapshot was made.
    pub async fn make_snapshot(&self) -> Result<Label, SnapshotError> {
        let snapshots = self.generations.snapshots();
        let fresh = snapshots.fresh()?;
        let position = self.copy_to(fresh.file()).await?;
        snapshots.keep(&fresh, position)
    }

    /// Creates another generation, which must not exist, as a copy of this one.
    ///
    /// # Errors
    /// [`SnapshotError`]. Then the generation was not created.
    pub async fn begin_generation(&self, number: u32) -> Result<(), SnapshotError> {
        let file = self.generations.file(number);
        let fresh = Fresh::of(&file);
        let position = self.copy_to(fresh.file()).await?;
        fresh.begin(&file, position).await
    }

    /// Makes `file` a consistent copy of the current rows. Returns the copy's checkpoint.
    async fn copy_to(&self, file: &Path) -> Result<u64, StoreError> {
        let failed = |error| self.origin.error("copying the rows", error);
        let mut connection = reader(&self.origin).await?;
        let path = file.to_string_lossy().into_owned();
        sqlx::query("vacuum into ?").bind(path).execute(&mut connection).await.map_err(failed)?;
        connection.close().await.map_err(failed)?;
        let copy = Origin::new(file);
        let mut copied = reader(&copy).await?;
        let meta = sqlx::query("select next from meta").fetch_one(&mut copied).await.map_err(failed)?;
        copied.close().await.map_err(failed)?;
        copy.count(&meta, 0)
    }
}
