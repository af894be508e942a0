//! The operations of a read model that a service's loop and its background tasks need.
//!
//! In production the rows are a [`Store`]. In simulations they are [`MemoryRows`](crate::MemoryRows), so that the same code runs in
//! one thread from one seed. Lists, snapshots and managing generations are not part of it; only queries and operators need them.

use orderlog_core::{
    decider::{Decider, Millis},
    key::Key,
    machine::{Changes, Checkpoint, DiscardedRow, Loaded, SetAside, Wanted},
};

use crate::{
    error::StoreError,
    store::{Pace, Store, Unaccepted, Writer},
    tables::{Due, Tables, Timer},
};

/// One generation of a service's read model.
pub trait Rows<D: Decider>: Sized + Send + Sync + 'static {
    /// Required for writing. There must be only one at a time.
    type Writer: Send + 'static;

    fn tables(&self) -> &'static Tables<D>;

    /// Returns the checkpoint of the rows.
    fn checkpoint(&self) -> impl Future<Output = Result<Checkpoint, StoreError>> + Send;

    /// Loads the wanted heads and aggregates, in the same order and from one consistent state.
    fn load(&self, wanted: &[Wanted]) -> impl Future<Output = Result<Vec<Loaded<D::Entity>>, StoreError>> + Send;

    fn writer(&self) -> impl Future<Output = Result<Self::Writer, StoreError>> + Send;

    /// Writes `changes` and the checkpoint atomically. After an error with an unknown outcome, repeat the same call.
    ///
    /// # Errors
    /// If they can't be written now, or do not follow the stored checkpoint.
    fn write(
        &self,
        writer: &mut Self::Writer,
        changes: &Changes<D>,
        pace: Pace,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Checks whether [`Rows::write`] would succeed, without changing anything. By default it always does.
    ///
    /// # Errors
    /// The reason why the rows can't be written now.
    fn try_writing(&self, _writer: &mut Self::Writer) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Creates the indexes for lists. Call it after a replay.
    fn create_indexes(&self, writer: &mut Self::Writer) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes all rows, so that they can be rebuilt from the start of the log.
    ///
    /// # Errors
    /// If they can't be deleted. Then none were.
    fn clear(&self, writer: &mut Self::Writer) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the records in `from..to` that were not accepted.
    fn unaccepted(&self, from: u64, to: u64) -> impl Future<Output = Result<Unaccepted, StoreError>> + Send;

    /// Returns the parked and discarded records, which a core needs to resume from these rows.
    fn set_aside(&self) -> impl Future<Output = Result<SetAside, StoreError>> + Send;

    /// Returns the discarded records, ascending by offset.
    fn discarded(&self) -> impl Future<Output = Result<Vec<DiscardedRow>, StoreError>> + Send;

    /// Returns up to `limit` commands of a timer that are due at `now`, with the keys of their aggregates, the longest overdue first.
    fn due(
        &self,
        timer: &Timer<D>,
        now: Millis,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Key, Due<D>)>, StoreError>> + Send;

    /// Returns the number of this generation.
    fn generation(&self) -> u32;

    /// Opens the generation `number` of the same read model, and makes it the serving one.
    fn have_serve(&self, number: u32) -> impl Future<Output = Result<Self, StoreError>> + Send;
}

impl<D: Decider> Rows<D> for Store<D> {
    type Writer = Writer<D>;

    fn tables(&self) -> &'static Tables<D> {
        Self::tables(self)
    }

    async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        Self::checkpoint(self).await
    }

    async fn load(&self, wanted: &[Wanted]) -> Result<Vec<Loaded<D::Entity>>, StoreError> {
        Self::load(self, wanted).await
    }

    async fn writer(&self) -> Result<Writer<D>, StoreError> {
        Self::writer(self).await
    }

    async fn write(&self, writer: &mut Writer<D>, changes: &Changes<D>, pace: Pace) -> Result<(), StoreError> {
        Self::write(self, writer, changes, pace).await
    }

    async fn try_writing(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        Self::try_writing(self, writer).await
    }

    async fn create_indexes(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        Self::create_indexes(self, writer).await
    }

    async fn clear(&self, writer: &mut Writer<D>) -> Result<(), StoreError> {
        Self::clear(self, writer).await
    }

    async fn unaccepted(&self, from: u64, to: u64) -> Result<Unaccepted, StoreError> {
        Self::unaccepted(self, from, to).await
    }

    async fn set_aside(&self) -> Result<SetAside, StoreError> {
        Self::set_aside(self).await
    }

    async fn discarded(&self) -> Result<Vec<DiscardedRow>, StoreError> {
        Self::discarded(self).await
    }

    async fn due(&self, timer: &Timer<D>, now: Millis, limit: u32) -> Result<Vec<(Key, Due<D>)>, StoreError> {
        Self::due(self, timer, now, limit).await
    }

    fn generation(&self) -> u32 {
        Self::generation(self)
    }

    async fn have_serve(&self, number: u32) -> Result<Self, StoreError> {
        let next = Self::open_generation(self.generations(), number).await?;
        self.generations().serve(number)?;
        Ok(next)
    }
}
