//! What all instances share: the log, the time, chance, and what is going wrong at present.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use orderlog_eventlog::{AppendError, EventLog, Landed, NewRecord, Partition, simulated::SimulatedLog};
use orderlog_history::{Attempt, Line, Outcome};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    chance::Chance,
    tasks::{Owner, Tasks},
};

/// When every run begins, by the clocks of all instances: milliseconds since the epoch.
pub const BEGIN_MS: i64 = 1_790_000_000_000;

/// How often what goes wrong, in thousandths, and how long things take, in milliseconds. Drawn from the seed.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// An append is refused.
    pub refused: u64,
    /// An append is lost, and nobody knows.
    pub lost: u64,
    /// An append lands, and nobody knows.
    pub unknown: u64,
    /// An append lands much later, and nobody knows.
    pub late: u64,
    /// A copy of an append that was acknowledged lands much later.
    pub doubled: u64,
    /// An append overtakes the ones before it.
    pub overtakes: u64,
    /// Asking the log something fails.
    pub unavailable: u64,
    /// Rows can't be written.
    pub unwritable: u64,
    /// What is written to the rows is not synced.
    pub unsynced: u64,
    /// The longest that an append or an acknowledgement takes.
    pub append_ms: u64,
    /// The longest that a record takes to be read.
    pub read_ms: u64,
    /// The longest that rows take.
    pub rows_ms: u64,
    /// The longest that it takes to learn who holds a lease.
    pub lease_ms: u64,
}

impl Faults {
    /// Some of everything, or nothing of some.
    pub fn drawn(chance: &mut Chance) -> Self {
        // Now and then hardly anything works.
        let worse = if chance.of_1000(100) { 5 } else { 1 };
        let mut rate = |most: u64| if chance.of_1000(300) { 0 } else { chance.between(1, most) * worse };
        Self {
            refused: rate(80),
            lost: rate(80),
            unknown: rate(100),
            late: rate(80),
            doubled: rate(150),
            overtakes: rate(100),
            unavailable: rate(60),
            unwritable: rate(80),
            unsynced: rate(900),
            append_ms: rate(60),
            read_ms: rate(80),
            rows_ms: rate(40),
            lease_ms: rate(2_000).min(2_000),
        }
    }
}

/// What all instances share.
pub struct World {
    /// The log itself. Instances reach it by a [`Link`](crate::link::Link).
    pub log: Arc<SimulatedLog>,
    pub tasks: Arc<Tasks>,
    /// Whether everything that happens is printed.
    verbose: bool,
    began: Instant,
    chance: Mutex<Chance>,
    faults: Mutex<Faults>,
    trace: Mutex<blake3::Hasher>,
    /// How many records have landed before each record.
    landed: Mutex<BTreeMap<Partition, Vec<u64>>>,
    n_landed: AtomicU64,
    /// Counts restores: what was on its way before one never lands.
    era: AtomicU64,
    lines: Mutex<Vec<Line>>,
    /// Attempts that nobody was told of yet.
    open: Mutex<BTreeMap<Uuid, Attempt>>,
    n_faults: AtomicU64,
    n_older: AtomicU64,
    n_parked: AtomicU64,
    n_lives: AtomicU64,
}

fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(seed: u64, verbose: bool) -> Arc<Self> {
        Arc::new(Self {
            log: SimulatedLog::new(),
            tasks: Arc::default(),
            verbose,
            began: Instant::now(),
            chance: Mutex::new(Chance::new(seed)),
            faults: Mutex::default(),
            trace: Mutex::new(blake3::Hasher::new()),
            landed: Mutex::default(),
            n_landed: AtomicU64::new(0),
            era: AtomicU64::new(0),
            lines: Mutex::default(),
            open: Mutex::default(),
            n_faults: AtomicU64::new(0),
            n_older: AtomicU64::new(0),
            n_parked: AtomicU64::new(0),
            n_lives: AtomicU64::new(0),
        })
    }

    /// Run this, whichever process dies.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(0, task.boxed());
    }

    /// The number of a new process.
    pub fn next_owner(&self) -> Owner {
        self.n_lives.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What `draw` makes of chance.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut locked(&self.chance))
    }

    /// What goes wrong at present.
    pub fn faults(&self) -> Faults {
        locked(&self.faults).clone()
    }

    /// From now on this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        *locked(&self.faults) = faults;
    }

    /// Whether something that goes wrong in so many of a thousand cases goes wrong now.
    pub fn goes_wrong(&self, of_1000: u64) -> bool {
        let wrong = of_1000 > 0 && self.draw(|chance| chance.of_1000(of_1000));
        self.n_faults.fetch_add(u64::from(wrong), Ordering::Relaxed);
        wrong
    }

    /// How often something went wrong so far.
    pub fn n_faults(&self) -> u64 {
        self.n_faults.load(Ordering::Relaxed)
    }

    /// A process begins, of an older program or the newest.
    pub fn count_older(&self, is_older: bool) {
        self.n_older.fetch_add(u64::from(is_older), Ordering::Relaxed);
    }

    /// How many processes of an older program there were so far.
    pub fn n_older(&self) -> u64 {
        self.n_older.load(Ordering::Relaxed)
    }

    /// So many records were parked by somebody.
    pub fn count_parked(&self, n: u64) {
        self.n_parked.fetch_add(n, Ordering::Relaxed);
    }

    /// How often a record was parked so far.
    pub fn n_parked(&self) -> u64 {
        self.n_parked.load(Ordering::Relaxed)
    }

    /// How long something takes.
    pub fn takes(&self, ms_max: u64) -> Duration {
        if ms_max == 0 { Duration::ZERO } else { self.draw(|chance| chance.ms(0, ms_max)) }
    }

    /// Let so much time go by as something takes.
    pub async fn wait(&self, ms_max: u64) {
        let time = self.takes(ms_max);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The time by a clock that is right, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        BEGIN_MS + self.elapsed_ms()
    }

    /// Something happens: it becomes part of the run's hash, and is printed if somebody reads along.
    pub fn note(&self, who: &str, what: impl Display) {
        let line = format!("{:>8} ms  {who:<16} {what}", self.elapsed_ms());
        locked(&self.trace).update(line.as_bytes()).update(b"\n");
        if self.verbose {
            println!("{line}");
        }
    }

    /// The hash over everything that has happened.
    pub fn trace_hash(&self) -> String {
        locked(&self.trace).finalize().to_hex()[..16].to_owned()
    }

    /// A record lands in the log.
    pub fn land(&self, who: &str, record: NewRecord) -> Result<Landed, AppendError> {
        let (topic, bytes) = (Arc::clone(&record.topic), digest(&record));
        self.log.set_time_ms(self.now_ms());
        let answers = self.log.append(vec![record]).now_or_never().unwrap_or_default();
        let answer = answers.into_iter().next().expect("a log that holds nothing back answers at once");
        if let Ok(Landed { partition, offset }) = &answer {
            let n = self.n_landed.fetch_add(1, Ordering::Relaxed);
            locked(&self.landed).entry(Partition::new(Arc::clone(&topic), *partition)).or_default().push(n);
            self.note(who, format_args!("lands {topic}@{offset} {bytes}"));
        }
        answer
    }

    /// How many records have landed.
    pub fn n_landed(&self) -> u64 {
        self.n_landed.load(Ordering::Relaxed)
    }

    /// How many records had landed before the one there.
    pub fn landed_before(&self, partition: &Partition, offset: u64) -> Option<u64> {
        let at = usize::try_from(offset).ok()?;
        locked(&self.landed).get(partition)?.get(at).copied()
    }

    /// Where each partition ended just before the last record of this one landed, if it has any.
    pub fn ends_before_last(&self, partition: &Partition) -> Option<BTreeMap<Partition, u64>> {
        let landed = locked(&self.landed);
        let last = *landed.get(partition)?.last()?;
        let end = |it: &Partition| landed.get(it).map_or(0, |all| all.partition_point(|n| *n < last) as u64);
        Some(self.log.all_ends().into_keys().map(|it| (it.clone(), end(&it))).collect())
    }

    /// Which era it is; see [`World::restore`].
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Relaxed)
    }

    /// Somebody puts an older copy of the whole log in its place. Nothing of the time since then lands any more.
    pub fn restore(&self, ends: &BTreeMap<Partition, u64>) {
        self.era.fetch_add(1, Ordering::Relaxed);
        let mut landed = locked(&self.landed);
        for (partition, end) in ends {
            self.log.truncate_partition(partition, *end);
            if let Some(landed) = landed.get_mut(partition) {
                landed.truncate(usize::try_from(*end).unwrap_or(usize::MAX));
            }
        }
    }

    /// How many lines the history has.
    pub fn n_lines(&self) -> usize {
        locked(&self.lines).len()
    }

    /// A line of the history.
    pub fn tell(&self, line: Line) {
        locked(&self.lines).push(line);
    }

    /// An attempt begins. Its client may never be there to write down what it was told.
    pub fn begin_attempt(&self, attempt: Attempt) {
        locked(&self.open).insert(attempt.id, attempt);
    }

    /// A client is answered what became of its attempt, while the clock of the instance showed times between these.
    pub fn end_attempt(&self, id: Uuid, clock: [i64; 2], outcome: Outcome) {
        if let Some(attempt) = locked(&self.open).remove(&id) {
            let (answered, clock) = (Some(self.n_landed()), Some(clock));
            self.tell(Line::Attempt(Box::new(Attempt { answered, clock, outcome, ..attempt })));
        }
    }

    /// All lines; those of attempts that were never answered come last.
    pub fn all_lines(&self) -> Vec<Line> {
        let unanswered =
            locked(&self.open).values().cloned().map(|attempt| Line::Attempt(Box::new(attempt))).collect::<Vec<_>>();
        locked(&self.lines).iter().cloned().chain(unanswered).collect()
    }

    /// All lines, to look at and to change.
    pub fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        locked(&self.lines)
    }
}

fn digest(record: &NewRecord) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in &record.headers {
        hasher.update(name.as_bytes()).update(value);
    }
    let hash = hasher.update(&record.value).finalize().to_hex()[..8].to_owned();
    format!("{hash} {}", String::from_utf8_lossy(&record.value).chars().take(60).collect::<String>())
}
