//! `orderlog log replay`: prints records.

use std::time::Duration;

use clap::Args;
use orderlog_http::point::Point;

use super::{N_AT_A_TIME, source::Source};
use crate::{
    commands::{
        exit::{self, Exit, Failure},
        nearest::Nearest,
        running::Place,
        when,
    },
    inspect::Inspected,
    output::{
        self, Stream, amounts,
        table::{Column, Table},
    },
    registry::Registry,
};

/// How often to poll a followed topic.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which records.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The topic: a journal such as `orders`, or a public one such as `order.created`; `log topics` lists them
    topic: String,

    /// The first record: `beginning`, `end`, an offset, a position such as `orders@1042`, or a time, which selects records by their
    /// own time: RFC 3339, a date, or a time ago such as `10m`
    #[arg(long, value_name = "POINT", default_value = "beginning", value_parser = when::point)]
    from: Point,

    /// Where to stop (exclusive): `end` as of now, an offset, a position or a time
    #[arg(long, value_name = "POINT", default_value = "end", value_parser = when::point, conflicts_with = "follow")]
    to: Point,

    /// Only records of this type, such as `order_placed`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Only records about this object: an id, or a key as printed
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Keep printing new records until interrupted
    #[arg(short, long)]
    follow: bool,

    /// One JSON object per line, even on a terminal
    #[arg(long, conflicts_with = "table")]
    json: bool,

    /// A table for people, even without a terminal; on a terminal its lines are cut to the width
    #[arg(long)]
    table: bool,

    #[command(flatten)]
    pub place: Place,
}

impl Replay {
    pub async fn run(mut self, registry: &'static Registry) -> anyhow::Result<()> {
        let of_topic = |point: &Point| point.of(&self.topic).map_err(|error| Failure::usage(error.to_string()));
        (self.from, self.to) = (of_topic(&self.from)?, of_topic(&self.to)?);
        let is_journal = registry.find(&self.topic).is_some();
        let source = Source::find(registry, &self.place).await?;
        let printed = source.ask(async |source| Printing::new(&self, is_journal).print(source).await).await;
        printed.map_err(|error| self.with_suggestion(error, registry))
    }

    /// Adds the topic that was probably meant to an error about an unknown one.
    fn with_suggestion(&self, error: anyhow::Error, registry: &Registry) -> anyhow::Error {
        let topics = registry.topics();
        if exit::of(&error) != Exit::Refused || topics.iter().any(|topic| *topic.name == *self.topic) {
            return error;
        }
        let mut nearest = Nearest::to(&self.topic);
        topics.iter().for_each(|topic| nearest.look_at(&topic.name));
        let (question, program) = (nearest.question(), registry.about.name);
        let then = if question.is_empty() { ";" } else { "" };
        Failure::refused(format!("{error}{question}{then} `{program} log topics` lists all"))
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

/// The state of a replay.
struct Printing<'a> {
    replay: &'a Replay,
    is_journal: bool,
    /// `None` prints JSON.
    table: Option<Table<'static>>,
    n_looked_at: u64,
    n_printed: u64,
    /// Of the type and the key, what is nearest to those wanted, until a record is found.
    nearest: [Option<Nearest>; 2],
}

impl<'a> Printing<'a> {
    fn new(replay: &'a Replay, is_journal: bool) -> Self {
        let is_table = replay.table || (!replay.json && Stream::Stdout.is_terminal());
        let verdict = is_journal.then_some(Column::Left("verdict"));
        let columns = [Column::Left("position"), Column::Left("time (UTC)")].into_iter().chain(verdict);
        let columns = columns.chain([Column::Left("type"), Column::Left("key"), Column::Left("value")]);
        let table = is_table.then(|| Table::new(columns.collect::<Vec<_>>()));
        let nearest = [&replay.kind, &replay.key].map(|wanted| wanted.as_deref().map(Nearest::to));
        Self { replay, is_journal, table, n_looked_at: 0, n_printed: 0, nearest }
    }

    async fn print(&mut self, source: &Source) -> anyhow::Result<()> {
        let topic = &self.replay.topic;
        let mut places = Vec::new();
        for partition in source.partitions(topic).await? {
            let end = source.chunk(topic, partition, 0, 0).await?.end;
            let from = match self.replay.from {
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
            if !self.replay.follow || output::reader_is_gone() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if self.n_printed == 0 && !self.replay.follow {
            output::note(&self.nothing());
        }
        Ok(())
    }

    /// Prints a partition from `next` to its end or to the given stop.
    async fn print_from(&mut self, source: &Source, partition: u32, next: &mut u64) -> anyhow::Result<()> {
        loop {
            let chunk = source.chunk(&self.replay.topic, partition, *next, N_AT_A_TIME).await?;
            let n_before_end = chunk.records.iter().take_while(|record| !self.replay.ends_before(record)).count();
            self.print_all(&chunk.records[..n_before_end])?;
            *next = chunk.next;
            if n_before_end < chunk.records.len() || chunk.next >= chunk.end || output::reader_is_gone() {
                return Ok(());
            }
        }
    }

    fn print_all(&mut self, records: &[Inspected]) -> anyhow::Result<()> {
        self.n_looked_at += records.len() as u64;
        let wanted: Vec<&Inspected> = records.iter().filter(|record| self.replay.is_wanted(record)).collect();
        self.n_printed += wanted.len() as u64;
        if self.n_printed == 0 {
            let [kind, key] = &mut self.nearest;
            for record in records {
                kind.iter_mut().for_each(|kind| kind.look_at(&record.kind));
                key.iter_mut().for_each(|key| key.look_at(&record.key));
            }
        }
        match &mut self.table {
            Some(table) if !wanted.is_empty() => {
                table.print(&wanted.into_iter().map(|record| row(record, self.is_journal)).collect::<Vec<_>>())
            }
            Some(_) => Ok(()),
            None => wanted.into_iter().try_for_each(output::print_json),
        }
    }

    /// Why nothing was printed.
    fn nothing(&self) -> String {
        let topic = &self.replay.topic;
        match self.n_looked_at {
            0 => format!("nothing to print: {topic} has no records from there on"),
            n => {
                let questions: String = self.nearest.iter().flatten().map(Nearest::question).collect();
                format!("nothing matches: looked at {} of {topic}{questions}", amounts::count(n, "record"))
            }
        }
    }
}

fn row(record: &Inspected, is_journal: bool) -> Vec<String> {
    let Inspected { topic, partition, offset, time_ms, verdict, kind, key, value, .. } = record;
    let place = if *partition == 0 { format!("{topic}@{offset}") } else { format!("{topic}/{partition}@{offset}") };
    let verdict = is_journal.then(|| verdict.clone().unwrap_or_default());
    let rest = [kind.clone(), key.clone(), value.to_string()];
    [place, amounts::time(*time_ms)].into_iter().chain(verdict).chain(rest).collect()
}
