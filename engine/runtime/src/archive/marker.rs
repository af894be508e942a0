//! Markers that distinguish an incomplete import from a complete one, on a separate topic that only imports create.
//!
//! An import appends a marker before its first record and another after its last one. Processes that find the first without the
//! second refuse to start: they would take half of the history for all of it.

use orderlog_eventlog::{AppendError, EventLog, NewRecord, Partition, ReadError, TopicKind, TopicSpec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The topic. Only logs with imported records have it.
pub const TOPIC: &str = "orderlog.imports";

/// The kind of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Begun,
    /// All records are imported.
    Ended,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    export_id: Uuid,
    step: Step,
}

/// How the topic is created.
pub fn topic() -> TopicSpec {
    TopicSpec { name: TOPIC.into(), kind: TopicKind::Journal }
}

/// Returns the export whose import is incomplete.
pub async fn unfinished(log: &dyn EventLog) -> Result<Option<Uuid>, ReadError> {
    let partition = Partition::journal(TOPIC);
    match log.partitions(TOPIC).await {
        Ok(_) => {}
        Err(ReadError::UnknownTopic { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    let end = log.ends(std::slice::from_ref(&partition)).await?.first().copied().unwrap_or(0);
    let Some(last) = end.checked_sub(1) else { return Ok(None) };
    let record = log.fetch(&partition, &[last]).await?.into_iter().next();
    let marker = record.and_then(|record| serde_json::from_slice::<Marker>(&record.value).ok());
    Ok(match marker {
        Some(Marker { step: Step::Ended, .. }) => None,
        Some(Marker { export_id, step: Step::Begun }) => Some(export_id),
        // Written by a newer version, so whether the import ended is unknown.
        None => Some(Uuid::nil()),
    })
}

pub(super) async fn say(log: &dyn EventLog, export_id: Uuid, step: Step) -> Result<(), AppendError> {
    let value = serde_json::to_vec(&Marker { export_id, step }).expect("an id and a word are JSON");
    let record =
        NewRecord { topic: TOPIC.into(), partition: Some(0), key: None, headers: Vec::new(), value: value.into() };
    log.append(vec![record]).await.remove(0).map(drop)
}
