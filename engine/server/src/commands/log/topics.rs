//! `orderlog log topics`: what the log holds.

use clap::Args;

use super::source::Source;
use crate::{
    commands::running::Place,
    inspect::TopicSummary,
    output::{
        self, amounts,
        table::{Column, Table},
    },
    registry::Registry,
};

/// Of which log.
#[derive(Args, Clone, Debug)]
pub struct Topics {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    pub place: Place,
}

impl Topics {
    pub async fn run(&self, registry: &'static Registry) -> anyhow::Result<()> {
        let topics = Source::find(registry, &self.place).await?.ask(Source::topics).await?;
        if self.json {
            return topics.iter().try_for_each(output::print_json);
        }
        let columns = [
            Column::Left("topic"),
            Column::Left("kind"),
            Column::Right("records"),
            Column::Right("size"),
            Column::Left("first (UTC)"),
            Column::Left("last (UTC)"),
        ];
        Table::new(columns).print(&topics.iter().map(row).collect::<Vec<_>>())
    }
}

fn row(TopicSummary { topic, kind, n_records, bytes, first_time_ms, last_time_ms, .. }: &TopicSummary) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let minute = |ms: &Option<i64>| or_none(ms.map(|ms| amounts::time(ms)[..16].to_owned()));
    let bytes = or_none(bytes.map(amounts::bytes));
    vec![topic.clone(), kind.clone(), n_records.to_string(), bytes, minute(first_time_ms), minute(last_time_ms)]
}
