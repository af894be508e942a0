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

use std::{sync::Arc, time::Duration};

use orderlog_eventlog::EventLog;
use orderlog_projections::{Copied, Difference, Generations, SnapshotError, Store, StoreError, Tables};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tracing::warn;

use crate::{
    aside,
    past::PastError,
    replica::{Rebuilding, Replica, Setup, StartError, State, SwitchError, same_history},
    snapshots,
};

/// A builder that is farther behind than this is left to catch up before the rows are compared or switched.
const NEAR: u64 = 1_000;
/// How long a builder may take for the last records.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// Rows are compared.
    Comparing,
    /// The new generation takes over.
    Switching,
    /// It is done with.
    Done,
}

/// How a rebuild goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What is happening.
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
    /// The offset from which on the new generation serves; none if it does not.
    pub serves_from: Option<u64>,
    /// Rows up to here were copied from a snapshot or a generation kept; 0: all were folded from the first record.
    pub base: u64,
    /// The snapshots, compared at their own offsets; only to verify.
    pub snapshots: Vec<CheckedSnapshot>,
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
    /// Its table.
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
        Self { table: table.to_owned(), key, offset, serving: here, rebuilt: there }
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
    /// Rows.
    #[error(transparent)]
    Rows(#[from] StoreError),
    /// Snapshots.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The instance that builds can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The journal or the rows are not what they were when they were written.
    #[error("{0}")]
    Damage(String),
    /// It stopped.
    #[error("the new generation can't be built on: {0}")]
    Stopped(String),
    /// Its thread can't be started.
    #[error("a thread can't be started")]
    Thread(#[from] std::io::Error),
    /// The new generation did not take over.
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

/// Do it, and tell how it goes. Records from the offset `anew` on are folded anew in any case; what is before may be copied.
///
/// # Errors
/// [`RebuildError`]; what was built so far is kept, and the next rebuild goes on with it.
pub async fn run<D: Tables>(
    rebuilding: Rebuilding<D>,
    goal: Goal,
    anew: u64,
    progress: &watch::Sender<Option<Progress>>,
) -> Result<Report, RebuildError> {
    let replica = rebuilding.replica();
    if goal == Goal::Verify {
        // Rows are compared in the order of their keys: an index that leads elsewhere would not be noticed by that.
        replica.store().check().await?;
    }
    let generations = replica.store().generations().clone();
    let number = begin(&generations, goal, anew, replica.log().as_ref()).await?;
    // Snapshots are compared on the way, each where it stands.
    let stops = if goal == Goal::Verify { generations.snapshots().positions()? } else { Vec::new() };
    let began = Instant::now();
    let builder = Builder::start(replica, &generations, number, stops.first().copied()).await?;
    let (base, from) = (builder.replica.store().base().await?, builder.from);
    let tell = |stage, builder: &Builder<D>| {
        let (position, end) = (builder.position(), *replica.committed().borrow());
        let bytes = builder.replica.n_bytes();
        progress.send_replace(Some(Progress { stage, generation: number, from, base, position, end, bytes }));
    };
    tell(Stage::Replaying, &builder);
    let snapshots = builder.check_snapshots(replica, &stops, &|| tell(Stage::Replaying, &builder)).await?;
    builder.come_near(replica, &|| tell(Stage::Replaying, &builder)).await?;
    let replay_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tell(Stage::Comparing, &builder);
    let (compared_at, differences) = builder.compare(replica).await?;
    let n_records = builder.position().saturating_sub(from);
    let serves_from = match goal {
        Goal::Verify => {
            builder.stop().await;
            generations.remove(VERIFIED)?;
            None
        }
        Goal::Rebuild if !differences.is_empty() => {
            builder.stop().await;
            None
        }
        Goal::Rebuild | Goal::Replace | Goal::Rollback => {
            builder.come_near(replica, &|| {}).await?;
            tell(Stage::Switching, &builder);
            Some(replica.switch(builder.replica, builder.limit).await?)
        }
    };
    // Whoever has these rows replaced says that they were wrong, and so may be copies of them.
    let snapshots_deleted = goal == Goal::Replace
        && serves_from.is_some()
        && !differences.is_empty()
        && generations.snapshots().remove_behind(base)?;
    progress.send_modify(|progress| {
        if let Some(progress) = progress {
            (progress.stage, progress.position) = (Stage::Done, compared_at.max(serves_from.unwrap_or(0)));
        }
    });
    Ok(Report {
        generation: number,
        compared_at,
        differences,
        serves_from,
        base,
        snapshots,
        snapshots_deleted,
        n_records,
        replay_ms,
    })
}

/// Which generation is built for this, with what is left of an earlier attempt if there is anything.
async fn begin<D: Tables>(
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
async fn begin_next<D: Tables>(
    generations: &Generations<D>,
    number: u32,
    anew: u64,
    log: &dyn EventLog,
) -> Result<(), RebuildError> {
    if generations.file(number).exists() {
        let store = generations.open(number).await?;
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
async fn begin_as_before<D: Tables>(
    generations: &Generations<D>,
    number: u32,
    anew: u64,
    log: &dyn EventLog,
) -> Result<bool, RebuildError> {
    let Some(before) = generations.before()?.filter(|before| generations.file(*before).exists()) else {
        return Ok(false);
    };
    let newest = generations.snapshots().positions()?.into_iter().rfind(|position| *position <= anew);
    let store = generations.open(before).await?;
    let checkpoint = store.checkpoint().await?;
    let is_newer = checkpoint.next > newest.unwrap_or(0) && checkpoint.next <= anew;
    let is_good = is_newer && same_history::<D>(log, &checkpoint).await.is_ok();
    if is_good {
        generations.begin_from(number, &store).await?;
    }
    store.close().await;
    Ok(is_good)
}

/// The instance that builds a generation.
struct Builder<D: Tables> {
    replica: Replica<D>,
    /// Where its rows stood before it went on: it may have come far by the time that anybody looks.
    from: u64,
    limit: watch::Sender<u64>,
}

impl<D: Tables> Builder<D> {
    async fn start(
        of: &Replica<D>,
        generations: &Generations<D>,
        number: u32,
        first_stop: Option<u64>,
    ) -> Result<Self, RebuildError> {
        // Never farther than the serving rows: both have to be found at the same offset.
        let target = *of.committed().borrow();
        let limit = watch::Sender::new(first_stop.unwrap_or(target).min(target));
        let (started, outcome) = oneshot::channel();
        let setup = Setup { writer: of.setup().surroundings.mint(), ..of.setup().clone() };
        let (generations, up_to) = (generations.clone(), (target, limit.subscribe()));
        let name = format!("rebuild-{}", D::JOURNAL);
        aside::spawn(name, move || build(setup, generations, number, up_to, started))?;
        let ended = || RebuildError::Stopped("its thread ended".to_owned());
        let (replica, from) = outcome.await.map_err(|_| ended())??;
        Ok(Self { replica, from, limit })
    }

    fn position(&self) -> u64 {
        *self.replica.committed().borrow()
    }

    /// Let it go on to where the serving rows stand; how far it is from there.
    fn follow(&self, serving: &Replica<D>) -> Result<u64, RebuildError> {
        self.go_to(*serving.committed().borrow())
    }

    /// Have it follow until it is near the serving rows; each time that it is not yet, `tell`.
    async fn come_near(&self, serving: &Replica<D>, tell: &(impl Fn() + Sync)) -> Result<(), RebuildError> {
        while self.follow(serving)? > NEAR {
            tell();
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Let it go on to there; how far it is from there.
    fn go_to(&self, here: u64) -> Result<u64, RebuildError> {
        if let State::Stopped(why) = &*self.replica.state().borrow() {
            let why = why.clone();
            let is_damaged = self.replica.has_found_damage();
            return Err(if is_damaged { RebuildError::Damage(why) } else { RebuildError::Stopped(why) });
        }
        self.limit.send_replace(here);
        Ok(here.saturating_sub(self.position()))
    }

    /// What is wrong with each snapshot: its bytes, or a row, compared when the builder stands where the snapshot does.
    async fn check_snapshots(
        &self,
        serving: &Replica<D>,
        positions: &[u64],
        tell: &(dyn Fn() + Sync),
    ) -> Result<Vec<CheckedSnapshot>, RebuildError> {
        let (here, mut checked) = (*serving.committed().borrow(), Vec::new());
        let snapshots = self.replica.store().generations().snapshots().clone();
        for &position in positions {
            let fault = match snapshots.check(position) {
                Err(fault) => Some(fault.to_string()),
                Ok(_) if position > here => Some(format!("the rows that serve stand at {here} only")),
                Ok(_) => {
                    while self.go_to(position)? > 0 {
                        tell();
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    let differences = self.replica.store().compare_with(&snapshots.file(position)).await?;
                    differences.first().map(|first| {
                        format!("{} rows differ, the first is {} {}", differences.len(), first.table, first.key)
                    })
                }
            };
            checked.push(CheckedSnapshot { position, fault });
        }
        Ok(checked)
    }

    /// What differs, and the offset at which.
    async fn compare(&self, serving: &Replica<D>) -> Result<(u64, Vec<RowDifference>), RebuildError> {
        let pinned = serving.store().pin(&self.replica.store()).await?;
        let here = pinned.next;
        self.limit.send_replace(here);
        let mut committed = self.replica.committed();
        // Exactly: the serving rows may have begun anew, and so have fallen behind.
        let is_there = committed.wait_for(|committed| *committed == here);
        if tokio::time::timeout(PATIENCE, is_there).await.is_err() {
            return Err(SwitchError::TooLate(self.replica.store().generation()).into());
        }
        let differences = pinned.compare::<D>(Copied::LeftOut).await?;
        let mut differences: Vec<_> = differences.into_iter().map(RowDifference::from).collect();
        differences.sort_by_key(|difference| difference.offset);
        Ok((here, differences))
    }

    /// Have it end, with its file as it is.
    async fn stop(self) {
        let mut state = self.replica.state();
        drop(self);
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            warn!(service = D::JOURNAL, "the instance that built rows of {} does not end", D::JOURNAL);
        }
    }
}

/// What the builder's thread does: it has an instance build, until that stops. Told are the instance, and where its rows stood.
async fn build<D: Tables>(
    setup: Setup,
    generations: Generations<D>,
    number: u32,
    up_to: (u64, watch::Receiver<u64>),
    started: oneshot::Sender<Result<(Replica<D>, u64), RebuildError>>,
) {
    let building = async {
        let store: Arc<Store<D>> = Arc::new(generations.open(number).await?);
        let from = store.checkpoint().await?.next;
        Ok((Replica::start_up_to(setup, store, up_to).await?, from))
    };
    let building = building.await;
    let state = building.as_ref().map(|(replica, _)| replica.state()).ok();
    drop(started.send(building));
    if let Some(mut state) = state {
        drop(state.wait_for(|state| matches!(state, State::Stopped(_))).await);
    }
}
