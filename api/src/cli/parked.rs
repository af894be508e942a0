//! `orderlog parked ...`: records that could not be folded, and with them the keys that take no commands.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use orderlog_service::projection::ParkedRecord;

use super::{Services, exit::Exit, projection::Target, serve, services_parser};
use crate::config::Storage;

/// What to do with parked records.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say which records are parked, and why. `orderlog log replay JOURNAL --from OFFSET --to OFFSET+1` shows one
    ///
    /// A program that can read them folds them when the rows are rebuilt: `orderlog projection rebuild JOURNAL --yes`.
    List(List),
}

/// Which, and where.
#[derive(Args, Clone, Debug)]
pub struct List {
    /// Whose
    #[arg(default_value = "all", value_parser = services_parser())]
    service: Services,

    /// Where the running server is; default: what it says of itself in the data folder
    #[arg(long, env = "ORDERLOG_SERVER", value_name = "URL")]
    server: Option<String>,

    /// Print the answer as JSON
    #[arg(long, env = "ORDERLOG_JSON")]
    json: bool,

    #[command(flatten)]
    storage: Storage,
}

/// Do it.
pub async fn run(Verb::List(list): Verb) -> anyhow::Result<Exit> {
    serve::tell(&list.storage, "warn")?;
    let target = Target::find(list.server.as_deref(), &list.service.0, &list.storage).await?;
    let mut lines = Vec::new();
    for service in &list.service.0 {
        for ParkedRecord { offset, keys, reason } in target.parked(*service).await? {
            lines.push(if list.json {
                serde_json::json!({ "journal": service.as_str(), "offset": offset, "keys": keys, "reason": reason })
                    .to_string()
            } else {
                format!("{service}@{offset}  {reason}\n  keys that take no commands: {}", keys.join(", "))
            });
        }
    }
    if lines.is_empty() && !list.json {
        lines.push("nothing is parked".to_owned());
    }
    for line in lines {
        writeln!(std::io::stdout(), "{line}").context("stdout takes no more")?;
    }
    Ok(Exit::Done)
}
