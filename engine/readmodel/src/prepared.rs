//! Read models that a newer program builds ahead of its first start, in the folder `prepared` of the data folder and under locks of
//! their own. That start adopts them by rename.
//!
//! Deliberately absent: building them, and checking that they belong to the log (that is `service::prepared`).

use std::path::{Path, PathBuf};

use orderlog_core::decider::Decider;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, SqliteConnection};

use crate::{error::StoreError, generations::Generations, opening, origin::Origin, store::Store, tables::Tables};

/// The folder within the data folder.
const FOLDER: &str = "prepared";
/// The number of its only generation. It does not serve there.
const NUMBER: u32 = 0;

/// A service's prepared read model, which stays locked as long as this, or a store opened from it, exists.
pub struct Prepared<D: Decider>(Generations<D>);

impl<D: Decider> Prepared<D> {
    /// Locks the prepared read model in `data`, creating the folder if it is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process prepares it, [`StoreError::Folder`] if the folder can't be used.
    pub fn lock(data: &Path, tables: &'static Tables<D>) -> Result<Self, StoreError> {
        Generations::lock(&data.join(FOLDER), tables).map(Self)
    }

    /// Like [`Prepared::lock`], but creates nothing: `None` if none is prepared.
    pub fn find(data: &Path, tables: &'static Tables<D>) -> Result<Option<Self>, StoreError> {
        if file_in(data, D::JOURNAL).exists() { Self::lock(data, tables).map(Some) } else { Ok(None) }
    }

    pub const fn tables(&self) -> &'static Tables<D> {
        self.0.tables()
    }

    pub fn file(&self) -> PathBuf {
        self.0.file(NUMBER)
    }

    /// Opens it for writing, creating an empty one if it does not exist.
    pub async fn open(&self) -> Result<Store<D>, StoreError> {
        Store::open_generation(&self.0, NUMBER).await
    }

    /// Opens it read-only. Returns `None` if it does not exist or its schema version differs.
    pub async fn read(&self) -> Result<Option<Store<D>>, StoreError> {
        Store::read_generation(&self.0, NUMBER).await
    }

    /// Deletes it. It must not be open.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.0.remove(NUMBER)
    }

    /// Renames it to the generation `number` of the serving ones, whose file, if there is one, has other tables and is moved aside.
    ///
    /// # Errors
    /// [`StoreError`]. Then it stays where it is, but the other file may have been moved.
    pub async fn replace(&self, serving: &Generations<D>, number: u32) -> Result<(), StoreError> {
        opening::replace(&Origin::new(&serving.file(number)), serving.tables(), &self.file()).await?;
        self.remove()
    }
}

impl<D: Decider> Generations<D> {
    /// Returns what is prepared in the same data folder.
    pub async fn prepared(&self) -> Option<Ahead> {
        prepared_in(self.dir(), D::JOURNAL).await
    }
}

/// What is prepared for a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// The schema version of its tables.
    pub schema: String,
    /// Every record below this offset is folded.
    pub position: u64,
}

/// Returns what is prepared for `service` in the data folder, also while another process builds it; `None` if nothing readable is.
pub async fn prepared_in(data: &Path, service: &str) -> Option<Ahead> {
    let file = file_in(data, service);
    let options = if opening::has_wal(&file) { opening::reading(&file) } else { opening::reading_alone(&file) };
    let mut connection = SqliteConnection::connect_with(&options).await.ok()?;
    let meta = "select schema, next from meta where only = 1 and service = ?";
    let meta = sqlx::query_as(meta).bind(service).fetch_optional(&mut connection).await;
    drop(connection.close().await);
    let (schema, next): (String, i64) = meta.ok()??;
    Some(Ahead { schema, position: u64::try_from(next).ok()? })
}

fn file_in(data: &Path, service: &str) -> PathBuf {
    data.join(FOLDER).join(format!("{service}.{NUMBER}.sqlite"))
}
