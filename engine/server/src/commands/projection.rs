//! `orderlog projection ...`: read models as operators see them. Uses the admin endpoint of a running server, or opens
//! a stopped server's files in this process; the commands and their output are the same.

mod elsewhere;
mod prepare;
mod target;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use orderlog_http::{names::ServiceName, point::Point};
use orderlog_readmodel::Ahead;
use orderlog_runtime::{
    envelope::{Envelopes, Finding, Findings},
    past::Moment,
    projection::{Rebuild, RebuildRequest, Status},
    rebuild::{
        CheckedSnapshot, Goal, Progress, Report, RowDifference, Stage,
        published::{PublicFault, Published},
    },
};

use serde_json::json;

pub use self::target::Target;
use super::{
    Services,
    exit::{self, Exit, Failure},
    registered,
    running::Place,
    serve, when,
};
use crate::{
    output::{
        self, Stream, Style, amounts, print, print_json,
        table::{Column, Table},
    },
    registry::Registry,
};

/// How often to poll the progress.
const LOOK_EVERY: Duration = Duration::from_millis(200);
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
        #[arg(long, value_name = "DIR")]
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
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Switch to the new generation even if rows differ
        #[arg(short, long)]
        yes: bool,

        /// Replay only from this point: `beginning`, a position such as `orders@1042`, a time (RFC 3339), a date, or a time ago
        /// such as `10m`. Starts from the newest snapshot not after it
        #[arg(
            long,
            value_name = "POINT",
            default_value = "beginning",
            value_parser = when::point,
            conflicts_with = "dry_run"
        )]
        from: Point,
    },
    /// Build read models for this version beside a running server of an earlier one
    ///
    /// For an upgrade that changes tables: the first start of this version adopts what was prepared instead of replaying
    /// the journals. The running server and its read models are not touched. Without a changed table there is nothing
    /// to do. An interrupted run resumes when it is started again.
    Prepare {
        #[command(flatten)]
        asked: ServiceArgs,
        /// When everything is prepared, follow the journals until the server stops
        #[arg(long)]
        until_stopped: bool,
    },
    /// Make a snapshot: a copy of the read model, from which an instance without one starts
    Snapshot(ServiceArgs),
    /// Let the previous generation catch up, and switch back to it
    Rollback(ServiceArgs),
}

/// The services that a command is about, and where their rows and log are.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// The service, or `all`
    #[arg(value_name = "SERVICE", default_value = "all", value_parser = registered::<Services>)]
    pub services: Services,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Where.
    #[command(flatten)]
    pub place: Place,
}

pub async fn run(registry: &'static Registry, verb: Verb) -> anyhow::Result<Exit> {
    let (command, asked, goal, from, scratch) = match verb {
        Verb::Status(asked) => return status(registry, asked).await,
        Verb::Prepare { asked, until_stopped } => return prepare::run(registry, asked, until_stopped).await,
        Verb::Snapshot(asked) => return snapshot(registry, asked).await,
        Verb::Verify { asked, scratch } => ("verify", asked, Goal::Verify, Point::Beginning, scratch),
        Verb::Rebuild { asked, dry_run: true, .. } => ("verify", asked, Goal::Verify, Point::Beginning, None),
        Verb::Rebuild { asked, yes: true, from, .. } => ("rebuild", asked, Goal::Replace, from, None),
        Verb::Rebuild { asked, from, .. } => ("rebuild", asked, Goal::Rebuild, from, None),
        Verb::Rollback(asked) => ("rollback", asked, Goal::Rollback, Point::Beginning, None),
    };
    let froms = |asked: &ServiceArgs| -> anyhow::Result<Vec<_>> {
        asked.services.0.iter().map(|service| Ok((*service, moment(*service, &from)?))).collect()
    };
    // A point that is wrong for any service is wrong before anything is opened.
    froms(&asked)?;
    serve::tell(&asked.place.storage, "warn")?;
    let (asked, elsewhere) = asked.here(registry).await?;
    let froms = froms(&asked)?;
    let target = match goal {
        Goal::Verify => Target::look(registry, Some(goal), &asked.services.0, &asked.place, scratch.as_deref()).await?,
        Goal::Rebuild | Goal::Replace | Goal::Rollback => {
            Target::find_for(registry, goal, &asked.services.0, &asked.place).await?
        }
    };
    let doing = async |target: &Target| {
        let mut exits = Vec::new();
        for (service, from) in &froms {
            let report = match rebuilt(target, *service, RebuildRequest { goal, from: *from }).await {
                // The others are still verified and reported.
                Err(error) if goal != Goal::Verify || froms.len() == 1 => return Err(error),
                report => report,
            };
            print_report(*service, goal, &report, asked.json)?;
            exits.push(match report {
                Ok(report) if is_wrong(goal, &report) => Exit::Differs,
                Ok(_) => Exit::Done,
                Err(error) => exit::of(&error),
            });
        }
        Ok(exits)
    };
    let exits = target.ask(doing).await?;
    let rest = elsewhere.note(&format!("projection {command}"), &asked);
    Ok(Exit::worst(exits.into_iter().chain([rest])))
}

fn print_report(
    service: ServiceName,
    goal: Goal,
    report: &anyhow::Result<Report>,
    as_json: bool,
) -> anyhow::Result<()> {
    match report {
        Ok(report) if as_json => print_json(&json!({ "service": service.as_str(), "report": report })),
        Err(error) if as_json => print_json(&json!({ "service": service.as_str(), "error": format!("{error:#}") })),
        Ok(report) => print(&told(service, goal, report)),
        Err(error) => print(&format!("{service}: {}: {error:#}", wrong("not verified"))),
    }
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
        Point::End => Err(Failure::usage("`end` is no point to replay from: no records follow it")),
    }
}

async fn snapshot(registry: &'static Registry, asked: ServiceArgs) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let (asked, elsewhere) = asked.here(registry).await?;
    let making = async |target: &Target| {
        for service in &asked.services.0 {
            let label = target.snapshot(*service).await?;
            if asked.json {
                print_json(&label)?;
            } else {
                print(&format!("{label}: {}, BLAKE3 {}", amounts::bytes(label.bytes), label.blake3))?;
            }
        }
        Ok(())
    };
    Target::find(registry, &asked.services.0, &asked.place).await?.ask(making).await?;
    Ok(elsewhere.note("projection snapshot", &asked))
}

async fn status(registry: &'static Registry, asked: ServiceArgs) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let (asked, elsewhere) = asked.here(registry).await?;
    let asking = async |target: &Target| {
        let mut statuses = Vec::new();
        for service in &asked.services.0 {
            statuses.push(target.status(*service).await?);
        }
        Ok(statuses)
    };
    let statuses = Target::look(registry, None, &asked.services.0, &asked.place, None).await?.ask(asking).await?;
    if asked.json {
        statuses.iter().try_for_each(print_json)?;
    } else {
        print_table(registry, &statuses)?;
    }
    elsewhere.note("projection status", &asked);
    Ok(Exit::Done)
}

fn print_table(registry: &Registry, statuses: &[Status]) -> anyhow::Result<()> {
    let rows = statuses.iter().map(|status| {
        let Status { service, state, generation, position, lag, lag_ms, snapshots, n_parked, .. } = status;
        let snapshot = snapshots.last().map_or_else(|| "-".to_owned(), u64::to_string);
        let behind = match (*lag, *lag_ms) {
            (0, _) => "-".to_owned(),
            (lag, lag_ms) => format!("{lag} ({})", amounts::duration(Duration::from_millis(lag_ms))),
        };
        let numbers = [generation.to_string(), position.to_string(), behind, snapshot, n_parked.to_string()];
        [service.clone(), state.clone()].into_iter().chain(numbers).collect()
    });
    let columns = [
        Column::Left("service"),
        Column::Left("state"),
        Column::Right("generation"),
        Column::Right("position"),
        Column::Right("behind"),
        Column::Right("snapshot"),
        Column::Right("parked"),
    ];
    Table::new(columns).print(&rows.collect::<Vec<_>>())?;
    for status in statuses {
        let service = &status.service;
        let to_settle = registry.find(service).map(|it| it.to_settle(&status.to_settle)).unwrap_or_default();
        let prepared = status.prepared.iter().map(|Ahead { schema, position }| {
            format!("prepared up to {service}@{position}, for a version whose tables are {schema}")
        });
        let sentences = status.why.iter().cloned().chain(to_settle).chain(prepared);
        sentences.into_iter().try_for_each(|sentence| print(&format!("{service}: {sentence}")))?;
    }
    Ok(())
}

/// Follows a rebuild to its end.
async fn watch(target: &Target, service: ServiceName) -> anyhow::Result<Report> {
    let mut shown = output::Progress::begin();
    loop {
        let Some(rebuild) = target.status(service).await?.rebuild else {
            return Err(Failure::unavailable(format!(
                "the server was restarted: repeat the command, and {service} resumes where it was"
            )));
        };
        let Rebuild { progress, report, error, damage, .. } = rebuild;
        if let Some(progress) = progress {
            shown.show(|shown| progress_line(service, &progress, shown.seconds()));
        }
        match (report, error) {
            (Some(report), _) => return Ok(report),
            (None, Some(error)) => {
                let told = format!("{service}: {error}");
                return Err(if damage { Failure::differs(told) } else { anyhow::anyhow!(told) });
            }
            (None, None) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// A line of progress with a bar. What matters most comes first, since it may be cut.
fn progress_line(service: ServiceName, progress: &Progress, seconds: f64) -> String {
    let Progress { stage, generation: _, from, base: _, position, end, bytes } = *progress;
    let per_second = position.saturating_sub(from) as f64 / seconds;
    let percent = (position.min(end) * 100).checked_div(end).unwrap_or(100);
    let full = usize::try_from(percent / 10).unwrap_or(10);
    let bar = format!("[{}{}]", "#".repeat(full), ".".repeat(10_usize.saturating_sub(full)));
    let stage = match stage {
        Stage::Replaying => "replaying",
        Stage::Comparing => "comparing",
        Stage::Switching => "switching",
        Stage::Done => "done",
    };
    let left = Duration::try_from_secs_f64(end.saturating_sub(position) as f64 / per_second);
    let left = left.map_or_else(|_| "?".to_owned(), amounts::duration);
    let throughput = amounts::bytes((bytes as f64 / seconds) as u64);
    format!("{service}: {stage} {bar} {percent} %, {per_second:.0} records/s, {left} left, {throughput}/s")
}

/// The report as text.
fn told(service: ServiceName, goal: Goal, report: &Report) -> String {
    let Report { generation, compared_at, differences, damage, serves_from, base, n_records, replay_ms, .. } = report;
    let took = Duration::from_millis((*replay_ms).max(1));
    let per_second = *n_records as f64 / took.as_secs_f64();
    let (records, took) = (amounts::count(*n_records, "record"), amounts::duration(took));
    let mut lines = vec![match n_records {
        0 => format!("{service}: no records to replay, compared at {service}@{compared_at}"),
        _ => format!("{service}: {records} in {took} ({per_second:.0} records/s), compared at {service}@{compared_at}"),
    }];
    if *base > 0 {
        lines.push(format!("  copied rows up to {service}@{base}, and folded the records after it"));
    }
    lines.extend(damage.iter().map(|damage| format!("  {}: {damage}", wrong("the serving rows can't be compared"))));
    lines.push(match differences.len() {
        0 if damage.is_some() => "  the rows are replaced without a comparison".to_owned(),
        0 => format!("  {}", good("every row is what the log says")),
        1 => format!("  {}{}:", wrong("1 row differs from what the log says"), first(service, differences)),
        n => format!("  {}{}:", wrong(&format!("{n} rows differ from what the log says")), first(service, differences)),
    });
    lines.extend(differences.iter().take(N_SHOWN).map(difference));
    if differences.len() > N_SHOWN {
        lines.push(format!("  ... and {} more (--json prints all that were compared)", differences.len() - N_SHOWN));
    }
    let Envelopes { differences, warnings } = &report.envelopes;
    lines.extend(found(service, "not as orderlog writes them", differences));
    lines.extend(found(service, "with foreign headers (a warning)", warnings));
    lines.extend(report.snapshots.iter().map(|CheckedSnapshot { position, fault }| match fault {
        None => format!("  snapshot {service}@{position}: {}", good("every row is what the log says")),
        Some(fault) => format!("  snapshot {service}@{position}: {}", wrong(fault)),
    }));
    lines.extend(report.published.iter().flat_map(|published| told_of_topics(service, published)));
    if report.snapshots_deleted {
        lines.push(format!("  snapshots after {service}@{base} were deleted: they were copies of the wrong rows"));
    }
    lines.push(match (goal, serves_from) {
        (Goal::Verify, _) => "  nothing was changed".to_owned(),
        (_, Some(offset)) => {
            format!("  generation {generation} serves from {service}@{offset} on; `rollback` switches back")
        }
        (_, None) => {
            format!("  generation {generation} does not serve: repeat with --yes to switch to it all the same")
        }
    });
    lines.join("\n")
}

fn good(text: &str) -> String {
    Stream::Stdout.paint(Style::Good, text)
}

fn wrong(text: &str) -> String {
    Stream::Stdout.paint(Style::Wrong, text)
}

/// The result for public topics as text.
fn told_of_topics(service: ServiceName, published: &Published) -> Vec<String> {
    let Published { up_to, is_position_lost, n_events, faults } = published;
    let events = amounts::count(*n_events, "event");
    let how_far = if *is_position_lost {
        "(the relay has no position in this log)".to_owned()
    } else {
        format!("up to {service}@{up_to}")
    };
    let mut lines = vec![match faults.len() {
        0 => format!("  public topics: {}, {events} {how_far}", good("as the journal says")),
        n => format!("  public topics: {} among {events} {how_far}:", wrong(&amounts::count(n, "fault"))),
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
    let counted = first.first().map(|_| format!("  {} {what}:", amounts::count(*n, "record")));
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
