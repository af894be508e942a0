//! How a replica starts: the rows' checkpoint against the journal, then the loop.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures_util::FutureExt;
use orderlog_domain::{
    core::{Checkpoint, CopiedRow, Core, chain},
    header::HEADER,
    planted::{self, Bug},
};
use orderlog_eventlog::{EventLog, Mark, Partition, ReadError};
use orderlog_projections::{Rows, StoreError, Tables};
use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use super::{
    LoopError, Replica, Setup, Shared, StartError, State,
    ending::Ending,
    run::{Inbox, Loop, NewCore},
};
use crate::{lag::Lag, marks, measures::Measures, partitions_of};

/// More commands than this are not queued between the callers and the loop.
const N_ASKS_MAX: usize = 4_096;

impl<D: Tables, R: Rows<D>> Replica<D, R> {
    /// Start an instance of the service on its rows. It catches up by itself; see [`Replica::ready`].
    ///
    /// # Errors
    /// [`StartError`], where going on would mix two histories.
    pub async fn start(setup: Setup, store: Arc<R>) -> Result<Self, StartError> {
        Self::start_up_to(setup, store, (u64::MAX, watch::Sender::new(u64::MAX).subscribe())).await
    }

    /// The same, for an instance that folds no record at or above `limit`, which may be raised. It is ready once it has come
    /// to where the journal ends now, or to `target`.
    ///
    /// # Errors
    /// [`StartError`], where going on would mix two histories.
    pub async fn start_up_to(
        setup: Setup,
        store: Arc<R>,
        (target, limit): (u64, watch::Receiver<u64>),
    ) -> Result<Self, StartError> {
        let checkpoint = store.checkpoint().await?;
        same_history::<D>(setup.log.as_ref(), &checkpoint).await?;
        let copies = partitions_of(setup.log.as_ref(), D::COPIES).await?;
        let end = setup.log.ends(&[Self::journal()]).await?[0];
        info!(
            service = D::JOURNAL,
            from = checkpoint.next,
            end,
            "{} goes on at offset {}",
            D::JOURNAL,
            checkpoint.next
        );

        let (asks, asked) = mpsc::channel(N_ASKS_MAX);
        let (switches, to_switch) = mpsc::channel(1);
        let (repairs, to_repair) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            answered: AtomicU64::new(0),
            committed: watch::Sender::new(checkpoint.next),
            folded: watch::Sender::new(checkpoint.next),
            state: watch::Sender::new(State::CatchingUp),
            trouble: watch::Sender::new(None),
            found_damage: AtomicBool::new(false),
            rebuilding: AtomicBool::new(false),
            n_bytes: AtomicU64::new(0),
            ending: Ending::default(),
            lag: Lag::default(),
            measures: Arc::new(Measures::new(D::JOURNAL)),
        });
        let surroundings = Arc::clone(&setup.surroundings);
        let new_core = cores(&setup);
        let mut core = new_core(checkpoint);
        core.expect(end);
        core.recall(store.set_aside().await?);
        // What parked it may have been an older program.
        if !planted::has(Bug::NeverRetry) {
            core.retry();
        }
        let serving = Arc::new(RwLock::new(store));
        let (of_loop, rows) = (Arc::clone(&shared), Arc::clone(&serving));
        let inbox = Inbox { asked, to_switch, to_repair };
        let event_loop = Loop::new((core, new_core), setup.clone(), rows, inbox, of_loop, copies, (end, target, limit));
        let replica = Self { asks, switches, repairs, shared: Arc::clone(&shared), serving, setup, news: None };
        let running = async move {
            let state = match event_loop.run().await {
                Ok(()) => State::Stopped("it was asked to stop".to_owned()),
                Err(failure) => {
                    error!(service = D::JOURNAL, "{} stopped: {failure}", D::JOURNAL);
                    let is_damage = matches!(
                        failure,
                        LoopError::Stop(_)
                            | LoopError::Rows(StoreError::Damaged { .. })
                            | LoopError::Journal(ReadError::Damaged { .. })
                    );
                    shared.found_damage.store(is_damage, Ordering::Relaxed);
                    State::Stopped(failure.to_string())
                }
            };
            shared.state.send_replace(state);
        };
        surroundings.spawn(running.boxed());
        Ok(replica)
    }
}

/// What makes cores for this instance.
fn cores<D: Tables>(setup: &Setup) -> NewCore<D> {
    let Setup { writer, n_slots_max, surroundings, .. } = setup.clone();
    let hash_key = setup.hash_key.fingerprint();
    Box::new(move |checkpoint| {
        let surroundings = Arc::clone(&surroundings);
        let unknown = surroundings.unknown();
        Core::new(checkpoint, writer, hash_key.clone(), Box::new(move || surroundings.mint()), n_slots_max)
            .without(unknown)
    })
}

/// The last record that the rows were built from must be the journal's, and the last of each topic that facts were copied from must be
/// the topic's: a restored or exchanged log is noticed here.
pub(crate) async fn same_history<D: Tables>(log: &dyn EventLog, checkpoint: &Checkpoint) -> Result<(), StartError> {
    if planted::has(Bug::IgnoreOtherHistory) {
        return Ok(());
    }
    let other = |why: String| StartError::OtherHistory { service: D::JOURNAL, why };
    if let Some(why) = copied_elsewhere(log, &checkpoint.copied).await? {
        return Err(other(why));
    }
    let Some((last, before)) = &checkpoint.last else { return Ok(()) };
    let record = match log.fetch(&Partition::journal(D::JOURNAL), &[last.offset]).await {
        Ok(records) => records.into_iter().next(),
        Err(ReadError::OutOfRange { end, .. }) => {
            return Err(other(format!("they stand at offset {}, the journal ends at {end}", checkpoint.next)));
        }
        Err(error) => return Err(error.into()),
    };
    let digest = record.map(|record| {
        let header = record.header(HEADER).map_or(&[][..], AsRef::as_ref);
        chain(before, last.offset, header, &record.value)
    });
    if digest == Some(last.digest) {
        Ok(())
    } else {
        Err(other(format!("the record at offset {} is another one", last.offset)))
    }
}

/// Why facts were copied from topics of another history, if they were.
async fn copied_elsewhere(log: &dyn EventLog, copied: &[CopiedRow]) -> Result<Option<String>, ReadError> {
    let partitions: Vec<_> = copied.iter().map(|row| Partition::new(row.topic.as_str(), row.part)).collect();
    let ends = if copied.is_empty() { Vec::new() } else { log.ends(&partitions).await? };
    for ((CopiedRow { next, print, .. }, partition), end) in copied.iter().zip(partitions).zip(ends) {
        if *next > end {
            return Ok(Some(format!("they have copied facts up to {next} of {partition}, which ends at {end}")));
        }
        let last = Mark { partition, offset: next.saturating_sub(1), print: *print };
        if !marks::stands(log, &last).await? {
            let Mark { partition, offset, .. } = last;
            return Ok(Some(format!("they have copied facts up to {partition}@{offset}, where another record stands")));
        }
    }
    Ok(None)
}
