//! Operations for operators of a running process, used by the command line and by callers with a key:
//! `/admin/projections`, `/admin/parked`, `/admin/log`, `/admin/journals`, `/admin/records`.
//!
//! Deliberately not in the OpenAPI documents: they belong to the program, not to the contract.

mod journals;
mod records;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use orderlog_core::reason::Reason;
use orderlog_core::text::TextError;
use orderlog_eventlog::{EventLog, ReadError};
use orderlog_http::{
    auth::{Scope, Token},
    json::{self, Checked},
    problem::{ApiError, Fault, Faults, codes},
    service::mounted::RouteTable,
};
use orderlog_readmodel::SnapshotError;
use orderlog_runtime::{
    past::Moment,
    projection::{Projection, RebuildRequest, Status},
    rebuild::RebuildError,
    replica::RepairError,
};
use poem::{
    EndpointExt, Request, Response,
    endpoint::{BoxEndpoint, make},
    http::{Method, StatusCode},
};
use poem_openapi::{Object, types::Any};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::{StartError, gate::Gate, json_answer, not_here};
use crate::{
    inspect::{InRows, Inspector, Projections},
    registry::Registry,
};

/// The file in the data folder with the server's address.
const FILE: &str = "server.json";

#[derive(Serialize, Deserialize)]
struct Whereabouts {
    url: String,
    pid: u32,
    /// Anyone who can read the data folder can already do everything, so commands on it need no key of their own.
    key: String,
    /// What the server returns in [`INSTANCE`](super::instance::INSTANCE). Generated at each start.
    instance: Uuid,
}

/// The server that last started on a data folder. It may have been killed since.
pub struct LastServer {
    pub url: String,
    /// The key that it accepts from commands on this machine.
    pub key: Token,
    pub instance: Uuid,
}

/// Deletes the file with the server's address when dropped.
pub struct FoundAt(PathBuf);

impl Drop for FoundAt {
    fn drop(&mut self) {
        // A leftover file only makes commands try the server first before they open the log themselves.
        drop(fs::remove_file(&self.0));
    }
}

/// Writes the server's address to the data folder, for commands on this machine.
pub fn tell_where(data: &Path, url: &str, key: &Token, instance: Uuid) -> Result<FoundAt, StartError> {
    let (file, pid) = (data.join(FILE), std::process::id());
    let text = serde_json::json!(Whereabouts { url: url.to_owned(), pid, key: key.expose(), instance }).to_string();
    // A new file that only the owner can read: a leftover one may have been readable by others.
    drop(fs::remove_file(&file));
    let mut open = OpenOptions::new();
    let written =
        open.write(true).create_new(true).mode(0o600).open(&file).and_then(|mut it| it.write_all(text.as_bytes()));
    written.map_err(|source| StartError::Data { dir: data.to_owned(), source })?;
    Ok(FoundAt(file))
}

/// The server that last started on this data folder, unless it was stopped.
pub fn found_at(data: &Path) -> Option<LastServer> {
    let text = fs::read_to_string(data.join(FILE)).ok()?;
    let Whereabouts { url, key, instance, pid: _ } = serde_json::from_str(&text).ok()?;
    Some(LastServer { url, key: key.parse().ok()?, instance })
}

/// The read models and the log of this process.
#[derive(Clone)]
pub struct Admin {
    registry: &'static Registry,
    projections: Projections,
    inspector: Inspector,
    log: Arc<dyn EventLog>,
    /// Endless responses end once it is true.
    stopping: watch::Receiver<bool>,
}

/// The most records in one response.
const N_RECORDS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

/// Nothing more is said. Whatever changes something has a body, with its content type, since no page of another site can send
/// that unasked.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Why a record is to be discarded.
#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct Discarding {
    reason: String,
}

impl Checked for Nothing {
    type Values = ();

    fn checked(self) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Checked for Discarding {
    type Values = Reason;

    fn checked(self) -> Result<Reason, ApiError> {
        let wrong = |error: TextError| Fault::of_body("#/reason", codes::INVALID_TEXT, error.to_string());
        Reason::new(self.reason).map_err(|error| Faults::from(wrong(error)).into())
    }
}

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rebuilding {
    goal: String,
    from: Option<Any<Moment>>,
}

impl Checked for Rebuilding {
    type Values = RebuildRequest;

    fn checked(self) -> Result<RebuildRequest, ApiError> {
        let goal = serde_json::from_value(self.goal.into()).map_err(|_| {
            let detail = "it must be `rebuild`, `replace`, `verify` or `rollback`";
            ApiError::from(Faults::from(Fault::of_body("#/goal", codes::WRONG_TYPE, detail)))
        })?;
        Ok(RebuildRequest { goal, from: self.from.map(|from| from.0) })
    }
}

impl Admin {
    /// Serves these read models, by service, and this log, from which operators see what is stored.
    pub fn new(
        registry: &'static Registry,
        projections: Projections,
        log: Arc<dyn EventLog>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let log = log.stored();
        let verdicts = Arc::new(InRows(Arc::clone(&projections)));
        let inspector = Inspector::new(registry, Arc::clone(&log), verdicts);
        Self { registry, projections, inspector, log, stopping }
    }

    /// Adds all routes under `/admin`.
    pub fn add_routes(self, table: &mut RouteTable) {
        let mut on = |path: &str, method: Method, endpoint: BoxEndpoint<'static>| {
            let scope = if method == Method::GET { Scope::ADMIN_READ } else { Scope::ADMIN_REBUILD };
            let endpoint = Gate::guarded(endpoint, scope);
            table.entry(path.to_owned()).or_default().insert(method, endpoint);
        };
        on("/admin/projections", Method::GET, self.endpoint(|admin, _| async move { admin.statuses().await }.boxed()));
        let one = self.endpoint(|admin, request| async move { admin.status(&request).await }.boxed());
        on("/admin/projections/:service", Method::GET, one);
        let begin = self.endpoint(|admin, request| async move { admin.begin(request).await }.boxed());
        on("/admin/projections/:service", Method::POST, begin);
        let snapshot = self.endpoint(|admin, request| async move { admin.snapshot(request).await }.boxed());
        on("/admin/snapshots/:service", Method::POST, snapshot);
        let parked = self.endpoint(|admin, request| async move { admin.parked(&request).await }.boxed());
        on("/admin/parked/:service", Method::GET, parked);
        let retry = self.endpoint(|admin, request| async move { admin.retry(request).await }.boxed());
        on("/admin/parked/:service", Method::POST, retry);
        let discard = self.endpoint(|admin, request| async move { admin.discard(request).await }.boxed());
        on("/admin/parked/:service/:offset", Method::POST, discard);
        on("/admin/log", Method::GET, self.endpoint(|admin, _| async move { admin.topics().await }.boxed()));
        let partitions = self.endpoint(|admin, request| async move { admin.partitions(&request).await }.boxed());
        on("/admin/log/:topic", Method::GET, partitions);
        let records = self.endpoint(|admin, request| async move { admin.records(&request).await }.boxed());
        on("/admin/log/:topic/:partition", Method::GET, records);
        on("/admin/journals", Method::GET, self.endpoint(|admin, _| async move { admin.cut().await }.boxed()));
        let journal = self.endpoint(|admin, request| async move { admin.journal(&request) }.boxed());
        on("/admin/journals/:journal", Method::GET, journal);
        let end = self.endpoint(|admin, request| async move { admin.end(&request).await }.boxed());
        on("/admin/records/:topic/:partition/end", Method::GET, end);
        let follow = self.endpoint(|admin, request| async move { admin.follow(&request) }.boxed());
        on("/admin/records/:topic/:partition", Method::GET, follow);
    }

    fn endpoint(
        &self,
        answer: fn(Self, Request) -> BoxFuture<'static, poem::Result<Response>>,
    ) -> BoxEndpoint<'static> {
        let admin = self.clone();
        make(move |request: Request| {
            let admin = admin.clone();
            async move { answer(admin, request).await }
        })
        .boxed()
    }

    async fn parked(&self, request: &Request) -> poem::Result<Response> {
        let parked = self.named(request)?.parked().await.map_err(ApiError::from)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(parked)))
    }

    async fn retry(&self, request: Request) -> poem::Result<Response> {
        let projection = Arc::clone(self.named(&request)?);
        let (request, mut body) = request.split();
        json::given::<Nothing>(&request, &mut body).await?;
        let retried = projection.retry().await.map_err(unrepaired)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(retried)))
    }

    async fn discard(&self, request: Request) -> poem::Result<Response> {
        let projection = Arc::clone(self.named(&request)?);
        let offset = request.raw_path_param("offset").and_then(|text| text.parse().ok());
        let offset = offset.ok_or_else(|| not_here("a record at this offset"))?;
        let (request, mut body) = request.split();
        let reason = json::given::<Discarding>(&request, &mut body).await?;
        let discarded = projection.discard(offset, reason).await.map_err(unrepaired)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(discarded)))
    }

    async fn topics(&self) -> poem::Result<Response> {
        let topics = self.inspector.topics().await.map_err(unread)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(topics)))
    }

    async fn partitions(&self, request: &Request) -> poem::Result<Response> {
        let topic = request.raw_path_param("topic").unwrap_or_default();
        let partitions = self.inspector.partitions(topic).await.map_err(unread)?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(partitions)))
    }

    async fn records(&self, request: &Request) -> poem::Result<Response> {
        let topic = request.raw_path_param("topic").unwrap_or_default();
        let partition = request.raw_path_param("partition").and_then(|text| text.parse().ok());
        let partition = partition.ok_or_else(|| not_here(&format!("{topic}/?")))?;
        let Wanted { from, limit } = request.params()?;
        let limit = limit.unwrap_or(N_RECORDS_MAX).min(N_RECORDS_MAX);
        let chunk = self.inspector.chunk(topic, partition, from, limit).await;
        let chunk = chunk.map_err(|error| match error.downcast::<ReadError>() {
            Ok(error) => unread(error),
            Err(error) => ApiError::internal(&error),
        })?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(chunk)))
    }

    async fn statuses(&self) -> poem::Result<Response> {
        let mut statuses = Vec::with_capacity(self.projections.len());
        for (_, projection) in self.projections.iter() {
            statuses.push(status_of(projection.as_ref()).await?);
        }
        Ok(json_answer(StatusCode::OK, &serde_json::json!({ "projections": statuses })))
    }

    async fn status(&self, request: &Request) -> poem::Result<Response> {
        let status = status_of(self.named(request)?.as_ref()).await?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(status)))
    }

    async fn begin(&self, request: Request) -> poem::Result<Response> {
        let projection = Arc::clone(self.named(&request)?);
        let (request, mut body) = request.split();
        let request_body = json::given::<Rebuilding>(&request, &mut body).await?;
        projection.begin(request_body).await.map_err(refused)?;
        Ok(json_answer(StatusCode::ACCEPTED, &serde_json::json!(status_of(projection.as_ref()).await?)))
    }

    async fn snapshot(&self, request: Request) -> poem::Result<Response> {
        let projection = Arc::clone(self.named(&request)?);
        let (request, mut body) = request.split();
        json::given::<Nothing>(&request, &mut body).await?;
        let label = projection.snapshot().await.map_err(|error| match error {
            SnapshotError::Empty(_) => ApiError::conflict(codes::NOTHING_TO_COPY, error.to_string()),
            error => ApiError::internal(&anyhow::Error::from(error)),
        })?;
        Ok(json_answer(StatusCode::CREATED, &serde_json::json!(label)))
    }

    fn named(&self, request: &Request) -> Result<&Arc<dyn Projection>, ApiError> {
        let name = request.raw_path_param("service").unwrap_or_default();
        let found = self.projections.iter().find(|(service, _)| service.as_str() == name);
        found.map(|(_, projection)| projection).ok_or_else(|| not_here(name))
    }
}

fn unread(error: ReadError) -> ApiError {
    let detail = error.to_string();
    match error {
        ReadError::UnknownTopic { .. } => ApiError::not_found(codes::UNKNOWN_TOPIC, detail),
        ReadError::OutOfRange { .. } => ApiError::not_found(codes::NO_SUCH_POSITION, detail),
        ReadError::Damaged { .. } => ApiError::unavailable(codes::DAMAGED, detail),
        ReadError::Unavailable { .. } => ApiError::unavailable(codes::UNAVAILABLE, detail),
    }
}

fn unrepaired(error: RepairError) -> ApiError {
    let detail = error.to_string();
    match error {
        RepairError::Cannot(_) => ApiError::conflict(codes::NOT_PARKED, detail),
        RepairError::Overtaken { .. } => ApiError::conflict(codes::OVERTAKEN, detail),
        RepairError::Refused | RepairError::Unavailable(_) => ApiError::unavailable(codes::UNAVAILABLE, detail),
        RepairError::Unknown => ApiError::timed_out(codes::OUTCOME_UNKNOWN, detail),
        RepairError::Rows(error) => error.into(),
    }
}

async fn status_of(projection: &dyn Projection) -> Result<Status, ApiError> {
    projection.status().await.map_err(|why| ApiError::unavailable(codes::UNAVAILABLE, why))
}

fn refused(error: RebuildError) -> ApiError {
    let detail = error.to_string();
    match error {
        RebuildError::UnderWay(_) => ApiError::conflict(codes::REBUILD_UNDER_WAY, detail),
        RebuildError::From(_) => ApiError::conflict(codes::NO_SUCH_POSITION, detail),
        RebuildError::NothingBefore(_) => ApiError::conflict(codes::NOTHING_BEFORE, detail),
        RebuildError::Rows(_)
        | RebuildError::Snapshot(_)
        | RebuildError::Start(_)
        | RebuildError::Damage(_)
        | RebuildError::Stopped(_)
        | RebuildError::Thread(_)
        | RebuildError::Log(_)
        | RebuildError::Position(_)
        | RebuildError::Publications(_)
        | RebuildError::Switch(_) => ApiError::internal(&detail),
    }
}

#[cfg(test)]
mod tests {
    use orderlog_http::json::assert_all_told;

    use super::*;

    #[test]
    fn a_goal_that_does_not_exist_is_named() {
        let rebuilding = |goal: &str| Rebuilding { goal: goal.to_owned(), from: None };
        let refused = format!("{:?}", rebuilding("repair").checked().expect_err("there is no such goal"));
        assert!(
            refused.contains("#/goal") && refused.contains("`rebuild`, `replace`, `verify` or `rollback`"),
            "{refused}"
        );
        assert_all_told::<Rebuilding>(
            r#"{"goal": 7, "form": 1}"#,
            &[("#/form", "unknown_field"), ("#/goal", "wrong_type")],
        );
        for goal in ["rebuild", "replace", "verify", "rollback"] {
            assert!(rebuilding(goal).checked().is_ok(), "{goal}");
        }
    }
}
