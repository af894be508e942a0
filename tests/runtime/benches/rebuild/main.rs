//! How fast rows are rebuilt from a journal of orders, against what SQLite and librdkafka could do at best.
//!
//! ```text
//! cargo bench --workspace --bench rebuild -- [--sizes 500000,1000000,2000000,4000000] [--keyed 1] [--runs 3]
//! ```
//!
//! The records are written by the real core: orders that are placed, confirmed, paid and fulfilled, 2,000 of them at a time. Of
//! these four records KEYED have an idempotency key; in production it is three, since reactions have one too.
//!
//! For each size the journal is prolonged, then a process of its own, whose memory and processor time can be told, starts on it
//! without rows; the clock runs until it takes commands: every record read, arbitrated and folded, its rows, verdict and digest
//! written, and all indexes made. Then it starts once more, with these rows, and as a version with other tables for which rows were
//! prepared. It is held against what is possible (`bare.rs`). Of
//! several runs, of which each measures all of that, medians are told, and the most memory. With KAFKA=host:port set the same is done
//! from that broker.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

mod bare;
mod maker;
#[path = "../place/mod.rs"]
mod place;

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_domain::orders::Orders;
use orderlog_projections::orders::TABLES;
use orderlog_runtime::{assembly, prepared, replica::Replica, snapshots::Keeping};
use uuid::Uuid;

use self::{
    maker::Maker,
    place::{N_SLOTS, Result, SECRET, Source, machine, median, option, setup, used},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

impl Source {
    /// As arguments of a process, and back.
    fn to_text(&self) -> String {
        match self {
            Self::Embedded(folder) => folder.display().to_string(),
            Self::Kafka { brokers, prefix } => format!("{brokers}/{prefix}"),
        }
    }

    fn from_text(text: &str) -> Self {
        match text.split_once('/') {
            Some((brokers, prefix)) if !brokers.is_empty() => {
                Self::Kafka { brokers: brokers.to_owned(), prefix: prefix.to_owned() }
            }
            Some(_) | None => Self::Embedded(text.into()),
        }
    }
}

/// What a replay took.
struct Taken {
    seconds: f64,
    /// Of all threads, user and system.
    cpu_seconds: f64,
    peak_megabytes: f64,
}

/// Start a replica on `rows` and wait until it takes commands, in this process.
async fn replay(source: &Source, rows: &Path) -> Result<()> {
    let began = Instant::now();
    let setup = setup(source.open().await?);
    let keeping = Keeping { data: rows.to_owned(), snapshots: None, every: 0, n_kept: usize::MAX };
    let store = Arc::new(keeping.open(&TABLES, setup.log.as_ref()).await?);
    let replica = Replica::<Orders>::start(setup, store).await?;
    replica.ready().await?;
    let (taken, (cpu, peak)) = (began.elapsed().as_secs_f64(), used()?);
    println!("{taken} {cpu} {peak}");
    Ok(())
}

/// Make `rows` those of a version with other tables, and prepare what this one needs.
async fn prepare(source: &Source, rows: &Path) -> Result<()> {
    let aged = rusqlite::Connection::open(rows.join("orders.1.sqlite"))?;
    aged.execute("update meta set schema = '0.0.earlier'", ())?;
    drop(aged);
    let setup = setup(source.open().await?);
    let preparation = prepared::begin(setup, &TABLES, rows).await?.ok_or("the tables are the same")?;
    while !preparation.progress().await?.near {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    preparation.stop().await;
    Ok(())
}

/// The same as [`replay`] in a process of its own.
fn replay_apart(source: &Source, rows: &Path) -> Result<Taken> {
    let process = Command::new(std::env::current_exe()?).arg("--replay").arg(source.to_text()).arg(rows).output()?;
    let said = String::from_utf8(process.stdout)?;
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [seconds, cpu_seconds, peak_megabytes] = numbers[..] else {
        return Err(format!("the replay said {said:?} {:?}", String::from_utf8_lossy(&process.stderr)).into());
    };
    Ok(Taken { seconds, cpu_seconds, peak_megabytes })
}

/// Prolong the journal, replay it, and hold it against what is possible; for each size.
async fn measure(source: &Source, sizes: &[usize], n_keyed: u64, n_runs: usize) -> Result<()> {
    let mut maker = Maker::new(n_keyed)?;
    let mut bytes = 0;
    for &size in sizes {
        let log = source.open().await?;
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await?;
        bytes += maker.fill(log.as_ref(), size).await?;
        drop(log);
        let mut runs = Vec::with_capacity(n_runs);
        for _ in 0..n_runs {
            runs.push(run(source, size).await?);
        }
        let of = |what: fn(&Run) -> f64| median(runs.iter().map(what).collect());
        println!(
            "{:<9} {size:>8} records {:>5.0} MB: {:>7.0} records/s, {:.2} us each, {:.2} us of processor, {:.0} MB at most; started \
             again in {:.2} s, with other tables that were prepared in {:.2} s",
            source.name(),
            bytes as f64 / 1e6,
            of(|run| run.per_second),
            1e6 / of(|run| run.per_second),
            of(|run| run.cpu_us),
            runs.iter().map(|run| run.taken.peak_megabytes).fold(0.0, f64::max),
            of(|run| run.again.seconds),
            of(|run| run.adopted.seconds),
        );
        let what = match source {
            Source::Embedded(_) => "bare inserts",
            Source::Kafka { .. } => "bare consumer",
        };
        let (bare, ratio) = (of(|run| run.bare_per_second), of(|run| run.per_second / run.bare_per_second));
        println!("{:<9} {what}: {bare:.0} records/s; ratio {ratio:.2}", "");
    }
    Ok(())
}

/// What one run found.
struct Run {
    taken: Taken,
    again: Taken,
    adopted: Taken,
    per_second: f64,
    cpu_us: f64,
    bare_per_second: f64,
}

/// Replay the journal, which has `size` records, start again, and do the bare minimum.
async fn run(source: &Source, size: usize) -> Result<Run> {
    let rows = tempfile::tempdir()?;
    let taken = replay_apart(source, rows.path())?;
    let again = replay_apart(source, rows.path())?;
    prepare(source, rows.path()).await?;
    let adopted = replay_apart(source, rows.path())?;
    let bare = match source {
        Source::Embedded(_) => {
            let file = rows.path().join("orders.1.sqlite");
            bare::insert(&file, &rows.path().join("bare.sqlite"), size as u64)?
        }
        Source::Kafka { brokers, prefix } => bare::consume(brokers, &format!("{prefix}orders"), size as u64)?,
    };
    let n = size as f64;
    let (per_second, cpu_us) = (n / taken.seconds, taken.cpu_seconds * 1e6 / n);
    Ok(Run { taken, again, adopted, per_second, cpu_us, bare_per_second: n / bare.as_secs_f64() })
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, source, rows] = &arguments[..]
        && first == "--replay"
    {
        return replay(&Source::from_text(source), Path::new(rows)).await;
    }
    let sizes =
        option("--sizes", "500000").split(',').map(str::parse).collect::<std::result::Result<Vec<usize>, _>>()?;
    let (n_keyed, n_runs) = (option("--keyed", "1").parse()?, option("--runs", "1").parse::<usize>()?.max(1));
    println!("{}; {n_keyed} of 4 records with an idempotency key; median of {n_runs} runs", machine()?);
    let folder = tempfile::tempdir()?;
    measure(&Source::Embedded(folder.path().into()), &sizes, n_keyed, n_runs).await?;
    if let Ok(brokers) = std::env::var("KAFKA") {
        let prefix = format!("bench{}.", Uuid::now_v7().simple());
        measure(&Source::Kafka { brokers, prefix }, &sizes, n_keyed, n_runs).await?;
    }
    Ok(())
}
