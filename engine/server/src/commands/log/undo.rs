//! `orderlog log import --undo`: reverts an unfinished import.

use anyhow::Context;
use chrono::Utc;
use orderlog_eventlog::EventLog;
use orderlog_runtime::archive;
use serde_json::json;
use uuid::Uuid;

use crate::{
    commands::exit::{Exit, Failure},
    config::{LogUrl, Storage},
    output,
    registry::Registry,
    server::{self, StartError},
};

/// Empties a log that contains part of an import. Nothing is deleted: the embedded log's file is renamed.
///
/// # Errors
/// If nothing was undone, as always on Kafka.
pub async fn run(registry: &Registry, storage: &Storage, as_json: bool) -> anyhow::Result<Exit> {
    match &storage.log {
        LogUrl::Embedded if !storage.data.is_dir() => {
            Err(Failure::refused(format!("there is no data folder {}: use --data", storage.data.display())))
        }
        LogUrl::Embedded => {
            let log = server::open_embedded(storage).await.map_err(StartError::told)?;
            let export_id = match unfinished(log.as_ref(), storage).await {
                Ok(export_id) => export_id,
                Err(error) => {
                    log.close().await;
                    return Err(error);
                }
            };
            let name = format!("log.sqlite.undone-{}", Utc::now().format("%Y%m%dT%H%M%S%.3fZ"));
            let kept = log.close_and_set_aside(&name).await.context("the import can't be undone")?;
            if as_json {
                output::print_json(&json!({ "export_id": export_id, "kept": kept }))?;
            } else {
                output::print(&format!(
                    "the import of export {export_id} is undone, and the log is empty. The records that it had written are in {}: \
                     delete that file when you like",
                    kept.display()
                ))?;
            }
            Ok(Exit::Done)
        }
        LogUrl::Kafka(_) => {
            let log = server::open_topics(registry, storage).await.map_err(StartError::told)?;
            let export_id = unfinished(log.as_ref(), storage).await;
            log.close().await;
            let topics = registry.published().into_iter().map(|(journal, _)| journal).chain([archive::IMPORTS]);
            let topics: Vec<_> = topics.map(|topic| format!("{}{topic}", storage.topic_prefix)).collect();
            Err(Failure::refused(format!(
                "orderlog deletes no Kafka topics. To undo the import of export {}, delete these with Kafka's own tools: {}. Or import \
                 into other topics, with another --topic-prefix",
                export_id?,
                topics.join(", ")
            )))
        }
    }
}

/// The export whose import is unfinished.
async fn unfinished(log: &dyn EventLog, storage: &Storage) -> anyhow::Result<Uuid> {
    match archive::unfinished(log).await.map_err(Failure::unread)? {
        Some(export_id) if export_id.is_nil() => Err(Failure::refused(format!(
            "the last record of {} can't be read, so whether the import ended is not known: use the version of orderlog that began it",
            archive::IMPORTS
        ))),
        Some(export_id) => Ok(export_id),
        None => Err(Failure::refused(format!(
            "there is nothing to undo: no import is unfinished in this log ({})",
            storage.log_options()
        ))),
    }
}
