//! `orderlog projection ...`: read models as operators see them. Uses the admin endpoint of a running server, or opens
//! a stopped server's files in this process; the commands and their output are the same.

mod target;

use std::{
    io::IsTerminal,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use orderlog_http::{names::ServiceName, point::Point};
use orderlog_runtime::{
    envelope::{Envelopes, Finding, Findings},
    past::Moment,
    projection::{Rebuild, RebuildRequest, Status},
    rebuild::{
        CheckedSnapshot, Goal, Progress, Report, RowDifference, Stage,
        published::{PublicFault, Published},
    },
};

pub use self::target::Target;
use super::{
    Services,
    exit::{self, Exit, Failure},
    registered,
    running::Place,
    serve,
};
use crate::{
    output::{self, print},
    registry::Registry,
};

/// How often to poll the progress.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often to print a line if stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The most differences to print; `--json` has all of them.
const N_SHOWN: usize = 20;

/// What to do with rows.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the read models' positions, and whether anything is parked
    Status(ServiceArgs),
    /// Rebuild a read model on the side, and check that the serving one is identical and that public topics match the
    /// journal. Changes nothing
    Verify {
        #[command(flatten)]
        asked: ServiceArgs,
        /// The folder for copying and rebuilding the read models of a stopped server. Default: the system's folder for
        /// temporary files
        #[arg(long, env = "ORDERLOG_SCRATCH", value_name = "DIR")]
        scratch: Option<PathBuf>,
    },
    /// Build a new generation of the read model beside the serving one, compare both, and switch to it
    ///
    /// Commands and queries continue meanwhile. The previous generation is kept for `rollback`. If rows differ, the new
    /// generation serves only with --yes. An interrupted rebuild resumes when it is started again.
    Rebuild {
        #[command(flatten)]
        asked: ServiceArgs,
        /// Only build and compare, as `verify` does
        #[arg(long, env = "ORDERLOG_DRY_RUN")]
        dry_run: bool,
        /// Switch to the new generation even if rows differ
        #[arg(long, env = "ORDERLOG_YES")]
        yes: bool,

        /// Replay only from this point: `beginning`, a position such as `orders@1042`, or an RFC 3339 time. Starts from
        /// the newest snapshot not after it
        #[arg(
            long,
            env = "ORDERLOG_FROM",
            value_name = "POINT",
            default_value = "beginning",
            conflicts_with = "dry_run"
        )]
        from: Point,
    },
    /// Make a snapshot: a copy of the read model, from which an instance without one starts
    Snapshot(ServiceArgs),
    /// Let the previous generation catch up, and switch back to it
    Rollback(ServiceArgs),
}

/// The services that a command is about, and where their rows and log are.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// The services whose read models to use
    #[arg(value_name = "SERVICE", default_value = "all", value_parser = registered::<Services>)]
    pub services: Services,

    /// Print the result as JSON
    #[arg(long, env = "ORDERLOG_JSON")]
    pub json: bool,

    /// Where.
    #[command(flatten)]
    pub place: Place,
}

pub async fn run(registry: &'static Registry, verb: Verb) -> anyhow::Result<Exit> {
    let (asked, goal, from, scratch) = match verb {
        Verb::Status(asked) => return status(registry, &asked).await,
        Verb::Snapshot(asked) => return snapshot(registry, &asked).await,
        Verb::Verify { asked, scratch } => (asked, Goal::Verify, Point::Beginning, scratch),
        Verb::Rebuild { asked, dry_run: true, .. } => (asked, Goal::Verify, Point::Beginning, None),
        Verb::Rebuild { asked, yes: true, from, .. } => (asked, Goal::Replace, from, None),
        Verb::Rebuild { asked, from, .. } => (asked, Goal::Rebuild, from, None),
        Verb::Rollback(asked) => (asked, Goal::Rollback, Point::Beginning, None),
    };
    let froms: Vec<_> = asked.services.0.iter().map(|service| moment(*service, &from)).collect::<Result<_, _>>()?;
    serve::tell(&asked.place.storage, "warn")?;
    let target = match goal {
        Goal::Verify => Target::look(registry, Some(goal), &asked.services.0, &asked.place, scratch.as_deref()).await?,
        Goal::Rebuild | Goal::Replace | Goal::Rollback => {
            Target::find_for(registry, goal, &asked.services.0, &asked.place).await?
        }
    };
    let doing = async |target: &Target| {
        let mut done = Vec::new();
        for (service, from) in asked.services.0.iter().zip(froms) {
            match rebuilt(target, *service, RebuildRequest { goal, from }).await {
                // The others are still verified and reported.
                Err(error) if goal != Goal::Verify || asked.services.0.len() == 1 => return Err(error),
                outcome => done.push((*service, outcome)),
            }
        }
        Ok(done)
    };
    let done = target.ask(doing).await?;
    if asked.json {
        let all = done.iter().map(|(service, outcome)| match outcome {
            Ok(report) => serde_json::json!({ "service": service.as_str(), "report": report }),
            Err(error) => serde_json::json!({ "service": service.as_str(), "error": format!("{error:#}") }),
        });
        print(&format!("{:#}", serde_json::Value::from_iter(all)))?;
    } else {
        for (service, outcome) in &done {
            print(&match outcome {
                Ok(report) => told(*service, goal, report),
                Err(error) => format!("{service}: not verified: {error:#}"),
            })?;
        }
    }
    Ok(Exit::worst(done.iter().map(|(_, outcome)| match outcome {
        Ok(report) if is_wrong(goal, report) => Exit::Differs,
        Ok(_) => Exit::Done,
        Err(error) => exit::of(error),
    })))
}

async fn rebuilt(target: &Target, service: ServiceName, request: RebuildRequest) -> anyhow::Result<Report> {
    target.begin(service, request).await?;
    watch(target, service).await
}

/// Whether differences are an unexpected result.
fn is_wrong(goal: Goal, report: &Report) -> bool {
    match goal {
        Goal::Verify | Goal::Rebuild => {
            !report.differences.is_empty()
                || report.snapshots.iter().any(|snapshot| snapshot.fault.is_some())
                || report.published.iter().any(|published| !published.faults.is_empty())
                || report.envelopes.differences.n > 0
        }
        Goal::Replace | Goal::Rollback => false,
    }
}

/// The point from which to replay a service's journal; `None` for all of it.
fn moment(service: ServiceName, from: &Point) -> anyhow::Result<Option<Moment>> {
    match from.of(service.as_str()).map_err(|error| Failure::usage(error.to_string()))? {
        Point::Beginning => Ok(None),
        Point::Offset(offset) | Point::Position(_, offset) => Ok(Some(Moment::Offset(offset))),
        Point::Time(time) => Ok(Some(Moment::Time(time))),
        Point::End => Err(Failure::usage("`end` is no point to replay from: nothing stands behind it")),
    }
}

async fn snapshot(registry: &'static Registry, asked: &ServiceArgs) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let making = async |target: &Target| {
        let mut labels = Vec::new();
        for service in &asked.services.0 {
            labels.push(target.snapshot(*service).await?);
        }
        Ok(labels)
    };
    let labels = Target::find(registry, &asked.services.0, &asked.place).await?.ask(making).await?;
    if asked.json {
        print(&format!("{:#}", serde_json::json!(labels)))?;
    } else {
        for label in &labels {
            print(&format!("{label}: {:.1} MB, BLAKE3 {}", label.bytes as f64 / 1e6, label.blake3))?;
        }
    }
    Ok(Exit::Done)
}

async fn status(registry: &'static Registry, asked: &ServiceArgs) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let asking = async |target: &Target| {
        let mut statuses = Vec::new();
        for service in &asked.services.0 {
            statuses.push(target.status(*service).await?);
        }
        Ok(statuses)
    };
    let statuses = Target::look(registry, None, &asked.services.0, &asked.place, None).await?.ask(asking).await?;
    if asked.json {
        print(&format!("{:#}", serde_json::json!(statuses)))?;
    } else {
        print(&table(registry, &statuses))?;
    }
    Ok(Exit::Done)
}

fn table(registry: &Registry, statuses: &[Status]) -> String {
    let mut lines = vec![format!(
        "{:<14} {:<12} {:>10} {:>12} {:>12} {:>10} {:>10} {:>12} {:>7}",
        "service", "state", "generation", "position", "end", "lag", "lag (s)", "snapshot", "parked"
    )];
    for status in statuses {
        let Status { service, state, generation, position, end, lag, lag_ms, snapshots, n_parked, .. } = status;
        let snapshot = snapshots.last().map_or_else(|| "-".to_owned(), u64::to_string);
        let seconds = format!("{}.{}", lag_ms / 1000, lag_ms % 1000 / 100);
        lines.push(format!(
            "{service:<14} {state:<12} {generation:>10} {position:>12} {end:>12} {lag:>10} {seconds:>10} {snapshot:>12} {n_parked:>7}"
        ));
        lines.extend(status.why.iter().map(|why| format!("  {why}")));
        let to_settle = registry.find(service).map(|it| it.to_settle(&status.to_settle)).unwrap_or_default();
        lines.extend(to_settle.iter().map(|sentence| format!("  {sentence}")));
    }
    lines.join("\n")
}

/// Follows a rebuild to its end.
async fn watch(target: &Target, service: ServiceName) -> anyhow::Result<Report> {
    let mut shown = Shown::new(service);
    loop {
        let Some(rebuild) = target.status(service).await?.rebuild else {
            return Err(Failure::unavailable(format!(
                "the server was restarted: begin again, {service} goes on where it was"
            )));
        };
        let Rebuild { progress, report, error, damage, .. } = rebuild;
        if let Some(progress) = progress {
            shown.show(&progress);
        }
        match (report, error) {
            (Some(report), _) => {
                shown.end();
                return Ok(report);
            }
            (None, Some(error)) => {
                shown.end();
                let told = format!("{service}: {error}");
                return Err(if damage { Failure::differs(told) } else { anyhow::anyhow!(told) });
            }
            (None, None) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Progress on stderr: a bar on a terminal, otherwise a line every few seconds.
struct Shown {
    service: ServiceName,
    begun: Instant,
    is_terminal: bool,
    last_line: Option<Instant>,
}

impl Shown {
    fn new(service: ServiceName) -> Self {
        Self { service, begun: Instant::now(), is_terminal: std::io::stderr().is_terminal(), last_line: None }
    }

    fn show(&mut self, progress: &Progress) {
        if self.is_terminal {
            output::note_bytes(format!("\r\x1b[2K{}", self.line(progress, true)).into_bytes());
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            output::note(&self.line(progress, false));
        }
    }

    fn line(&self, progress: &Progress, with_bar: bool) -> String {
        let Progress { stage, generation, from, base: _, position, end, bytes } = *progress;
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let per_second = position.saturating_sub(from) as f64 / seconds;
        let lag = end.saturating_sub(position);
        let percent = (position.min(end) * 100).checked_div(end).unwrap_or(100);
        let bar = if with_bar {
            let full = usize::try_from(percent / 5).unwrap_or(20);
            format!("[{}{}] ", "#".repeat(full), ".".repeat(20_usize.saturating_sub(full)))
        } else {
            String::new()
        };
        let what = match stage {
            Stage::Replaying => "replaying",
            Stage::Comparing => "comparing",
            Stage::Switching => "switching",
            Stage::Done => "done",
        };
        let eta = if per_second > 0.0 { format!("{:.0} s", lag as f64 / per_second) } else { "?".to_owned() };
        let megabytes = bytes as f64 / 1e6 / seconds;
        format!(
            "{:<14} generation {generation} {what} {bar}{percent} %, {per_second:.0} events/s, {megabytes:.1} MB/s, lag {lag}, \
             ETA {eta}",
            self.service.as_str()
        )
    }

    fn end(&self) {
        if self.is_terminal {
            output::note("");
        }
    }
}

/// The report as text.
fn told(service: ServiceName, goal: Goal, report: &Report) -> String {
    let Report { generation, compared_at, differences, damage, serves_from, base, n_records, replay_ms, .. } = report;
    let seconds = (*replay_ms).max(1) as f64 / 1e3;
    let mut lines = vec![format!(
        "{service}: {n_records} records in {seconds:.1} s ({:.0} events/s), compared at {service}@{compared_at}",
        *n_records as f64 / seconds
    )];
    if *base > 0 {
        lines.push(format!("  rows up to {service}@{base} were copied, what is behind was folded"));
    }
    lines.extend(damage.iter().map(|damage| format!("  the rows that served could not be compared: {damage}")));
    lines.push(match differences.len() {
        0 if damage.is_some() => "  they are replaced without a comparison".to_owned(),
        0 => "  every row is what the log says".to_owned(),
        n => format!("  {n} rows differ from what the log says{}:", first(service, differences)),
    });
    lines.extend(differences.iter().take(N_SHOWN).map(difference));
    if differences.len() > N_SHOWN {
        lines.push(format!("  ... and {} more (--json prints all that were compared)", differences.len() - N_SHOWN));
    }
    let Envelopes { differences, warnings } = &report.envelopes;
    lines.extend(found(service, "records are not as orderlog writes them", differences));
    lines.extend(found(service, "records have foreign headers (a warning)", warnings));
    lines.extend(report.snapshots.iter().map(|CheckedSnapshot { position, fault }| match fault {
        None => format!("  snapshot {service}@{position}: every row is what the log says"),
        Some(fault) => format!("  snapshot {service}@{position}: {fault}"),
    }));
    lines.extend(report.published.iter().flat_map(|published| told_of_topics(service, published)));
    if report.snapshots_deleted {
        lines.push(format!("  snapshots behind {service}@{base} were deleted: they were copies of what was wrong"));
    }
    lines.push(match (goal, serves_from) {
        (Goal::Verify, _) => "  nothing was changed".to_owned(),
        (_, Some(offset)) => format!("  generation {generation} serves from offset {offset} on; `rollback` goes back"),
        (_, None) => {
            format!("  generation {generation} does not serve: repeat with --yes to have it serve all the same")
        }
    });
    lines.join("\n")
}

/// The result for public topics as text.
fn told_of_topics(service: ServiceName, published: &Published) -> Vec<String> {
    let Published { up_to, is_position_lost, n_events, faults } = published;
    let how_far = if *is_position_lost {
        "as far as they go: the relay has kept no position in this log".to_owned()
    } else {
        format!("up to {service}@{up_to}, where the relay is")
    };
    let mut lines = vec![match faults.len() {
        0 => format!("  public topics: {n_events} events are what the journal says, {how_far}"),
        n => format!("  public topics: {n} faults among {n_events} events, {how_far}:"),
    }];
    lines.extend(faults.iter().take(N_SHOWN).map(|PublicFault { topic, partition, offset, id, record, why }| {
        let place = match (partition, offset) {
            (Some(partition), Some(offset)) => format!("{topic}/{partition}@{offset}"),
            _ => topic.clone(),
        };
        let id = id.map_or_else(String::new, |id| format!(", id {id}"));
        let record = record.map_or_else(String::new, |record| format!(", of {service}@{record}"));
        format!("    {place}: {why}{id}{record}")
    }));
    if faults.len() > N_SHOWN {
        lines.push(format!("    ... and {} more (--json prints up to 100 of each kind)", faults.len() - N_SHOWN));
    }
    lines
}

/// The number of records with this finding, and the first of them.
fn found(service: ServiceName, what: &str, Findings { n, first }: &Findings) -> Vec<String> {
    let counted = first.first().map(|_| format!("  {n} {what}:"));
    let shown = first.iter().take(N_SHOWN).map(|Finding { offset, what }| format!("    {service}@{offset}: {what}"));
    counted.into_iter().chain(shown).collect()
}

/// The record of the first difference.
fn first(service: ServiceName, differences: &[RowDifference]) -> String {
    let first = differences.iter().find_map(|difference| difference.offset);
    first.map_or_else(String::new, |offset| format!(", the first at {service}@{offset}"))
}

fn difference(RowDifference { table, key, offset: _, serving, rebuilt }: &RowDifference) -> String {
    let shown = |row: &Option<String>| row.clone().unwrap_or_else(|| "(no such row)".to_owned());
    format!("    {table} {key}\n      serving: {}\n      rebuilt: {}", shown(serving), shown(rebuilt))
}
