//! `orderlog topics ...`: the topics on Kafka, for those who create them themselves.

use clap::{Args, Subcommand};
use orderlog_eventlog::kafka::PlannedTopic;
use serde_json::{Map, Value, json};

use crate::{
    config::Storage,
    output::{
        self,
        table::{Column, Table},
    },
    registry::Registry,
    server,
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print every topic with partitions, replication factor and settings, as `serve` creates it on Kafka
    ///
    /// Needs no broker. For those who create topics themselves and start with `--no-create-topics`. The last topic is used
    /// by `log import` only.
    Plan(Plan),
}

#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    storage: Storage,
}

pub fn run(registry: &Registry, verb: &Verb) -> anyhow::Result<()> {
    let Verb::Plan(Plan { json, storage }) = verb;
    let planned = server::planned_topics(registry, storage);
    if *json {
        return planned.iter().try_for_each(|topic| output::print(&object(topic).to_string()));
    }
    let columns =
        [Column::Left("topic"), Column::Right("partitions"), Column::Right("replication"), Column::Left("settings")];
    Table::new(columns).print(&planned.iter().map(row).collect::<Vec<_>>())
}

/// `None` is the brokers' default.
fn replication(topic: &PlannedTopic) -> Option<i16> {
    Some(topic.replication).filter(|replication| *replication > 0)
}

fn object(topic: &PlannedTopic) -> Value {
    let settings: Map<String, Value> =
        topic.settings.iter().map(|(setting, value)| ((*setting).to_owned(), (*value).into())).collect();
    json!({
        "topic": topic.name,
        "partitions": topic.partitions,
        "replication": replication(topic),
        "settings": settings,
    })
}

fn row(topic: &PlannedTopic) -> Vec<String> {
    let settings: Vec<String> = topic.settings.iter().map(|(setting, value)| format!("{setting}={value}")).collect();
    vec![
        topic.name.clone(),
        topic.partitions.to_string(),
        replication(topic).map_or_else(|| "default".to_owned(), |n| n.to_string()),
        settings.join(" "),
    ]
}
