//! Journals for an export: the ends of all of them, and all records of one as a byte stream.

use bytes::BytesMut;
use futures_util::{Stream, StreamExt};
use orderlog_eventlog::{Partition, ReadError, Record};
use orderlog_runtime::archive::{self, frames};
use poem::{Body, Request, Response, http::StatusCode};
use serde::Deserialize;

use super::{Admin, json_answer, not_here, unread};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The first record.
    #[serde(default)]
    from: u64,
    end: u64,
}

impl Admin {
    /// The ends of all journals.
    pub(super) async fn cut(&self) -> poem::Result<Response> {
        let cut = archive::cut(self.log.as_ref(), &self.registry.published()).await.map_err(unread)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(cut)))
    }

    /// The records of a journal below an end, all or from an offset on.
    pub(super) fn journal(&self, request: &Request) -> poem::Result<Response> {
        let name = request.raw_path_param("journal").unwrap_or_default();
        let journal = self.registry.find(name).ok_or_else(|| not_here(name))?.name();
        let Wanted { from, end } = request.params()?;
        let records = archive::records(&self.log, journal.as_str(), from, end);
        Ok(framed(Partition::journal(journal.as_str()), records))
    }
}

/// A response with the records of `partition`, encoded as [`frames`].
pub(super) fn framed(
    partition: Partition,
    records: impl Stream<Item = Result<Vec<Record>, ReadError>> + Send + 'static,
) -> Response {
    let bytes = records.map(move |records| {
        let mut bytes = BytesMut::new();
        match records {
            Ok(records) => records.iter().for_each(|record| frames::push(&mut bytes, record)),
            Err(ReadError::Damaged { offset, reason, .. }) => frames::push_damage(&mut bytes, offset, &reason),
            Err(error) => {
                // The response has begun, so it can only be broken off.
                tracing::warn!("{partition} can't be read for another program: {error}");
                return Err(std::io::Error::other(error));
            }
        }
        Ok(bytes.freeze())
    });
    Response::builder()
        .content_type("application/octet-stream")
        .header("cache-control", "no-store")
        .body(Body::from_bytes_stream::<_, _, std::io::Error>(bytes))
}
