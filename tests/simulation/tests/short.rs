//! The short form: so many seeds as a build has time for. `cargo run --release -p orderlog-simulation -- --seeds N` runs more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use orderlog_simulation::run;

const N_SEEDS: u64 = 2_000;

#[test]
fn no_seed_shows_a_fault() {
    let next = AtomicU64::new(1);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > N_SEEDS {
                return failed;
            }
            let report = run(seed, false);
            if let Some(fault) = report.faults.first() {
                failed.push(format!("seed {seed}: {fault}"));
            }
        }
    };
    let failed: Vec<_> = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in [7, 77, 777] {
        let [one, other] = [run(seed, false), run(seed, false)];
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert!(one.n_records > 0 && one.n_attempts > 0);
    }
    assert_ne!(run(7, false).trace, run(8, false).trace);
}
