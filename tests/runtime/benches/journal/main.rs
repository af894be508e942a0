//! The ceiling of one journal: commands that are decided, appended, read back, arbitrated, folded and written to rows, without HTTP.
//!
//! ```text
//! cargo bench --workspace --bench journal -- [--commands 500000] [--callers 64,1024] [--runs 3]
//! ```
//!
//! So many callers at once have the inventory receive one unit each time, of 10,000 SKUs in turn and of a single one; a caller asks
//! again when it has been answered, which is when its record is durable and was read back and accepted. The clock runs until all rows are
//! written. Of several runs medians are told. With KAFKA=host:port set the same is done on that broker.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

#[path = "../place/mod.rs"]
mod place;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use orderlog_core::header::Origin;
use orderlog_domain::{
    inventory::{Command, Inventory},
    values::{Quantity, Sku},
};
use orderlog_readmodel::Store;
use orderlog_runtime::{assembly, now_ms, replica::Replica};
use uuid::Uuid;

use self::place::{Result, Source, machine, median, option, setup, used};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a command may take.
const PATIENCE_MS: i64 = 60_000;

/// What one run found.
struct Run {
    per_second: f64,
    cpu_us: f64,
}

/// So many commands by so many callers at once, of so many SKUs.
async fn run(source: &Source, n_commands: usize, n_callers: usize, n_skus: usize) -> Result<Run> {
    let log = source.open().await?;
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await?;
    let rows = tempfile::tempdir()?;
    let store = Arc::new(Store::open(rows.path(), &orderlog_projections::inventory::TABLES).await?);
    let replica = Replica::start(setup(Arc::clone(&log)), store).await?;
    replica.ready().await?;
    let skus = (0..n_skus).map(|i| Sku::new(format!("sku-{i}"))).collect::<std::result::Result<Vec<_>, _>>()?;
    let (skus, n_begun) = (Arc::new(skus), Arc::new(AtomicUsize::new(0)));
    let ((cpu, _), began) = (used()?, Instant::now());
    let callers: Vec<_> = (0..n_callers)
        .map(|_| tokio::spawn(receive(replica.clone(), Arc::clone(&skus), Arc::clone(&n_begun), n_commands)))
        .collect();
    for caller in callers {
        caller.await?.map_err(|error| error.to_string())?;
    }
    replica.read_your_writes().await;
    let (seconds, n) = (began.elapsed().as_secs_f64(), n_commands as f64);
    let run = Run { per_second: n / seconds, cpu_us: (used()?.0 - cpu) * 1e6 / n };
    log.close().await;
    Ok(run)
}

async fn receive(
    replica: Replica<Inventory>,
    skus: Arc<Vec<Sku>>,
    n_begun: Arc<AtomicUsize>,
    n_commands: usize,
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let quantity = Quantity::new(1)?;
    loop {
        let i = n_begun.fetch_add(1, Ordering::Relaxed);
        if i >= n_commands {
            return Ok(());
        }
        let command = Command::Receive { sku: skus[i % skus.len()].clone(), quantity };
        replica.execute(command, None, Origin::default(), now_ms() + PATIENCE_MS).await?;
    }
}

async fn measure(source: impl Fn() -> Result<Source>, n_commands: usize, n_runs: usize) -> Result<()> {
    let callers = option("--callers", "64,1024");
    for n_callers in callers.split(',').map(str::parse::<usize>) {
        let n_callers = n_callers?;
        for n_skus in [10_000, 1] {
            let (mut runs, mut name) = (Vec::with_capacity(n_runs), "");
            for _ in 0..n_runs {
                let source = source()?;
                name = source.name();
                runs.push(run(&source, n_commands, n_callers, n_skus).await?);
            }
            let of = |what: fn(&Run) -> f64| median(runs.iter().map(what).collect());
            println!(
                "{name:<9} {n_callers:>5} callers, {n_skus:>6} SKUs: {:>7.0} records/s, {:.1} us of processor each",
                of(|run| run.per_second),
                of(|run| run.cpu_us)
            );
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (n_commands, n_runs) =
        (option("--commands", "500000").parse()?, option("--runs", "1").parse::<usize>()?.max(1));
    println!("{}; {n_commands} commands; median of {n_runs} runs", machine()?);
    let folder = tempfile::tempdir()?;
    let new_folder = || Ok(Source::Embedded(folder.path().join(Uuid::now_v7().to_string())));
    measure(new_folder, n_commands, n_runs).await?;
    if let Ok(brokers) = std::env::var("KAFKA") {
        let new_topics =
            || Ok(Source::Kafka { brokers: brokers.clone(), prefix: format!("bench{}.", Uuid::now_v7().simple()) });
        measure(new_topics, n_commands, n_runs).await?;
    }
    Ok(())
}
