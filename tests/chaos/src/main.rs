//! Long runs; short ones are in `tests/`.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use orderlog_chaos::{
    cluster,
    embedded::{self, Fault},
    report::Report,
};

/// How many faults hit one data folder, before it is checked and another one is begun.
const ROUND: u64 = 25;

/// Break real processes under load, and check what came of it.
#[derive(Debug, Parser)]
struct Options {
    /// What goes wrong.
    what: What,
    /// How many faults have to hit.
    #[arg(long, default_value_t = 25)]
    faults: u64,
    /// What clients ask is drawn from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The server on the embedded log is killed.
    Kill,
    /// Its disk is full. Needs root, to mount a small one in memory.
    Disk,
    /// Its disk does not keep what it is told to keep.
    Sync,
    /// Brokers, instances, Redis and the network of a cluster. Needs root, to cut a network.
    Cluster,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let (began, mut total) = (Instant::now(), Report::default());
    while total.n_faults() < options.faults && total.violations.is_empty() {
        let n = (options.faults - total.n_faults()).min(ROUND);
        let seed = options.seed + total.n_faults();
        let report = match options.what {
            What::Kill => embedded::round(Fault::Kill, n, seed).await?,
            What::Disk => embedded::round(Fault::FullDisk, n, seed).await?,
            What::Cluster => cluster::run(&cluster::Fault::ALL, options.faults, seed).await?,
            What::Sync => embedded::round(Fault::FailingSync, n, seed).await?,
        };
        total.add(report);
        println!(
            "{} of {} faults, {} s, {} violations",
            total.n_faults(),
            options.faults,
            began.elapsed().as_secs(),
            total.violations.len()
        );
    }
    println!("{total}");
    Ok(if total.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
