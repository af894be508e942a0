//! Rebuilding a service's rows while it serves.
//!
//! The next generation is built beside the serving one, by an instance of its own that folds the journal from the beginning,
//! on a thread of lower priority. When it has caught up, both generations are compared row by row as they were at the same
//! offset, while commands and queries go on. Then it takes over between two change sets, and the one before is kept, to go
//! back to: which is the same thing, but for the building.
//!
//! It begins with the first record, or, if that is asked for, with the newest snapshot (or generation kept) that is not behind
//! some point. What was built stays in its file until it serves or is discarded, so whoever begins again goes on where a crash came.
//!
//! Deliberately absent: relay, reactor, timers and deliveries. Building rows publishes nothing and tells nobody.

mod builder;
mod copies;
pub mod published;

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

/// How often is looked how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The generation that is only built to be compared. It never serves.
const VERIFIED: u32 = 0;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Build the next generation from the beginning and let it serve, if it equals the serving one.
    Rebuild,
    /// The same, whatever differs: for rows that are wrong, or are to become others.
    Replace,
    /// Build one from the beginning, compare it, and throw it away.
    Verify,
    /// Let the generation before the serving one catch up and serve again, whatever differs.
    Rollback,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The journal is replayed.
    Replaying,
    Comparing,
    /// The new generation takes over.
    Switching,
    /// It is done with.
    Done,
}

/// How a rebuild goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    pub stage: Stage,
    /// The generation that is built.
    pub generation: u32,
    /// Where it stood when this rebuild began: above 0 it goes on with what an earlier one left.
    pub from: u64,
    /// Rows up to here were copied, not folded; 0: the journal is folded from its first record.
    pub base: u64,
    /// One past the last record in its rows.
    pub position: u64,
    /// One past the last record in the serving rows.
    pub end: u64,
    /// Headers and values that were read for it so far.
    pub bytes: u64,
}

/// What came of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// The generation that was built.
    pub generation: u32,
    /// Both generations were compared with every record below this offset in them.
    pub compared_at: u64,
    /// The rows that differ, at most 100 per table, in the order of the records that they follow from.
    pub differences: Vec<RowDifference>,
    /// Why the rows that served could not be compared: they are damaged. Only when they are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The offset from which on the new generation serves; none if it does not.
    pub serves_from: Option<u64>,
    /// Rows up to here were copied from a snapshot or a generation kept; 0: all were folded from the first record.
    pub base: u64,
    /// The snapshots, compared at their own offsets; only to verify.
    pub snapshots: Vec<CheckedSnapshot>,
    /// What the public topics of the service hold; only to verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// What the digest chain does not cover of the records below `compared_at`; only to verify.
    #[serde(default)]
    pub envelopes: Envelopes,
    /// Snapshots of rows that turned out to be wrong were deleted.
    pub snapshots_deleted: bool,
    /// Records that were folded for it.
    pub n_records: u64,
    /// How long that took, in milliseconds.
    pub replay_ms: u64,
}

/// What became of a snapshot that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CheckedSnapshot {
    /// Every record below this offset is in it.
    pub position: u64,
    /// Why it can't be used, if it can't.
    pub fault: Option<String>,
}

/// A row that two generations do not have alike.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RowDifference {
    pub table: String,
    /// Its primary key, as SQL; of `records` it is the offset.
    pub key: String,
    /// The record that it follows from, where the row tells.
    pub offset: Option<u64>,
    /// The row in the serving generation, as SQL values; none if it is only in the other.
    pub serving: Option<String>,
    /// The row in the other.
    pub rebuilt: Option<String>,
}

impl From<Difference> for RowDifference {
    fn from(difference: Difference) -> Self {
        let Difference { table, key, offset, here, there } = difference;
        Self { table, key, offset, serving: here, rebuilt: there }
    }
}

/// Why a rebuild failed. The serving rows go on serving.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Another rebuild of the same rows is under way.
    #[error("a rebuild of {0} is under way already")]
    UnderWay(&'static str),
    /// There is no generation before the serving one.
    #[error("there is no generation of {0} to go back to")]
    NothingBefore(&'static str),
    /// The point to begin from is none of the journal's.
    #[error(transparent)]
    From(#[from] PastError),
    #[error(transparent)]
    Rows(#[from] StoreError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The instance that builds can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The journal or the rows are not what they were when they were written.
    #[error("{0}")]
    Damage(String),
    #[error("the new generation can't be built on: {0}")]
    Stopped(String),
    /// Its thread can't be started.
    #[error("a thread can't be started")]
    Thread(#[from] std::io::Error),
    /// The new generation did not take over.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// The log can't be read, or is damaged.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// How far the relay has come can't be read.
    #[error(transparent)]
    Position(#[from] LeaseError),
    /// Public topics can't be compared with the journal.
    #[error(transparent)]
    Publications(#[from] PublicationsError),
}

impl RebuildError {
    /// Whether the log, the rows or a snapshot are not what was written, so that trying again does not help.
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

/// Do it, and tell how it goes. Records from the offset `anew` on are folded anew in any case; what is before may be copied.
///
/// # Errors
/// [`RebuildError`]; what was built so far is kept, and the next rebuild goes on with it.
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
    // Snapshots are compared on the way, each where it stands.
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
    // Whoever has these rows replaced says that they were wrong, and so may be copies of them.
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

/// Rows are compared in the order of their keys, so an index that leads elsewhere is looked for first.
async fn can_be_compared<D: Decider>(replica: &Replica<D>) -> Result<(), RebuildError> {
    // There are no indexes before it is ready.
    replica.ready().await.map_err(|why| match replica.damage() {
        Some(Damage::Journal | Damage::Rows) => RebuildError::Damage(why),
        None => RebuildError::Stopped(why),
    })?;
    Ok(replica.store().check().await?)
}

/// A rebuild that has begun.
struct Running<'a, D: Decider> {
    replica: &'a Replica<D>,
    goal: Goal,
    generation: u32,
    base: u64,
    builder: Builder<D>,
    progress: &'a watch::Sender<Option<Progress>>,
}

/// What came of a comparison.
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

    /// Fold the journal until the serving rows are near, and compare snapshots on the way.
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

    /// Compare the public topics with what the new rows accept, then throw those away.
    async fn stop_and_check_topics(self) -> Result<Checked, RebuildError> {
        let log = Arc::clone(self.replica.log()).stored();
        let checked = published::check(&log, self.builder.replica.store()).await?;
        self.builder.stop().await;
        self.replica.store().generations().remove(VERIFIED)?;
        Ok(checked)
    }

    /// Let the new rows serve; from which offset on they do.
    async fn serve(self) -> Result<u64, RebuildError> {
        self.builder.come_near(self.replica, &|| {}).await?;
        self.tell(Stage::Switching);
        Ok(self.replica.switch(self.builder.replica, self.builder.limit).await?)
    }
}

/// Which generation is built for this, with what is left of an earlier attempt if there is anything.
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

/// Leaves what an earlier attempt built, if that began early enough; else begins with the newest copy of rows that has no record
/// at or behind `anew`, or with nothing.
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

/// Begins as the generation kept, if that is newer than any snapshot, has no record at or behind `anew`, and belongs to the log.
/// Whether it did.
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
