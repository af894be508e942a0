//! The short form: so many seeds as a build has time for. `cargo run --release -p orderlog-simulation -- --seeds N` runs more.

use std::{ops::ControlFlow, sync::Mutex};

use orderlog_simulation::{run, run_all};

const N_SEEDS: u64 = 2_000;

#[test]
fn no_seed_shows_a_fault() {
    let failed = Mutex::new(Vec::new());
    run_all(1..N_SEEDS + 1, 2, |report| {
        let fault = report.faults.first().map(|fault| format!("seed {}: {fault}", report.seed));
        failed.lock().unwrap().extend(fault);
        ControlFlow::Continue(())
    });
    let failed = failed.into_inner().unwrap();
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
