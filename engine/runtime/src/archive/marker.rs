//! How half an import is told from a whole one: a topic of its own, which no log has that nothing was imported into.
//!
//! Before its first record an import says there that it begins, and behind its last one that it has ended. Processes that find
//! the first without the second do not start: they would go on from half of the history as if it were all of it.

use orderlog_eventlog::{AppendError, EventLog, NewRecord, Partition, ReadError, TopicKind, TopicSpec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The topic. Only logs into which something was imported have it.
pub const TOPIC: &str = "orderlog.imports";

/// What is said there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Begun,
    /// All of them are there.
    Ended,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    export_id: Uuid,
    step: Step,
}

/// The topic, to be prepared.
pub(super) fn topic() -> TopicSpec {
    TopicSpec { name: TOPIC.into(), kind: TopicKind::Journal }
}

/// The export that half of is in the log.
///
/// # Errors
/// [`ReadError`] if that can't be read.
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
        // Written by a newer program: whether it ended is not known.
        None => Some(Uuid::nil()),
    })
}

pub(super) async fn say(log: &dyn EventLog, export_id: Uuid, step: Step) -> Result<(), AppendError> {
    let value = serde_json::to_vec(&Marker { export_id, step }).expect("an id and a word are JSON");
    let record =
        NewRecord { topic: TOPIC.into(), partition: Some(0), key: None, headers: Vec::new(), value: value.into() };
    log.append(vec![record]).await.remove(0).map(drop)
}
