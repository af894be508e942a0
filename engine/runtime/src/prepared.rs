//! Builds a read model ahead of an upgrade, beside the server of the earlier version, and lets the first start of the new version
//! adopt it.
//!
//! An instance without background tasks folds the journal into a file of its own and copies facts from public topics. The server
//! does not take part. The file is adopted only if its tables are those of the program that starts and its last record is in the log;
//! what the log got since then is folded like after any other start.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use orderlog_core::decider::Decider;
use orderlog_eventlog::{EventLog, Partition, ReadError};
use orderlog_readmodel::{Generations, Prepared, Store, StoreError, Tables, prepared_in};
use serde::Serialize;
use tracing::{info, warn};

use crate::{
    partitions_of,
    replica::{Damage, Replica, Setup, StartError, State, same_history},
};

/// A prepared read model lacks so few records that the start which adopts it catches up within a moment.
const NEAR: u64 = 1_000;
/// How long a start waits for a program that still prepares. That program ends soon after the server that it ran beside.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a read model can't be prepared. The serving one is not affected.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the read model of {0} is being prepared by another process")]
    UnderWay(&'static str),
    #[error(transparent)]
    Start(#[from] StartError),
    /// What was prepared so far is damaged.
    #[error("{why}: delete {file} and run the command again")]
    Damaged { why: String, file: String },
    /// A record of the journal is damaged.
    #[error("{0}")]
    DamagedJournal(String),
    /// It can't go on now. What was prepared so far is kept.
    #[error("the read model of {service} can't be prepared: {why}; run the command again to resume")]
    Stopped { service: &'static str, why: String },
}

impl PrepareError {
    /// Whether the log can't be read at the moment.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Start(StartError::Journal(ReadError::Unavailable { .. })))
    }
}

impl From<StoreError> for PrepareError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

impl From<ReadError> for PrepareError {
    fn from(error: ReadError) -> Self {
        Self::Start(error.into())
    }
}

/// How far a read model is prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub service: &'static str,
    /// The schema version of its tables.
    pub schema: String,
    /// Where it was when this program began. Above 0, it resumes an earlier attempt.
    pub from: u64,
    /// Every record below this offset is folded.
    pub position: u64,
    /// One past the last record of the journal.
    pub end: u64,
    /// The number of records that it lacks: of the journal, and of the topics from which it copies facts.
    pub n_missing: u64,
    /// The number of records that this version can't read, with those behind them.
    pub n_parked: u64,
    /// Whether it has its indexes and lacks few records.
    pub near: bool,
}

/// A read model that is being prepared.
#[async_trait]
pub trait Preparation: Send + Sync {
    async fn progress(&self) -> Result<Progress, PrepareError>;

    /// Ends it and closes its file.
    async fn stop(self: Box<Self>);
}

struct Preparing<D: Decider> {
    replica: Replica<D>,
    from: u64,
    /// The journal, then the partitions from which facts are copied.
    sources: Vec<Partition>,
}

/// Starts to prepare a service's read model, or resumes that. Returns `None` if the serving one has the same tables already.
///
/// # Errors
/// [`PrepareError`], for example if another process prepares it.
pub async fn begin<D: Decider>(
    setup: Setup,
    tables: &'static Tables<D>,
    data: &Path,
) -> Result<Option<Box<dyn Preparation>>, PrepareError> {
    if Generations::serves_these_tables(data, tables).await? == Some(true) {
        return Ok(None);
    }
    let prepared = Prepared::lock(data, tables).map_err(|error| match error {
        StoreError::InUse { .. } => PrepareError::UnderWay(D::JOURNAL),
        error => error.into(),
    })?;
    match position_of(&prepared, data, setup.log.as_ref()).await {
        Ok(_) => {}
        Err(why) if why.is_permanent() => {
            warn!(service = D::JOURNAL, "what was prepared of {} is deleted: {why}", D::JOURNAL);
            prepared.remove()?;
        }
        Err(Unusable::OtherTables { .. }) => prepared.remove()?,
        Err(Unusable::Start(error)) => return Err(error.into()),
    }
    let mut sources = vec![Partition::journal(D::JOURNAL)];
    sources.extend(partitions_of(setup.log.as_ref(), D::COPIES).await?);
    let store = prepared.open().await?;
    let from = store.checkpoint().await?.next;
    let replica = Replica::start(setup, Arc::new(store)).await?;
    Ok(Some(Box::new(Preparing { replica, from, sources })))
}

#[async_trait]
impl<D: Decider> Preparation for Preparing<D> {
    async fn progress(&self) -> Result<Progress, PrepareError> {
        let (replica, service) = (&self.replica, D::JOURNAL);
        let state = replica.state().borrow().clone();
        let stopped = if let State::Stopped(why) = &state { Some(why.clone()) } else { None };
        if let Some(why) = stopped.or_else(|| replica.trouble()) {
            return Err(match replica.damage() {
                Some(Damage::Rows) => PrepareError::Damaged { why, file: replica.store().file().display().to_string() },
                Some(Damage::Journal) => PrepareError::DamagedJournal(why),
                None => PrepareError::Stopped { service, why },
            });
        }
        let store = replica.store();
        let (checkpoint, n_parked) = (store.checkpoint().await?, store.n_parked().await?);
        let ends = replica.log().ends(&self.sources).await?;
        let copied = |Partition { topic, index }: &Partition| {
            let row = checkpoint.copied.iter().find(|row| *row.topic == **topic && row.part == *index);
            row.map_or(0, |row| row.next)
        };
        let copied = self.sources.iter().skip(1).map(copied);
        let positions = std::iter::once(checkpoint.next).chain(copied);
        let n_missing = ends.iter().zip(positions).map(|(end, position)| end.saturating_sub(position)).sum();
        let (schema, end) = (store.tables().version(), ends.first().copied().unwrap_or(0));
        let near = state == State::Ready && n_missing <= NEAR;
        Ok(Progress { service, schema, from: self.from, position: checkpoint.next, end, n_missing, n_parked, near })
    }

    async fn stop(self: Box<Self>) {
        let Self { replica, .. } = *self;
        let mut state = replica.state();
        drop(replica);
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            warn!(service = D::JOURNAL, "the instance that prepared {} does not end", D::JOURNAL);
        }
    }
}

/// Why a prepared read model is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it has tables of version {found}, this program has {expected}")]
    OtherTables { found: String, expected: String },
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<StoreError> for Unusable {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

impl Unusable {
    /// Whether it is damaged, or belongs to another service or log.
    const fn is_permanent(&self) -> bool {
        match self {
            Self::Start(StartError::OtherHistory { .. } | StartError::Rows(StoreError::Foreign { .. })) => true,
            Self::Start(StartError::Rows(error)) => error.is_damage(),
            Self::Start(StartError::Journal(_)) | Self::OtherTables { .. } => false,
        }
    }
}

/// Checks that what is prepared has the tables of this program and belongs to the log. Returns its position; `None` if nothing is
/// prepared.
async fn position_of<D: Decider>(
    prepared: &Prepared<D>,
    data: &Path,
    log: &dyn EventLog,
) -> Result<Option<u64>, Unusable> {
    if !prepared.file().exists() {
        return Ok(None);
    }
    let Some(store) = prepared.read().await? else {
        let found = prepared_in(data, D::JOURNAL).await.map_or_else(|| "unknown".to_owned(), |ahead| ahead.schema);
        return Err(Unusable::OtherTables { found, expected: prepared.tables().version() });
    };
    let belongs = belongs(&store, log).await;
    store.close().await;
    Ok(belongs.map(Some)?)
}

async fn belongs<D: Decider>(store: &Store<D>, log: &dyn EventLog) -> Result<u64, StartError> {
    let checkpoint = store.checkpoint().await?;
    same_history::<D>(log, &checkpoint).await?;
    Ok(checkpoint.next)
}

/// Makes what is prepared the generation `number`, unless that one has the tables of this program. What can't be used is
/// passed over.
pub(crate) async fn adopt<D: Decider>(
    generations: &Generations<D>,
    number: u32,
    data: &Path,
    log: &dyn EventLog,
) -> Result<(), StoreError> {
    let Some(prepared) = find(data, generations.tables()).await else { return Ok(()) };
    let service = D::JOURNAL;
    if generations.has_these_tables(number).await? == Some(true) {
        let is_superseded = matches!(prepared.read().await, Ok(Some(_)));
        return if is_superseded { prepared.remove() } else { Ok(()) };
    }
    let adopted = match position_of(&prepared, data, log).await {
        Ok(None) => return Ok(()),
        Ok(Some(position)) => prepared.replace(generations, number).await.map(|()| position).map_err(Unusable::from),
        Err(why) => Err(why),
    };
    match adopted {
        Ok(position) => info!(service, "the read model of {service} was prepared up to {service}@{position}: adopted"),
        Err(why) => warn!(service, "{} is not adopted: {why}", prepared.file().display()),
    }
    Ok(())
}

/// Locks what is prepared, once the program that prepares it has ended; `None` if nothing is, or it can't be used.
async fn find<D: Decider>(data: &Path, tables: &'static Tables<D>) -> Option<Prepared<D>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match Prepared::find(data, tables) {
            Err(StoreError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => {
                warn!(service = D::JOURNAL, "what is prepared of {} can't be used: {error}", D::JOURNAL);
                return None;
            }
            Ok(prepared) => return prepared,
        }
    }
}
