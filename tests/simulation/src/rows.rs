//! Rows in memory that are slow, can't be written now and then, and lose what was not synced when their process dies.

use std::{io, sync::Arc};

use orderlog_core::{
    decider::{Decider, Millis},
    key::Key,
    machine::{Changes, Checkpoint, DiscardedRow, Loaded, RecordRow, SetAside, Verdict, Wanted},
};
use orderlog_readmodel::{Due, MemoryRows, Pace, Rows, StoreError, Tables, Timer, Unaccepted};

use crate::life::Life;

/// The rows of one process.
pub struct SimulatedRows<D: Decider> {
    rows: MemoryRows<D>,
    life: Arc<Life>,
}

impl<D: Decider> SimulatedRows<D> {
    /// As this process sees them.
    pub const fn new(rows: MemoryRows<D>, life: Arc<Life>) -> Self {
        Self { rows, life }
    }

    pub const fn memory(&self) -> &MemoryRows<D> {
        &self.rows
    }

    async fn take_time(&self) {
        self.life.gate().await;
        self.life.world().wait(self.life.world().faults().rows_ms).await;
        self.life.gate().await;
    }

    fn fail(&self) -> Result<(), StoreError> {
        let world = self.life.world();
        if world.goes_wrong(world.faults().unwritable) {
            let source = io::Error::other("a simulated failure");
            return Err(StoreError::Folder { path: self.life.name.clone().into(), source });
        }
        Ok(())
    }
}

impl<D: Decider> Rows<D> for SimulatedRows<D> {
    type Writer = ();

    fn tables(&self) -> &'static Tables<D> {
        self.rows.tables()
    }

    async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.life.gate().await;
        self.rows.checkpoint().await
    }

    async fn load(&self, wanted: &[Wanted]) -> Result<Vec<Loaded<D::Entity>>, StoreError> {
        self.take_time().await;
        self.rows.load(wanted).await
    }

    async fn writer(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write(&self, (): &mut (), changes: &Changes<D>, _: Pace) -> Result<(), StoreError> {
        self.take_time().await;
        self.fail()?;
        self.rows.put(changes)?;
        let world = self.life.world();
        let is_parked = |record: &&RecordRow| record.verdict == Verdict::Parked;
        let n_parked = changes.records.iter().filter(is_parked).count();
        world.count_parked(n_parked as u64);
        world.note(&self.life.name, format_args!("writes rows up to {}, {n_parked} parked", changes.next));
        if !world.goes_wrong(world.faults().unsynced) {
            self.rows.sync();
        }
        // Written, but that is not heard.
        self.fail()
    }

    async fn create_indexes(&self, (): &mut ()) -> Result<(), StoreError> {
        self.take_time().await;
        Ok(())
    }

    async fn clear(&self, writer: &mut ()) -> Result<(), StoreError> {
        self.take_time().await;
        self.fail()?;
        self.rows.clear(writer).await
    }

    async fn unaccepted(&self, from: u64, to: u64) -> Result<Unaccepted, StoreError> {
        self.take_time().await;
        self.rows.unaccepted(from, to).await
    }

    async fn set_aside(&self) -> Result<SetAside, StoreError> {
        self.life.gate().await;
        self.rows.set_aside().await
    }

    async fn discarded(&self) -> Result<Vec<DiscardedRow>, StoreError> {
        self.take_time().await;
        self.rows.discarded().await
    }

    async fn due(&self, timer: &Timer<D>, now: Millis, limit: u32) -> Result<Vec<(Key, Due<D>)>, StoreError> {
        self.take_time().await;
        self.rows.due(timer, now, limit).await
    }

    fn generation(&self) -> u32 {
        Rows::<D>::generation(&self.rows)
    }

    async fn have_serve(&self, number: u32) -> Result<Self, StoreError> {
        Ok(Self::new(self.rows.of_generation(number), Arc::clone(&self.life)))
    }
}
