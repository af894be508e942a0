//! The records of a partition as a byte stream that follows the log, for a program that builds read models beside this server. It
//! asks all the time, so that is kept out of the access log.

use std::time::Duration;

use futures_util::StreamExt;
use orderlog_eventlog::Partition;
use orderlog_http::request::tell_quietly;
use poem::{Request, Response, http::StatusCode};
use serde::Deserialize;

use super::{Admin, journals::framed, json_answer, not_here, unread};

/// How long a response follows the log. The reader then asks again.
const FOLLOW: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    from: u64,
}

impl Admin {
    /// One past the last record of a partition.
    pub(super) async fn end(&self, request: &Request) -> poem::Result<Response> {
        tell_quietly();
        let ends = self.log.ends(&[partition(request)?]).await.map_err(unread)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(ends[0])))
    }

    /// The records of a partition from an offset on, and those that are appended meanwhile.
    pub(super) fn follow(&self, request: &Request) -> poem::Result<Response> {
        tell_quietly();
        let partition = partition(request)?;
        let Wanted { from } = request.params()?;
        let mut stopping = self.stopping.clone();
        let ending = async move { drop(tokio::time::timeout(FOLLOW, stopping.wait_for(|stopping| *stopping)).await) };
        let batches = self.log.read(vec![(partition.clone(), from)]).take_until(Box::pin(ending));
        Ok(framed(partition, batches.map(|batch| batch.map(|batch| batch.records))))
    }
}

fn partition(request: &Request) -> poem::Result<Partition> {
    let topic = request.raw_path_param("topic").unwrap_or_default();
    let index = request.raw_path_param("partition").and_then(|text| text.parse().ok());
    Ok(Partition::new(topic, index.ok_or_else(|| not_here(&format!("{topic}/?")))?))
}
