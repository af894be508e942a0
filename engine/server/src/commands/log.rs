//! `orderlog log ...`: the log as operators see it.

mod archive;
mod lint;
mod source;
mod undo;

use std::{io::IsTerminal, time::Duration};

use clap::{Args, Subcommand};
use orderlog_http::point::{Point, time};

use self::{
    archive::{Check, Export, Import},
    source::Source,
};
use super::{
    Services,
    exit::{Exit, Failure},
    registered,
    running::Place,
    serve,
};
use crate::{inspect::Inspected, output, registry::Registry};

/// The number of records per request.
const N_AT_A_TIME: usize = 1_000;
/// How often to poll a followed topic.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the records of a journal or a public topic
    ///
    /// Void records of journals are included, marked as such. One JSON document per line, or a table.
    Replay(Replay),
    /// Report records in the journals that this program can't read
    ///
    /// Run it before deploying a new version. Exits with 3 if any such records are not discarded, and also if a
    /// record's key does not match its header. Foreign headers are a warning.
    Lint {
        /// The services whose journals to read
        #[arg(value_name = "SERVICE", default_value = "all", value_parser = registered::<Services>)]
        services: Services,

        /// Print the result as JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        place: Place,
    },
    /// Write all journals into compressed files with a digest chain
    ///
    /// Works on a running or a stopped server. `--sign-key` signs the files. Public topics are not included, because
    /// they follow from the journals. Nor is the hash key: back it up as well.
    Export(Export),
    /// Import an export into an empty log, on a stopped server
    ///
    /// Verifies the whole export before writing the first record; a broken chain exits with 3 and names the record.
    /// Repeat an interrupted import to resume it; no server starts until it has finished. `--undo` reverts it.
    Import(Import),
    /// Verify an export, without a log
    ///
    /// Exits with 3 if a record was changed, or if `--verify-key` does not confirm the signature. Foreign headers and
    /// files are reported.
    Check(Check),
}

/// Which records.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The topic: a journal such as `orders`, or a public one such as `order.created`
    topic: String,

    /// The first record: `beginning`, `end`, an offset, a position such as `orders@1042`, or an RFC 3339 time, which selects
    /// records by their own time
    #[arg(long, value_name = "POINT", default_value = "beginning")]
    from: Point,

    /// Where to stop (exclusive): an offset, a position or a time. Default: the current end
    #[arg(long, value_name = "POINT", default_value = "end", conflicts_with = "follow")]
    to: Point,

    /// Only records of this type, such as `order_placed`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Only records about this object: an id, or a key as printed
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Keep printing new records until interrupted
    #[arg(long)]
    follow: bool,

    /// One JSON document per line, even on a terminal
    #[arg(long, conflicts_with = "table")]
    json: bool,

    /// A human-readable table, even without a terminal
    #[arg(long)]
    table: bool,

    #[command(flatten)]
    place: Place,
}

pub async fn run(registry: &'static Registry, verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Replay(replay) => {
            serve::tell(&replay.place.storage, "warn")?;
            replay.run(registry).await.map(|()| Exit::Done)
        }
        Verb::Lint { services, json, place } => {
            serve::tell(&place.storage, "warn")?;
            lint::run(registry, &services, json, &place).await
        }
        Verb::Export(export) => export.run(registry).await,
        Verb::Import(import) => import.run(registry).await,
        Verb::Check(check) => check.run(registry),
    }
}

impl Replay {
    async fn run(mut self, registry: &'static Registry) -> anyhow::Result<()> {
        let of_topic = |point: &Point| point.of(&self.topic).map_err(|error| Failure::usage(error.to_string()));
        (self.from, self.to) = (of_topic(&self.from)?, of_topic(&self.to)?);
        Source::find(registry, &self.place).await?.ask(async |source| self.print(source).await).await
    }

    async fn print(&self, source: &Source) -> anyhow::Result<()> {
        let mut places = Vec::new();
        for partition in source.partitions(&self.topic).await? {
            let end = source.chunk(&self.topic, partition, 0, 0).await?.end;
            let from = match self.from {
                Point::Beginning | Point::Time(_) => 0,
                Point::End => end,
                Point::Offset(offset) | Point::Position(_, offset) => offset,
            };
            places.push((partition, from));
        }
        loop {
            for (partition, next) in &mut places {
                self.print_from(source, *partition, next).await?;
            }
            if !self.follow || output::reader_is_gone() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Prints a partition from `next` to its end or to the given stop.
    async fn print_from(&self, source: &Source, partition: u32, next: &mut u64) -> anyhow::Result<()> {
        let as_table = self.table || (!self.json && std::io::stdout().is_terminal());
        loop {
            let chunk = source.chunk(&self.topic, partition, *next, N_AT_A_TIME).await?;
            for record in &chunk.records {
                if self.ends_before(record) {
                    return Ok(());
                }
                if self.is_wanted(record) {
                    let line = if as_table { row(record) } else { serde_json::to_string(record)? };
                    output::print(&line)?;
                }
            }
            *next = chunk.next;
            if chunk.next >= chunk.end || output::reader_is_gone() {
                return Ok(());
            }
        }
    }

    /// Whether this record and all later ones are past the end. Never for a time, because a clock may have been set
    /// back.
    fn ends_before(&self, record: &Inspected) -> bool {
        match self.to {
            Point::Beginning => true,
            Point::End | Point::Time(_) => false,
            Point::Offset(offset) | Point::Position(_, offset) => record.offset >= offset,
        }
    }

    fn is_wanted(&self, record: &Inspected) -> bool {
        let plain = |key: &str| key.replace('-', "").to_ascii_lowercase();
        let is_too_early = matches!(self.from, Point::Time(time) if record.time_ms < time);
        let is_too_late = matches!(self.to, Point::Time(time) if record.time_ms >= time);
        !is_too_early
            && !is_too_late
            && self.kind.as_ref().is_none_or(|kind| *kind == record.kind)
            && self.key.as_ref().is_none_or(|key| record.key == *key || plain(&record.key) == plain(key))
    }
}

fn row(record: &Inspected) -> String {
    let Inspected { topic, partition, offset, time_ms, verdict, kind, key, value, .. } = record;
    let place = if *partition == 0 { format!("{topic}@{offset}") } else { format!("{topic}/{partition}@{offset}") };
    let verdict = verdict.as_deref().unwrap_or("");
    format!("{place:<20} {} {verdict:<9} {kind:<24} {key:<36} {value}", time(*time_ms))
}
