//! A lease about which one hears late: for a while two processes hold it, or none.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use orderlog_eventlog::{Lease, LeaseError, Partition, Position};
use tokio::sync::watch;

use crate::life::Life;

/// For so long at most a dead process goes on holding its leases: until its session times out.
const SESSION_MS: u64 = 3_000;

/// One process's part in a group.
pub struct DelayedLease {
    inner: Shared,
    life: Arc<Life>,
    held: watch::Receiver<bool>,
}

/// Taken away when the process is dead and its session over: whoever still has the handle then belongs to a dead process.
type Shared = Arc<Mutex<Option<Arc<dyn Lease>>>>;

fn of(shared: &Shared) -> Result<Arc<dyn Lease>, LeaseError> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(LeaseError::Lost)
}

impl DelayedLease {
    /// What this process hears of `inner`.
    pub fn new(inner: Arc<dyn Lease>, life: Arc<Life>) -> Arc<Self> {
        let (told, held) = watch::channel(false);
        let watched = inner.held();
        let inner = Arc::new(Mutex::new(Some(inner)));
        life.world().spawn(tell(watched, Arc::clone(&inner), Arc::clone(&life), told));
        Arc::new(Self { inner, life, held })
    }

    async fn ask(&self) -> Result<(), LeaseError> {
        let faults = self.life.world().faults();
        self.life.gate().await;
        self.life.world().wait(faults.read_ms / 2).await;
        self.life.gate().await;
        if self.life.world().goes_wrong(faults.unavailable) {
            return Err(LeaseError::Unavailable { reason: "a simulated failure".to_owned() });
        }
        Ok(())
    }
}

/// Tell who holds it, late, until the process dies.
async fn tell(mut held: watch::Receiver<bool>, inner: Shared, life: Arc<Life>, told: watch::Sender<bool>) {
    loop {
        let now = *held.borrow_and_update();
        life.world().wait(life.world().faults().lease_ms).await;
        if !life.is_dead() {
            told.send_if_modified(|held| std::mem::replace(held, now) != now);
        }
        tokio::select! {
            biased;
            () = life.died() => break,
            changed = held.changed() => if changed.is_err() {
                break;
            }
        }
    }
    told.send_replace(false);
    drop(told);
    let session: Duration = life.world().takes(if life.world().faults().lease_ms == 0 { 0 } else { SESSION_MS });
    tokio::time::sleep(session).await;
    drop(inner.lock().unwrap_or_else(PoisonError::into_inner).take());
}

#[async_trait]
impl Lease for DelayedLease {
    fn held(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }

    async fn holder(&self) -> Result<Option<String>, LeaseError> {
        of(&self.inner)?.holder().await
    }

    async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        self.ask().await?;
        of(&self.inner)?.committed(partitions).await
    }

    async fn commit(&self, positions: &[(Partition, Position)]) -> Result<(), LeaseError> {
        self.ask().await?;
        of(&self.inner)?.commit(positions).await?;
        // Kept, but that is not heard.
        self.ask().await
    }
}
