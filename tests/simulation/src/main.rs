//! Runs seeds, and says which ones show a fault.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

#[cfg(feature = "planted")]
mod audit;

use std::{
    ops::ControlFlow,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use clap::Parser;
use orderlog_simulation::{Report, run, run_all};

/// Run orderlog under simulation.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run only this seed, and print everything that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// How many threads run seeds; each run has one of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Let each planted bug loose in turn, and say after how many seeds it was found.
    #[cfg(feature = "planted")]
    #[arg(long)]
    audit: bool,
    /// Only those of the planted bugs whose names contain this.
    #[cfg(feature = "planted")]
    #[arg(long, default_value = "", requires = "audit")]
    only: String,
    /// Stop at the first seed that shows a fault.
    #[arg(long)]
    fail_fast: bool,
}

#[derive(Default)]
struct Totals {
    n_failed: u64,
    n_attempts: usize,
    n_acknowledged: usize,
    n_records: u64,
    n_faults: u64,
    n_older: u64,
    n_parked: u64,
    simulated_ms: i64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    #[cfg(feature = "planted")]
    if options.audit {
        return audit::run_all(&options.only, options.seeds);
    }
    match options.seed {
        Some(seed) => {
            let report = run(seed, true);
            tell(&report);
            if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        None => run_many(&options),
    }
}

fn run_many(options: &Options) -> ExitCode {
    let began = Instant::now();
    let totals = Mutex::new(Totals::default());
    run_all(options.from..options.from + options.seeds, options.threads, |report| {
        add(&mut totals.lock().unwrap_or_else(PoisonError::into_inner), report);
        if report.faults.is_empty() {
            return ControlFlow::Continue(());
        }
        tell(report);
        if options.fail_fast { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.0} s ({:.0}/s): {} attempts, {} acknowledged, {} records, {} faults injected, {} processes \
         of older programs, {} times a record was parked, {} h simulated; {} seeds show a fault",
        options.seeds,
        options.seeds as f64 / seconds,
        totals.n_attempts,
        totals.n_acknowledged,
        totals.n_records,
        totals.n_faults,
        totals.n_older,
        totals.n_parked,
        totals.simulated_ms / 3_600_000,
        totals.n_failed
    );
    if totals.n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(totals: &mut Totals, report: &Report) {
    totals.n_failed += u64::from(!report.faults.is_empty());
    totals.n_attempts += report.n_attempts;
    totals.n_acknowledged += report.n_acknowledged;
    totals.n_records += report.n_records;
    totals.n_faults += report.n_faults;
    totals.n_older += report.n_older;
    totals.n_parked += report.n_parked;
    totals.simulated_ms += report.simulated_ms;
}

fn tell(report: &Report) {
    println!("seed {}: {} faults, trace {}", report.seed, report.faults.len(), report.trace);
    for fault in report.faults.iter().take(5) {
        println!("  {fault}");
    }
}
