//! `orderlog log ...`: the log as operators see it.

mod archive;
mod export;
mod lint;
mod replay;
mod republish;
mod source;
mod topics;
mod undo;

use clap::Subcommand;

use self::{
    archive::{Check, Import},
    export::Export,
    replay::Replay,
    republish::Republish,
    topics::Topics,
};
use super::{Services, exit::Exit, registered, running::Place, serve};
use crate::registry::Registry;

/// The number of records per request.
const N_AT_A_TIME: usize = 1_000;

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the records of a journal or a public topic
    ///
    /// Void records of journals are included, marked as such. One JSON object per line, or a table on a terminal.
    Replay(Replay),
    /// List the topics, journals and public ones, with the number of records, the size, and the first and last time
    Topics(Topics),
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
    /// they follow from the journals. Nor is the hash key: back it up as well. With `--follow` the export goes on: it
    /// consists of segments, each of which is complete once it has its name. A second run continues after the last one.
    Export(Export),
    /// Import an export into an empty log, on a stopped server
    ///
    /// Verifies the whole export before writing the first record; a broken chain exits with 3 and names the record.
    /// Repeat an interrupted import to resume it; no server starts until it has finished. `--undo` reverts it.
    Import(Import),
    /// Publish the events that a public topic has lost again, from its journal
    ///
    /// For a topic that was trimmed, or deleted and created again. Demands that all servers of the publishing service are
    /// stopped. For each key, everything from its first missing event on is appended, with the same ids, keys and values,
    /// so consumers that deduplicate by `ce_id` notice only what was missing.
    Republish(Republish),
    /// Verify an export, without a log
    ///
    /// Exits with 3 if a record was changed, or if `--verify-key` does not confirm the signature. Foreign headers and
    /// files are reported.
    Check(Check),
}

pub async fn run(registry: &'static Registry, verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Replay(replay) => {
            serve::tell(&replay.place.storage, "warn")?;
            replay.run(registry).await.map(|()| Exit::Done)
        }
        Verb::Topics(topics) => {
            serve::tell(&topics.place.storage, "warn")?;
            topics.run(registry).await.map(|()| Exit::Done)
        }
        Verb::Lint { services, json, place } => {
            serve::tell(&place.storage, "warn")?;
            lint::run(registry, &services, json, &place).await
        }
        Verb::Export(export) => export.run(registry).await,
        Verb::Import(import) => import.run(registry).await,
        Verb::Republish(republish) => republish.run(registry).await,
        Verb::Check(check) => check.run(registry),
    }
}
