//! How one process reaches the log: appends are late, refused, lost, doubled, out of order, or of unknown outcome; what is read
//! comes late and in pieces; questions fail.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};
use orderlog_eventlog::{
    AppendError, Appending, Batch, EventLog, Landed, Lease, LeaseError, NewRecord, Partition, Position, ReadError,
    Reading, Record, TopicError, TopicSpec,
};
use orderlog_history::SERVICES;
use tokio::{sync::oneshot, time::Instant};

use crate::{lease::DelayedLease, life::Life, world::World};

/// A copy that comes late is at most so late.
const LATE_MS: u64 = 3_000;

/// The log, as one process sees it.
pub struct Link {
    life: Arc<Life>,
    /// Nothing lands before this, so that appends keep their order unless they are meant not to.
    lands_after: Mutex<Instant>,
}

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lands,
    Refused,
    Lost,
    /// It lands, but that is never heard.
    Unheard,
    Late,
}

/// A record on its way.
struct OnItsWay {
    record: NewRecord,
    fate: Fate,
    lands_at: Instant,
    copy: Option<Duration>,
}

impl Link {
    /// The link of this process.
    pub fn new(life: Arc<Life>) -> Arc<Self> {
        Arc::new(Self { life, lands_after: Mutex::new(Instant::now()) })
    }

    fn world(&self) -> &Arc<World> {
        self.life.world()
    }

    /// Ask the log something: that takes its time, and may fail.
    async fn ask(&self) -> Result<(), ReadError> {
        let faults = self.world().faults();
        self.life.gate().await;
        self.world().wait(faults.read_ms / 2).await;
        self.life.gate().await;
        if self.world().goes_wrong(faults.unavailable) {
            return Err(ReadError::Unavailable { reason: "a simulated failure".to_owned() });
        }
        Ok(())
    }

    fn plan(&self, record: NewRecord) -> OnItsWay {
        let (world, faults) = (self.world(), self.world().faults());
        let fate = if world.goes_wrong(faults.refused) {
            Fate::Refused
        } else if world.goes_wrong(faults.lost) {
            Fate::Lost
        } else if world.goes_wrong(faults.unknown) {
            Fate::Unheard
        } else if world.goes_wrong(faults.late) {
            Fate::Late
        } else {
            Fate::Lands
        };
        // A log keeps the order of what it takes. Journals do not rely on that; readers of public topics do.
        let is_journal = SERVICES.contains(&record.topic.as_ref());
        let overtakes = is_journal && world.goes_wrong(faults.overtakes);
        // What came before the record that it expects is void, also if a copy comes after that.
        let is_doubled = world.goes_wrong(faults.doubled) || overtakes && world.draw(|chance| chance.of_1000(500));
        let copy = is_doubled.then(|| late(world));
        let mut lands_after = self.lands_after.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lands_at = Instant::now() + world.takes(faults.append_ms);
        if !overtakes {
            lands_at = lands_at.max(*lands_after);
            *lands_after = lands_at;
        }
        OnItsWay { record, fate, lands_at, copy }
    }
}

/// How late what is late is: much, or just too late.
fn late(world: &World) -> Duration {
    let is_much = world.draw(|chance| chance.of_1000(500));
    world.takes(if is_much { LATE_MS } else { LATE_MS / 10 })
}

/// A record lands later, unless the log is an older one by then.
fn land_later(life: &Arc<Life>, era: u64, after: Duration, record: NewRecord) {
    let (world, life) = (Arc::clone(life.world()), Arc::clone(life));
    world.spawn(async move {
        tokio::time::sleep(after).await;
        if life.world().era() == era {
            drop(life.world().land(&life.name, record));
        }
    });
}

/// Have a record arrive; none if its sender died before it was sent.
async fn arrive(life: &Arc<Life>, era: u64, it: OnItsWay) -> Option<Result<Landed, AppendError>> {
    let OnItsWay { record, fate, lands_at, copy } = it;
    let world = life.world();
    let unknown = || AppendError::Unknown { reason: "a simulated loss of the answer".to_owned() };
    tokio::time::sleep_until(lands_at).await;
    life.unpaused().await;
    if world.era() != era || (life.is_dead() && world.draw(|chance| chance.of_1000(500))) {
        return None;
    }
    if let (Some(after), Fate::Lands | Fate::Unheard) = (copy, fate) {
        land_later(life, era, after, record.clone());
    }
    Some(match fate {
        Fate::Lands => world.land(&life.name, record),
        Fate::Refused => Err(AppendError::Refused { reason: "a simulated refusal".to_owned() }),
        Fate::Lost => Err(unknown()),
        Fate::Unheard => {
            drop(world.land(&life.name, record));
            Err(unknown())
        }
        Fate::Late => {
            land_later(life, era, late(world), record);
            Err(unknown())
        }
    })
}

#[async_trait]
impl EventLog for Link {
    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        self.world().log.prepare(topics).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        self.ask().await?;
        self.world().log.partitions(topic).await
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        if self.life.is_dead() {
            return pending().boxed();
        }
        let plans: Vec<_> = records.into_iter().map(|record| self.plan(record)).collect();
        let (life, era) = (Arc::clone(&self.life), self.world().era());
        let now = Instant::now();
        if plans.iter().all(|it| it.fate == Fate::Lands && it.copy.is_none() && it.lands_at <= now) {
            let landed = plans.into_iter().map(|it| life.world().land(&life.name, it.record)).collect();
            return std::future::ready(landed).boxed();
        }
        let (done, outcome) = oneshot::channel();
        let world = Arc::clone(life.world());
        world.spawn(async move {
            // Those that overtake others land before them.
            let arriving = plans.into_iter().map(|it| arrive(&life, era, it));
            let results: Option<Vec<_>> = futures_util::future::join_all(arriving).await.into_iter().collect();
            life.world().wait(life.world().faults().append_ms).await;
            life.gate().await;
            if let Some(results) = results {
                drop(done.send(results));
            }
        });
        async move {
            match outcome.await {
                Ok(results) => results,
                Err(_) => pending().await,
            }
        }
        .boxed()
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        let (inner, life) = (self.world().log.read(from), Arc::clone(&self.life));
        stream::unfold(Some((inner, life, VecDeque::new())), |state| async move {
            let (mut inner, life, mut pieces) = state?;
            let next = async {
                life.gate().await;
                if pieces.is_empty() {
                    match inner.next().await? {
                        Ok(batch) => pieces = in_pieces(life.world(), batch),
                        Err(error) => return Some(Err(error)),
                    }
                    life.world().wait(life.world().faults().read_ms).await;
                    life.gate().await;
                }
                pieces.pop_front().map(Ok)
            };
            let batch = tokio::select! {
                biased;
                () = life.died() => Some(Err(ReadError::Unavailable { reason: "its process is dead".to_owned() })),
                batch = next => batch,
            }?;
            let goes_on = batch.is_ok().then_some((inner, life, pieces));
            Some((batch, goes_on))
        })
        .boxed()
    }

    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        self.ask().await?;
        let ends = self.world().log.ends(partitions).await;
        self.world().wait(self.world().faults().read_ms / 2).await;
        self.life.gate().await;
        ends
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        self.ask().await?;
        self.world().log.fetch(partition, offsets).await
    }

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        self.life.gate().await;
        self.world().log.positions(group, partitions).await
    }

    fn has_foreign_writers(&self) -> bool {
        self.world().log.has_foreign_writers()
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        self
    }

    async fn lead(&self, group: &str, journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        self.life.gate().await;
        let inner = self.world().log.lead(group, journal).await?;
        Ok(DelayedLease::new(inner, Arc::clone(&self.life)))
    }

    /// Processes die here; what an orderly end lets go of, the tests of the real logs ask.
    async fn close(&self) {}
}

/// A batch in several.
fn in_pieces(world: &World, batch: Batch) -> VecDeque<Batch> {
    let Batch { partition, mut records } = batch;
    let mut pieces = VecDeque::new();
    if world.faults().read_ms > 0 && records.len() > 1 && world.draw(|chance| chance.of_1000(300)) {
        let at = world.draw(|chance| chance.between(1, records.len() as u64 - 1));
        let rest = records.split_off(usize::try_from(at).unwrap_or(1));
        pieces.push_back(Batch { partition: partition.clone(), records });
        pieces.push_back(Batch { partition, records: rest });
    } else {
        pieces.push_back(Batch { partition, records });
    }
    pieces
}
