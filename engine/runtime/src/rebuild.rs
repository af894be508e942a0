//! Rebuilds a service's rows while it serves.
//!
//! The next generation is built beside the serving one, by a separate instance that folds the journal from the beginning on a
//! low-priority thread. When it has caught up, both generations are compared row by row at the same offset, while commands and
//! queries continue. Then it takes over between two change sets, and the previous generation is kept for a rollback, which is the
//! same procedure without the building.
//!
//! A rebuild starts from the first record or, on request, from the newest snapshot (or the kept generation) that is not past a
//! given offset. What is built stays in its file until it serves or is discarded, so a rebuild after a crash resumes from there.
//!
//! It runs no relay, reactor, timers or deliveries: building rows publishes and sends nothing.

mod builder;
mod copies;
pub mod published;
pub mod republish;

use std::{sync::Arc, time::Duration};

use orderlog_core::decider::Decider;
use orderlog_eventlog::{EventLog, LeaseError, ReadError};
use orderlog_readmodel::{Difference, Generations, PublicationsError, SnapshotError, Store, StoreError};
use tokio::{sync::watch, time::Instant};

use self::builder::Builder;
use self::published::{Checked, Published};
use crate::{
    envelope::Envelopes,
    past::PastError,
    replica::{Damage, Rebuilding, Replica, StartError, SwitchError, same_history},
    snapshots,
};

/// The interval at which progress is polled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The generation that is built only for comparison. It never serves.
const VERIFIED: u32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Build the next generation from the beginning, and let it serve if it equals the serving one.
    Rebuild,
    /// Like `Rebuild`, but serve whatever differs: for rows that are wrong or are meant to change.
    Replace,
    /// Build a generation from the beginning, compare it, and delete it.
    Verify,
    /// Let the previous generation catch up and serve again, whatever differs.
    Rollback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The journal is being replayed.
    Replaying,
    Comparing,
    /// The new generation is taking over.
    Switching,
    /// The rebuild is finished.
    Done,
}

/// The progress of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    pub stage: Stage,
    /// The generation being built.
    pub generation: u32,
    /// Its position when this rebuild started. Above 0, it resumes an earlier attempt.
    pub from: u64,
    /// Rows below this offset were copied rather than folded; 0 if the journal is folded from its first record.
    pub base: u64,
    /// One past the last record in its rows.
    pub position: u64,
    /// One past the last record in the serving rows.
    pub end: u64,
    /// Bytes of headers and values read for it so far.
    pub bytes: u64,
}

/// The result of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// The generation that was built.
    pub generation: u32,
    /// Both generations were compared when they contained every record below this offset.
    pub compared_at: u64,
    /// The rows that differ, at most 100 per table, in the order of the records they follow from.
    pub differences: Vec<RowDifference>,
    /// Why the serving rows could not be compared: they are damaged. Only set when they are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The offset from which the new generation serves; `None` if it does not.
    pub serves_from: Option<u64>,
    /// Rows below this offset were copied from a snapshot or a kept generation; 0 if all were folded from the first record.
    pub base: u64,
    /// The snapshots, each compared at its own offset; only for `Goal::Verify`.
    pub snapshots: Vec<CheckedSnapshot>,
    /// The check of the service's public topics; only for `Goal::Verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// The check of the envelopes of records below `compared_at`; only for `Goal::Verify`.
    #[serde(default)]
    pub envelopes: Envelopes,
    /// Whether snapshots were deleted because the rows turned out to be wrong.
    pub snapshots_deleted: bool,
    /// The number of records folded for it.
    pub n_records: u64,
    /// The duration of the replay in milliseconds.
    pub replay_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckedSnapshot {
    /// The snapshot contains every record below this offset.
    pub position: u64,
    /// Why it cannot be used; `None` if it can.
    pub fault: Option<String>,
}

/// A row that differs between two generations.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RowDifference {
    pub table: String,
    /// Its primary key, as SQL; the offset in the table `records`.
    pub key: String,
    /// The record that it follows from, if the row names one.
    pub offset: Option<u64>,
    /// The row in the serving generation, as SQL values; `None` if only the other one has it.
    pub serving: Option<String>,
    /// The row in the other generation.
    pub rebuilt: Option<String>,
}

impl From<Difference> for RowDifference {
    fn from(difference: Difference) -> Self {
        let Difference { table, key, offset, here, there } = difference;
        Self { table, key, offset, serving: here, rebuilt: there }
    }
}

/// Why a rebuild failed. The serving rows keep serving.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("a rebuild of {0} is under way already")]
    UnderWay(&'static str),
    #[error("there is no generation of {0} to go back to")]
    NothingBefore(&'static str),
    #[error(transparent)]
    From(#[from] PastError),
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The instance that builds cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The journal or the rows are corrupted.
    #[error("{0}")]
    Damage(String),
    #[error("the new generation can't be built on: {0}")]
    Stopped(String),
    #[error("a thread can't be started")]
    Thread(#[from] std::io::Error),
    /// The new generation did not take over.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Position(#[from] LeaseError),
    #[error(transparent)]
    Publications(#[from] PublicationsError),
}

impl RebuildError {
    /// Whether the log, the rows or a snapshot are corrupted, so that retrying does not help.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Damage(_) | Self::Log(ReadError::Damaged { .. }) => true,
            Self::Start(error) => error.is_damage(),
            Self::Rows(error) | Self::Snapshot(SnapshotError::Rows(error)) | Self::Switch(SwitchError::Rows(error)) => {
                error.is_damage()
            }
            Self::UnderWay(_)
            | Self::NothingBefore(_)
            | Self::From(_)
            | Self::Snapshot(_)
            | Self::Stopped(_)
            | Self::Thread(_)
            | Self::Switch(_)
            | Self::Log(_)
            | Self::Position(_)
            | Self::Publications(_) => false,
        }
    }
}

/// Runs a rebuild and reports its progress. Records from the offset `anew` are always folded again; rows before it may be copied.
///
/// # Errors
/// [`RebuildError`]. What was built so far is kept, and the next rebuild resumes from it.
pub async fn run<D: Decider>(
    rebuilding: Rebuilding<D>,
    goal: Goal,
    anew: u64,
    progress: &watch::Sender<Option<Progress>>,
) -> Result<Report, RebuildError> {
    let replica = rebuilding.replica();
    if goal == Goal::Verify {
        can_be_compared(replica).await?;
    }
    let generations = replica.store().generations().clone();
    let generation = begin(&generations, goal, anew, replica.log().as_ref()).await?;
    // Snapshots are compared on the way, each at its own offset.
    let stops = if goal == Goal::Verify { generations.snapshots().positions()? } else { Vec::new() };
    let began = Instant::now();
    let builder = Builder::start(replica, &generations, generation, stops.first().copied()).await?;
    let base = builder.replica.store().base().await?;
    let running = Running { replica, goal, generation, base, builder, progress };
    let snapshots = running.replay(&stops).await?;
    let replay_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    running.tell(Stage::Comparing);
    let Compared { at: compared_at, differences, damage } = running.compare().await?;
    let n_records = running.builder.position().saturating_sub(running.builder.from);
    let is_good = differences.is_empty() && damage.is_none();
    let (mut published, mut envelopes, mut serves_from) = (None, Envelopes::default(), None);
    match goal {
        Goal::Verify => {
            let checked = running.stop_and_check_topics().await?;
            (published, envelopes) = (Some(checked.published), checked.envelopes);
        }
        Goal::Rebuild if !is_good => running.builder.stop().await,
        Goal::Rebuild | Goal::Replace | Goal::Rollback => serves_from = Some(running.serve().await?),
    }
    // Replacing rows that differ means that they were wrong, so copies of them may be wrong too.
    let snapshots_deleted = goal == Goal::Replace && !is_good && generations.snapshots().remove_behind(base)?;
    progress.send_modify(|progress| {
        if let Some(progress) = progress {
            (progress.stage, progress.position) = (Stage::Done, compared_at.max(serves_from.unwrap_or(0)));
        }
    });
    Ok(Report {
        generation,
        compared_at,
        differences,
        damage,
        serves_from,
        base,
        snapshots,
        published,
        envelopes,
        snapshots_deleted,
        n_records,
        replay_ms,
    })
}

/// Checks that the rows can be compared. Rows are compared in key order, so a corrupted index must be detected first.
async fn can_be_compared<D: Decider>(replica: &Replica<D>) -> Result<(), RebuildError> {
    // The indexes exist only once it is ready.
    replica.ready().await.map_err(|why| match replica.damage() {
        Some(Damage::Journal | Damage::Rows) => RebuildError::Damage(why),
        None => RebuildError::Stopped(why),
    })?;
    Ok(replica.store().check().await?)
}

struct Running<'a, D: Decider> {
    replica: &'a Replica<D>,
    goal: Goal,
    generation: u32,
    base: u64,
    builder: Builder<D>,
    progress: &'a watch::Sender<Option<Progress>>,
}

/// The result of a comparison.
struct Compared {
    at: u64,
    differences: Vec<RowDifference>,
    damage: Option<String>,
}

impl<D: Decider> Running<'_, D> {
    fn tell(&self, stage: Stage) {
        self.progress.send_replace(Some(Progress {
            stage,
            generation: self.generation,
            from: self.builder.from,
            base: self.base,
            position: self.builder.position(),
            end: *self.replica.committed().borrow(),
            bytes: self.builder.replica.n_bytes(),
        }));
    }

    /// Folds the journal until it is near the serving rows, and compares snapshots on the way.
    async fn replay(&self, snapshots: &[u64]) -> Result<Vec<CheckedSnapshot>, RebuildError> {
        let tell = || self.tell(Stage::Replaying);
        tell();
        let checked = self.builder.check_snapshots(self.replica, snapshots, &tell).await?;
        self.builder.come_near(self.replica, &tell).await?;
        Ok(checked)
    }

    async fn compare(&self) -> Result<Compared, RebuildError> {
        match self.builder.compare(self.replica).await {
            Ok((at, differences)) => Ok(Compared { at, differences, damage: None }),
            // They are replaced whatever is wrong with them.
            Err(RebuildError::Rows(error)) if self.goal == Goal::Replace && error.is_damage() => {
                Ok(Compared { at: self.builder.position(), differences: Vec::new(), damage: Some(error.to_string()) })
            }
            Err(error) => Err(error),
        }
    }

    /// Compares the public topics with the records that the new rows accept, then deletes these rows.
    async fn stop_and_check_topics(self) -> Result<Checked, RebuildError> {
        let log = Arc::clone(self.replica.log()).stored();
        let checked = published::check(&log, self.builder.replica.store()).await?;
        self.builder.stop().await;
        self.replica.store().generations().remove(VERIFIED)?;
        Ok(checked)
    }

    /// Switches to the new rows. Returns the offset from which they serve.
    async fn serve(self) -> Result<u64, RebuildError> {
        self.builder.come_near(self.replica, &|| {}).await?;
        self.tell(Stage::Switching);
        Ok(self.replica.switch(self.builder.replica, self.builder.limit).await?)
    }
}

/// Returns the generation to build for this goal, including what is left of an earlier attempt.
async fn begin<D: Decider>(
    generations: &Generations<D>,
    goal: Goal,
    anew: u64,
    log: &dyn EventLog,
) -> Result<u32, RebuildError> {
    let (serving, before) = (generations.serving()?, generations.before()?);
    match goal {
        Goal::Verify => {
            generations.remove(VERIFIED)?;
            Ok(VERIFIED)
        }
        Goal::Rollback => before.ok_or(RebuildError::NothingBefore(D::JOURNAL)),
        Goal::Rebuild | Goal::Replace => {
            let all = generations.all()?;
            let unfinished =
                all.iter().rev().find(|number| ![Some(serving), before, Some(VERIFIED)].contains(&Some(**number)));
            let number = unfinished.copied().unwrap_or(all.last().copied().unwrap_or(serving).max(serving) + 1);
            begin_next(generations, number, anew, log).await?;
            Ok(number)
        }
    }
}

/// Keeps what an earlier attempt built, if that started early enough. Otherwise starts from the newest copy of the rows without
/// records at or after `anew`, or from nothing.
async fn begin_next<D: Decider>(
    generations: &Generations<D>,
    number: u32,
    anew: u64,
    log: &dyn EventLog,
) -> Result<(), RebuildError> {
    if generations.file(number).exists() {
        let store = Store::open_generation(generations, number).await?;
        let is_early_enough = store.base().await? <= anew;
        store.close().await;
        if is_early_enough {
            return Ok(());
        }
        generations.remove(number)?;
    }
    if anew > 0 && !begin_as_before(generations, number, anew, log).await? {
        snapshots::begin(generations, number, anew, log).await?;
    }
    Ok(())
}

/// Starts from the kept generation, if it is newer than any snapshot, has no record at or after `anew`, and belongs to the log.
/// Returns whether it did.
async fn begin_as_before<D: Decider>(
    generations: &Generations<D>,
    number: u32,
    anew: u64,
    log: &dyn EventLog,
) -> Result<bool, RebuildError> {
    let Some(before) = generations.before()?.filter(|before| generations.file(*before).exists()) else {
        return Ok(false);
    };
    let newest = generations.snapshots().positions()?.into_iter().rfind(|position| *position <= anew);
    let store = Store::open_generation(generations, before).await?;
    let checkpoint = store.checkpoint().await?;
    let is_newer = checkpoint.next > newest.unwrap_or(0) && checkpoint.next <= anew;
    let is_good = is_newer && same_history::<D>(log, &checkpoint).await.is_ok();
    if is_good {
        store.begin_generation(number).await?;
    }
    store.close().await;
    Ok(is_good)
}
