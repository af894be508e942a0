//! What a service's loop and its duties ask of rows.
//!
//! The program runs on [`Store`]. That the same code can also run on [`MemoryRows`](crate::MemoryRows) is what makes it possible to
//! run all of it in one thread, from one seed. Lists, generations and snapshots are not in here: only people ask for them.

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

/// One generation of a service's rows, as the loop sees it.
pub trait Rows<D: Decider>: Sized + Send + Sync + 'static {
    /// What writes: there is one at a time.
    type Writer: Send + 'static;

    fn tables(&self) -> &'static Tables<D>;

    /// Where the rows stand.
    ///
    /// # Errors
    /// If it can't be read.
    fn checkpoint(&self) -> impl Future<Output = Result<Checkpoint, StoreError>> + Send;

    /// What the rows know of `wanted`, in the same order, all as of one moment.
    ///
    /// # Errors
    /// If they can't be read.
    fn load(&self, wanted: &[Wanted]) -> impl Future<Output = Result<Vec<Loaded<D::Entity>>, StoreError>> + Send;

    /// What [`Rows::write`] writes with.
    ///
    /// # Errors
    /// If they can't be written.
    fn writer(&self) -> impl Future<Output = Result<Self::Writer, StoreError>> + Send;

    /// Writes `changes` and the checkpoint, all or nothing. After an error the same call settles it.
    ///
    /// # Errors
    /// If they can't be written now, or don't follow on what is stored.
    fn write(
        &self,
        writer: &mut Self::Writer,
        changes: &Changes<D>,
        pace: Pace,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Tries whether [`Rows::write`] would succeed, and changes nothing. Rows in memory can always be written.
    ///
    /// # Errors
    /// Why they can't be written now.
    fn try_writing(&self, _writer: &mut Self::Writer) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Makes what lists need to be fast, once there is no more mass of rows to come.
    ///
    /// # Errors
    /// If it can't be made.
    fn create_indexes(&self, writer: &mut Self::Writer) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes all of them, so that they can be built anew from the log's beginning.
    ///
    /// # Errors
    /// If they can't be deleted: then none was.
    fn clear(&self, writer: &mut Self::Writer) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Those of the records from `from` up to and without `to` that were not accepted.
    ///
    /// # Errors
    /// If they can't be read.
    fn unaccepted(&self, from: u64, to: u64) -> impl Future<Output = Result<Unaccepted, StoreError>> + Send;

    /// What a core has to know of records that were not folded, to go on from these rows.
    ///
    /// # Errors
    /// If it can't be read.
    fn set_aside(&self) -> impl Future<Output = Result<SetAside, StoreError>> + Send;

    /// What was discarded, ascending.
    ///
    /// # Errors
    /// If it can't be read.
    fn discarded(&self) -> impl Future<Output = Result<Vec<DiscardedRow>, StoreError>> + Send;

    /// What is due at `now` by a timer, with the key of its aggregate: the longest overdue first, at most `limit`.
    ///
    /// # Errors
    /// If it can't be read.
    fn due(
        &self,
        timer: &Timer<D>,
        now: Millis,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Key, Due<D>)>, StoreError>> + Send;

    /// Which generation this is.
    fn generation(&self) -> u32;

    /// The generation `number` of the same rows, which serves from now on.
    ///
    /// # Errors
    /// If it can't be opened.
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
