//! `orderlog parked ...`: records that could not be folded, and with them the keys that take no commands.

use std::io::Write;

use anyhow::Context;
use clap::Subcommand;
use orderlog_service::projection::ParkedRecord;

use super::{
    exit::Exit,
    projection::{Asked, Target},
    serve,
};

/// What to do with parked records.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say which records are parked, and why. `orderlog log replay JOURNAL --from OFFSET --to OFFSET+1` shows one
    ///
    /// A program that can read them folds them when the rows are rebuilt: `orderlog projection rebuild JOURNAL --yes`.
    List(Asked),
}

/// Do it.
pub async fn run(Verb::List(asked): Verb) -> anyhow::Result<Exit> {
    serve::tell(&asked.place.storage, "warn")?;
    let target = Target::find(&asked.service.0, &asked.place).await?;
    let mut lines = Vec::new();
    for service in &asked.service.0 {
        for ParkedRecord { offset, keys, reason } in target.parked(*service).await? {
            lines.push(if asked.json {
                serde_json::json!({ "journal": service.as_str(), "offset": offset, "keys": keys, "reason": reason })
                    .to_string()
            } else {
                format!("{service}@{offset}  {reason}\n  keys that take no commands: {}", keys.join(", "))
            });
        }
    }
    if lines.is_empty() && !asked.json {
        lines.push("nothing is parked".to_owned());
    }
    for line in lines {
        writeln!(std::io::stdout(), "{line}").context("stdout takes no more")?;
    }
    Ok(Exit::Done)
}
