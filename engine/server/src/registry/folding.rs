//! Instances that only fold, for commands on a stopped server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_core::decider::Decider;
use orderlog_eventlog::ReadError;
use orderlog_readmodel::{StoreError, Tables};
use orderlog_runtime::{
    projection::LiveProjection,
    replica::{Damage, Replica, Setup, StartError},
    snapshots::Keeping,
};

/// How long the instance that found the damage has to close its file.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// How often to check whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why an instance can't catch up.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Start(#[from] StartError),
    /// The read model turned out to be damaged.
    #[error("{0}")]
    DamagedRows(String),
    /// A record of the journal turned out to be damaged, which no read model can repair.
    #[error("{0}")]
    DamagedJournal(String),
    #[error("{0}")]
    Stopped(String),
}

impl From<StoreError> for FoldError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

impl FoldError {
    /// Whether the read model is at fault: damaged, of another log, or of another service.
    pub fn is_fault_of_rows(&self) -> bool {
        match self {
            Self::Start(StartError::OtherHistory { .. } | StartError::Rows(StoreError::Foreign { .. })) => true,
            Self::Start(StartError::Rows(error)) => error.is_damage(),
            Self::DamagedRows(_) => true,
            Self::Start(StartError::Journal(_)) | Self::DamagedJournal(_) | Self::Stopped(_) => false,
        }
    }

    /// Whether a record of the journal was found to be damaged at the start.
    pub fn is_damaged_log(&self) -> bool {
        matches!(self, Self::Start(StartError::Journal(ReadError::Damaged { .. })))
    }
}

/// An instance on the read model in `keeping` that has caught up.
pub async fn caught_up<D: Decider>(
    setup: Setup,
    tables: &'static Tables<D>,
    keeping: &Keeping,
) -> Result<Replica<D>, FoldError> {
    let store = keeping.open(tables, setup.log.as_ref()).await?;
    let replica = Replica::start(setup, Arc::new(store)).await?;
    match replica.ready().await {
        Ok(()) => Ok(replica),
        Err(why) => Err(match replica.damage() {
            Some(Damage::Rows) => FoldError::DamagedRows(why),
            Some(Damage::Journal) => FoldError::DamagedJournal(why),
            None => FoldError::Stopped(why),
        }),
    }
}

/// Rebuilds the read model from the log, once the instance that found the damage has closed its file.
pub async fn built_anew<D: Decider>(
    setup: Setup,
    tables: &'static Tables<D>,
    keeping: &Keeping,
) -> Result<LiveProjection<D>, FoldError> {
    let began = Instant::now();
    loop {
        match keeping.begin_anew(tables, setup.log.as_ref()).await {
            Err(StartError::Rows(StoreError::InUse { .. })) if began.elapsed() < CLOSED_WITHIN => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            outcome => break outcome?,
        }
    }
    let replica = caught_up(setup, tables, keeping).await?;
    Ok(LiveProjection::built(replica, began.elapsed()))
}
