//! Periodic snapshots of the rows, so that an instance without rows need not read its journal from the first record.
//!
//! Snapshots are verified by their hash and against the log: one whose bytes do not match its label, or whose last record is not
//! in the journal, is skipped, and the next older one is tried.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use orderlog_core::decider::Decider;
use orderlog_eventlog::EventLog;
use orderlog_readmodel::{Generations, Label, SNAPSHOTS, SnapshotError, Store, StoreError, Tables};
use tracing::{info, warn};

use crate::{
    aside, prepared,
    replica::{Replica, StartError, same_history},
};

/// How often to check whether another snapshot is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Where the rows of a process are stored, and when snapshots of them are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The folder of the rows.
    pub data: PathBuf,
    /// The folder of their snapshots, if not the default one in `data`.
    pub snapshots: Option<PathBuf>,
    /// The number of records between two snapshots; 0 disables them.
    pub every: u64,
    /// The number of snapshots to keep. Older ones are deleted.
    pub n_kept: usize,
}

impl Keeping {
    /// Opens all generations of a service's rows.
    pub fn generations<D: Decider>(&self, tables: &'static Tables<D>) -> Result<Generations<D>, StoreError> {
        let generations = Generations::lock(&self.data, tables)?;
        Ok(match &self.snapshots {
            Some(dir) => generations.with_snapshots(dir),
            None => generations,
        })
    }

    /// Copies a service's rows to the folder `scratch`, to be opened there. The originals are not changed. Snapshots are read from their
    /// original folder.
    pub fn in_scratch<D: Decider>(&self, tables: &'static Tables<D>, scratch: &Path) -> Result<Self, StoreError> {
        Generations::to_read(&self.data, tables)?.copy_serving(scratch)?;
        let snapshots = self.snapshots.clone().unwrap_or_else(|| self.data.join(SNAPSHOTS));
        Ok(Self { data: scratch.to_owned(), snapshots: Some(snapshots), ..self.clone() })
    }

    /// Opens the serving rows. If there are none with these tables, they start from what was prepared; if there are none at all, from
    /// the newest snapshot that belongs to the log.
    pub async fn open<D: Decider>(
        &self,
        tables: &'static Tables<D>,
        log: &dyn EventLog,
    ) -> Result<Store<D>, StartError> {
        let generations = self.generations(tables)?;
        let serving = generations.serving()?;
        if !generations.file(serving).exists() {
            // SQLite's side files of a deleted file must not be used with another one.
            generations.remove(serving)?;
        }
        prepared::adopt(&generations, serving, &self.data, log).await?;
        if !generations.file(serving).exists() {
            begin(&generations, serving, u64::MAX, log).await?;
        }
        Ok(Store::open_generation(&generations, serving).await?)
    }

    /// Makes an empty generation serve, to be built from the current log, since the serving one is damaged or belongs to another log.
    /// Deletes snapshots past the log's end.
    pub async fn begin_anew<D: Decider>(
        &self,
        tables: &'static Tables<D>,
        log: &dyn EventLog,
    ) -> Result<(), StartError> {
        let generations = self.generations(tables)?;
        let end = log.ends(&[Replica::<D>::journal()]).await?.first().copied().unwrap_or(0);
        let serving = match generations.serving() {
            Err(error) if error.is_damage() => 0,
            serving => serving?,
        };
        let newest = generations.all()?.last().copied().unwrap_or(0).max(serving);
        generations.serve(newest + 1)?;
        // Not from a snapshot, which may contain the same fault.
        Store::open_generation(&generations, newest + 1).await?.close().await;
        if let Err(error) = generations.snapshots().remove_behind(end) {
            passed_over::<D>("snapshots behind the log's end", &error);
        }
        Ok(())
    }
}

/// Creates generation `number`, which must not exist, as a copy of the newest snapshot that is intact, belongs to the log, and has no
/// record at or after `anew`. Does nothing if there is none.
pub(crate) async fn begin<D: Decider>(
    generations: &Generations<D>,
    number: u32,
    anew: u64,
    log: &dyn EventLog,
) -> Result<(), StartError> {
    let positions = generations.snapshots().positions().unwrap_or_else(|error| {
        passed_over::<D>("all snapshots", &error);
        Vec::new()
    });
    for position in positions.into_iter().rev().filter(|position| *position <= anew) {
        let name = format!("the snapshot {}@{position}", D::JOURNAL);
        match generations.begin_from_snapshot(number, position).await {
            Ok(()) if belongs(generations, number, log, &name).await? => {
                info!(service = D::JOURNAL, "the rows of {} begin as {name}", D::JOURNAL);
                return Ok(());
            }
            Ok(()) => generations.remove(number)?,
            Err(error) => passed_over::<D>(&name, &error),
        }
    }
    Ok(())
}

/// Whether the last record of generation `number` is in the log.
async fn belongs<D: Decider>(
    generations: &Generations<D>,
    number: u32,
    log: &dyn EventLog,
    name: &str,
) -> Result<bool, StartError> {
    let store = Store::open_generation(generations, number).await?;
    let belongs = same_history::<D>(log, &store.checkpoint().await?).await;
    store.close().await;
    match belongs {
        Ok(()) => Ok(true),
        Err(error @ StartError::OtherHistory { .. }) => {
            passed_over::<D>(name, &error);
            Ok(false)
        }
        Err(error @ (StartError::Journal(_) | StartError::Rows(_))) => Err(error),
    }
}

fn passed_over<D: Decider>(what: &str, error: &dyn std::error::Error) {
    warn!(service = D::JOURNAL, "{what} can't be used, it is passed over: {error}");
}

/// Makes a snapshot of the serving rows, at low priority.
pub async fn make<D: Decider>(store: Arc<Store<D>>) -> Result<Label, SnapshotError> {
    let name = format!("snapshot-{}", D::JOURNAL);
    let made = aside::run(name, async move { store.make_snapshot().await }).await;
    made.map_err(|source| SnapshotError::File { file: PathBuf::from("a thread"), source })?
}

/// Makes snapshots of an instance's rows whenever they are due, for as long as the instance runs.
pub async fn keep_making<D: Decider>(replica: Replica<D>, every: u64, n_kept: usize) {
    if every == 0 || replica.ready().await.is_err() {
        return;
    }
    let mut newest = replica.store().generations().snapshots().positions().ok().and_then(|all| all.last().copied());
    loop {
        let mut committed = replica.committed();
        let due = newest.unwrap_or(0) + every;
        // The sender lives as long as this handle.
        drop(committed.wait_for(|committed| *committed >= due).await);
        drop(committed);
        let made = make(replica.store()).await;
        let pruned = replica.store().generations().snapshots().prune(n_kept);
        let rest = match made.and_then(|label| pruned.map(|()| label)) {
            Ok(label) => {
                info!(service = D::JOURNAL, "made the snapshot {label} ({} bytes)", label.bytes);
                newest = Some(label.position);
                LOOK_EVERY
            }
            Err(error) => {
                warn!(service = D::JOURNAL, "no snapshot of {} could be made: {error}", D::JOURNAL);
                TRY_AGAIN
            }
        };
        tokio::time::sleep(rest).await;
    }
}
