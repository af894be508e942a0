//! The instance that builds a generation, and the comparison of its rows.

use std::{path::Path, sync::Arc, time::Duration};

use orderlog_core::decider::Decider;
use orderlog_readmodel::{Difference, Generations, Store};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::{CheckedSnapshot, LOOK_EVERY, RebuildError, RowDifference, copies};
use crate::{
    aside,
    replica::{Reach, Replica, Setup, State, SwitchError},
};

/// A builder further behind than this must catch up before the rows are compared or switched, in records.
const NEAR: u64 = 1_000;
/// How long a builder may take for the last records.
const PATIENCE: Duration = Duration::from_secs(30);

/// The instance that builds a generation.
pub(super) struct Builder<D: Decider> {
    pub replica: Replica<D>,
    /// The position of its rows when it started. It may have advanced far before anyone reads this.
    pub from: u64,
    pub limit: watch::Sender<u64>,
}

impl<D: Decider> Builder<D> {
    pub async fn start(
        of: &Replica<D>,
        generations: &Generations<D>,
        number: u32,
        first_stop: Option<u64>,
    ) -> Result<Self, RebuildError> {
        // Never beyond the serving rows: both must be observed at the same offset.
        let target = *of.committed().borrow();
        let limit = watch::Sender::new(first_stop.unwrap_or(target).min(target));
        let (started, outcome) = oneshot::channel();
        let setup = of.setup().clone();
        let (writer, log) = (setup.environment.mint(), Arc::clone(&setup.log).stored());
        let setup = Setup { writer, log, ..setup };
        let (generations, reach) = (generations.clone(), Reach { target, limit: limit.subscribe() });
        let name = format!("rebuild-{}", D::JOURNAL);
        aside::spawn(name, move || build(setup, generations, number, reach, started))?;
        let ended = || RebuildError::Stopped("its thread ended".to_owned());
        let (replica, from) = outcome.await.map_err(|_| ended())??;
        Ok(Self { replica, from, limit })
    }

    pub fn position(&self) -> u64 {
        *self.replica.committed().borrow()
    }

    /// Lets it advance to the position of the serving rows. Returns the distance left, in records.
    fn follow(&self, serving: &Replica<D>) -> Result<u64, RebuildError> {
        self.go_to(*serving.committed().borrow())
    }

    /// Lets it advance until it is near the serving rows, and calls `tell` at each poll until then.
    pub async fn come_near(&self, serving: &Replica<D>, tell: &(impl Fn() + Sync)) -> Result<(), RebuildError> {
        while self.follow(serving)? > NEAR {
            tell();
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Lets it advance to the offset `here`. Returns the distance left, in records.
    fn go_to(&self, here: u64) -> Result<u64, RebuildError> {
        if let State::Stopped(why) = &*self.replica.state().borrow() {
            let why = why.clone();
            return Err(if self.replica.damage().is_some() {
                RebuildError::Damage(why)
            } else {
                RebuildError::Stopped(why)
            });
        }
        self.limit.send_replace(here);
        Ok(here.saturating_sub(self.position()))
    }

    /// Checks each snapshot: its bytes, and its rows, compared when the builder is at the snapshot's offset.
    pub async fn check_snapshots(
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
                    match self.compare_snapshot(serving, &snapshots.file(position)).await {
                        Ok(differences) => differences.first().map(|first| {
                            format!("{} rows differ, the first is {} {}", differences.len(), first.table, first.key)
                        }),
                        Err(RebuildError::Rows(error)) if error.is_damage() => Some(error.to_string()),
                        Err(error) => return Err(error),
                    }
                }
            };
            checked.push(CheckedSnapshot { position, fault });
        }
        Ok(checked)
    }

    async fn compare_snapshot(&self, serving: &Replica<D>, file: &Path) -> Result<Vec<Difference>, RebuildError> {
        let mut pinned = self.replica.store().pin_snapshot(file).await?;
        copies::expect::<D>(serving.log().as_ref(), &mut pinned).await?;
        Ok(pinned.compare().await?)
    }

    /// Returns the offset of the comparison and the rows that differ.
    pub async fn compare(&self, serving: &Replica<D>) -> Result<(u64, Vec<RowDifference>), RebuildError> {
        let mut pinned = serving.store().pin(&self.replica.store()).await?;
        let here = pinned.next;
        self.limit.send_replace(here);
        let mut committed = self.replica.committed();
        // Exactly equal: the serving rows may have been rebuilt, and so have fallen behind.
        let is_there = committed.wait_for(|committed| *committed == here);
        let mut state = self.replica.state();
        tokio::select! {
            biased;
            arrived = tokio::time::timeout(PATIENCE, is_there) => {
                if arrived.is_err() {
                    return Err(SwitchError::TooLate(self.replica.store().generation()).into());
                }
            }
            // It will no longer get there. Damage is reported immediately.
            _ = state.wait_for(|state| matches!(state, State::Stopped(_))) => {
                self.go_to(here)?;
            }
        }
        copies::expect::<D>(serving.log().as_ref(), &mut pinned).await?;
        let differences = pinned.compare().await?;
        let mut differences: Vec<_> = differences.into_iter().map(RowDifference::from).collect();
        differences.sort_by_key(|difference| difference.offset);
        Ok((here, differences))
    }

    /// Stops it and leaves its file as it is.
    pub async fn stop(self) {
        let mut state = self.replica.state();
        drop(self);
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            warn!(service = D::JOURNAL, "the instance that built rows of {} does not end", D::JOURNAL);
        }
    }
}

/// The body of the builder's thread: runs an instance until it stops. `started` receives the instance and the position of its rows.
async fn build<D: Decider>(
    setup: Setup,
    generations: Generations<D>,
    number: u32,
    reach: Reach,
    started: oneshot::Sender<Result<(Replica<D>, u64), RebuildError>>,
) {
    let building = async {
        let store = Arc::new(Store::open_generation(&generations, number).await?);
        let from = store.checkpoint().await?.next;
        Ok((Replica::start_up_to(setup, store, reach).await?, from))
    };
    let building = building.await;
    let state = building.as_ref().map(|(replica, _)| replica.state()).ok();
    drop(started.send(building));
    if let Some(mut state) = state {
        drop(state.wait_for(|state| matches!(state, State::Stopped(_))).await);
    }
}
