//! Snapshots of rows: made now and then, so that an instance with no rows need not read its journal from the first record.
//!
//! They are worth what their hash and the log say: one whose bytes are not those of its label, or whose last record is not the
//! journal's, is passed over, and the next older one is tried.

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
    aside,
    replica::{Replica, StartError, same_history},
};

/// How often is looked whether another snapshot is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Where the rows of a process are, and when snapshots of them are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The folder of the rows.
    pub data: PathBuf,
    /// The folder of their snapshots, if it is not the usual one in that folder.
    pub snapshots: Option<PathBuf>,
    /// A snapshot is made after so many records; never, if it is 0.
    pub every: u64,
    /// Older ones than so many are deleted.
    pub n_kept: usize,
}

impl Keeping {
    /// All generations of a service's rows.
    ///
    /// # Errors
    /// [`StoreError`] if another process uses them, or the folder can't be used.
    pub fn generations<D: Decider>(&self, tables: &'static Tables<D>) -> Result<Generations<D>, StoreError> {
        let generations = Generations::lock(&self.data, tables)?;
        Ok(match &self.snapshots {
            Some(dir) => generations.with_snapshots(dir),
            None => generations,
        })
    }

    /// A copy of a service's rows in the folder `scratch`, to be opened there; nothing changes where they are. Snapshots are read from
    /// where they are.
    ///
    /// # Errors
    /// [`StoreError`] if a process uses them, or they can't be copied.
    pub fn in_scratch<D: Decider>(&self, tables: &'static Tables<D>, scratch: &Path) -> Result<Self, StoreError> {
        Generations::to_read(&self.data, tables)?.copy_serving(scratch)?;
        let snapshots = self.snapshots.clone().unwrap_or_else(|| self.data.join(SNAPSHOTS));
        Ok(Self { data: scratch.to_owned(), snapshots: Some(snapshots), ..self.clone() })
    }

    /// The rows that serve; where there are none, they begin as the newest snapshot that belongs to the log.
    ///
    /// # Errors
    /// [`StartError`], if rows or log can't be read.
    pub async fn open<D: Decider>(
        &self,
        tables: &'static Tables<D>,
        log: &dyn EventLog,
    ) -> Result<Store<D>, StartError> {
        let generations = self.generations(tables)?;
        let serving = generations.serving()?;
        if !generations.file(serving).exists() {
            // What SQLite kept beside a file that was deleted belongs to no other.
            generations.remove(serving)?;
            begin(&generations, serving, u64::MAX, log).await?;
        }
        Ok(Store::open_generation(&generations, serving).await?)
    }

    /// Has an empty generation serve, to be built from the log as it is, since what served is damaged or another log's. Snapshots
    /// behind the log's end go.
    ///
    /// # Errors
    /// [`StartError`], if rows or log can't be used.
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
        // Not from a snapshot: what is in doubt may be in there too.
        Store::open_generation(&generations, newest + 1).await?.close().await;
        if let Err(error) = generations.snapshots().remove_behind(end) {
            passed_over::<D>("snapshots behind the log's end", &error);
        }
        Ok(())
    }
}

/// Makes `number`, which must not be there, a copy of the newest snapshot that is whole, belongs to the log, and has no record at
/// or behind `anew`. If there is none, nothing is made.
///
/// # Errors
/// [`StartError`], if rows or log can't be read.
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

/// Whether the last record of the rows in `number` is the log's.
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

/// Make one of what serves now, at low priority.
///
/// # Errors
/// [`SnapshotError`], if none could be made.
pub async fn make<D: Decider>(store: Arc<Store<D>>) -> Result<Label, SnapshotError> {
    let name = format!("snapshot-{}", D::JOURNAL);
    let made = aside::run(name, async move { store.make_snapshot().await }).await;
    made.map_err(|source| SnapshotError::File { file: PathBuf::from("a thread"), source })?
}

/// Make snapshots of an instance's rows whenever they are due, for as long as it runs.
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
