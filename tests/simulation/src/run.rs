//! One run: a seed decides everything.

use std::{
    cell::Cell,
    ops::{ControlFlow, Range},
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use orderlog_history::{Attempt, Fault, History, Outcome, check, fault};
use tokio::sync::oneshot;

use crate::{
    chance::Chance,
    nemesis, rest,
    shop::Shop,
    workload::Workload,
    world::{Faults, World},
};

/// How many commands a client sends after everything was healed.
const N_COMMANDS_HEALTHY: u64 = 8;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    /// Over everything that happened, in its order.
    pub trace: String,
    /// What can't be. Nothing, if all promises were kept.
    pub faults: Vec<Fault>,
    /// What clients saw, and what log and rows held in the end.
    pub history: History,
    /// How many attempts clients made.
    pub n_attempts: usize,
    /// How many of them were acknowledged.
    pub n_acknowledged: usize,
    /// How many records landed.
    pub n_records: u64,
    /// How often something went wrong on purpose, crashes and such not counted.
    pub n_faults: u64,
    /// How many processes were of an older program.
    pub n_older: u64,
    /// How often one parked a record.
    pub n_parked: u64,
    /// How much time it took in there, in milliseconds.
    pub simulated_ms: i64,
}

thread_local! {
    static N_PANICS: Cell<u32> = const { Cell::new(0) };
}

/// A panic ends a task without a word: it is counted, and is a fault.
fn count_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            N_PANICS.with(|n| n.set(n.get() + 1));
            before(info);
        }));
    });
    N_PANICS.with(|n| n.set(0));
}

/// Run what this seed decides. With `verbose` everything that happens is printed.
///
/// # Panics
/// If there is no runtime to be had.
pub fn run(seed: u64, verbose: bool) -> Report {
    count_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread needs nothing");
    let mut report = runtime.block_on(simulate(seed, verbose));
    let n_panics = N_PANICS.with(Cell::get);
    if n_panics > 0 {
        fault(&mut report.faults, "nothing panics", n_panics);
    }
    report
}

/// Run these seeds on so many threads, each run in one of them. `tell` hears of each as it ends, and says whether to go on.
///
/// # Panics
/// If `tell` does.
pub fn run_all(seeds: Range<u64>, n_threads: usize, tell: impl Fn(&Report) -> ControlFlow<()> + Sync) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if tell(&run(seed, false)).is_break() {
                next.store(seeds.end, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(work);
        }
    });
}

async fn simulate(seed: u64, verbose: bool) -> Report {
    let world = World::new(seed, verbose);
    let tasks = Arc::clone(&world.tasks);
    // Which task is next is drawn apart from everything else.
    tasks.run(Chance::new(!seed), live(seed, world)).await
}

async fn live(seed: u64, world: Arc<World>) -> Report {
    let shop = Shop::open(&world).await;
    let workload = Workload::new(&shop);
    let (n_clients, n_commands) = world.draw(|chance| (chance.between(1, 4), chance.between(8, 25)));
    // The first moments are quiet, so that something is there that can break.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.set_faults(world.draw(Faults::drawn));
    let clients = (1..=n_clients).map(|number| {
        let (done, is_done) = oneshot::channel();
        let client = Arc::clone(&workload).client(number, n_commands);
        world.spawn(async move {
            client.await;
            // Whoever waits is there until the end.
            done.send(()).unwrap_or_default();
        });
        is_done
    });
    let clients: Vec<_> = clients.collect();
    tokio::select! {
        biased;
        () = nemesis::rage(Arc::clone(&shop)) => {}
        _ = join_all(clients) => {}
    }
    shop.may_start.send_replace(true);
    rest::heal(&shop).await;
    let mut faults = Vec::new();
    rest::come_to_rest(&shop, &mut faults).await;
    // What is asked for now is done without delay.
    let healthy_ms = faults.is_empty().then(|| world.now_ms());
    if healthy_ms.is_some() {
        workload.client(n_clients + 1, N_COMMANDS_HEALTHY).await;
        rest::come_to_rest(&shop, &mut faults).await;
    }
    let history = rest::history(&shop, healthy_ms, &mut faults).await;
    faults.extend(check(&history));
    let is_acknowledged = |attempt: &&Attempt| matches!(attempt.outcome, Outcome::Acknowledged { .. });
    let (n_attempts, n_acknowledged) = (history.attempts().count(), history.attempts().filter(is_acknowledged).count());
    Report {
        seed,
        trace: world.trace_hash(),
        faults,
        history,
        n_attempts,
        n_acknowledged,
        n_records: world.n_landed(),
        n_faults: world.n_faults(),
        n_older: world.n_older(),
        n_parked: world.n_parked(),
        simulated_ms: world.elapsed_ms(),
    }
}
