//! `orderlog log republish`: restores a public topic from its journal.

use clap::Args;
use orderlog_http::names::ServiceName;
use orderlog_runtime::rebuild::republish::Republished;

use crate::{
    commands::{
        exit::{Exit, Failure},
        nearest::Nearest,
        projection::Target,
        running::Place,
        serve,
    },
    config::{Storage, Trust},
    output::{
        self, amounts,
        table::{Column, Table},
    },
    registry::Registry,
};

/// What to publish again.
#[derive(Args, Clone, Debug)]
pub struct Republish {
    /// The public topic, such as `order.created`; `log topics` lists them
    topic: String,

    /// Print the events that would be published, but write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    storage: Storage,
}

impl Republish {
    pub async fn run(&self, registry: &'static Registry) -> anyhow::Result<Exit> {
        serve::tell(&self.storage, "warn")?;
        let (service, topic) = self.publisher(registry)?;
        let place = Place { server: None, key_file: None, trust: Trust::default(), storage: self.storage.clone() };
        let target = if self.dry_run {
            Target::look(registry, None, &[service], &place, None).await?
        } else {
            Target::find(registry, &[service], &place).await?
        };
        let mut printing = Printing::new(service, self.json);
        let republishing = async |target: &Target| {
            let mut tell = |events: &[Republished]| printing.print(events);
            target.republish(service, topic, self.dry_run, &mut tell).await
        };
        let n_events = target.ask(republishing).await?;
        let Printing { outcome, n_missing, n_printed, .. } = printing;
        outcome?;
        let done = if self.dry_run { "would be published again" } else { "published again" };
        let (all, printed) = (amounts::count(n_events, "event"), amounts::count(n_printed, "event"));
        output::note(&format!("{topic} lacked {n_missing} of {all}; {printed} {done}"));
        Ok(Exit::Done)
    }

    /// Returns the service that publishes the topic, and the topic.
    fn publisher(&self, registry: &'static Registry) -> anyhow::Result<(ServiceName, &'static str)> {
        let mut nearest = Nearest::to(&self.topic);
        for service in registry.services {
            for (topic, _) in service.topics() {
                if *topic == self.topic {
                    return Ok((service.name(), topic));
                }
                nearest.look_at(topic);
            }
        }
        let why = if registry.find(&self.topic).is_some() { "is a journal, not" } else { "is not" };
        Err(Failure::usage(format!("{} {why} a public topic{}", self.topic, nearest.question())))
    }
}

/// Prints events as they are published.
struct Printing {
    service: ServiceName,
    /// `None` prints JSON.
    table: Option<Table<'static>>,
    n_missing: u64,
    n_printed: u64,
    outcome: anyhow::Result<()>,
}

impl Printing {
    fn new(service: ServiceName, as_json: bool) -> Self {
        let columns = ["record", "id", "key", "why"].map(Column::Left);
        let table = (!as_json).then(|| Table::new(columns));
        Self { service, table, n_missing: 0, n_printed: 0, outcome: Ok(()) }
    }

    fn print(&mut self, events: &[Republished]) {
        self.n_printed += events.len() as u64;
        self.n_missing += events.iter().filter(|event| event.was_missing).count() as u64;
        if self.outcome.is_ok() {
            self.outcome = match &mut self.table {
                Some(table) => table.print(&events.iter().map(|event| row(self.service, event)).collect::<Vec<_>>()),
                None => events.iter().try_for_each(output::print_json),
            };
        }
    }
}

fn row(service: ServiceName, Republished { id, key, record, was_missing }: &Republished) -> Vec<String> {
    let why = if *was_missing { "missing" } else { "follows a missing one" };
    vec![format!("{service}@{record}"), id.to_string(), key.clone(), why.to_owned()]
}
