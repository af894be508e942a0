//! What operators do to a running process, for the command line of the same machine: `/admin/projections`.
//!
//! Deliberately not among the operations of the OpenAPI documents: it belongs to the program, not to the contract.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use orderlog_service::{
    projection::{Projection, Status},
    rebuild::{Goal, RebuildError},
};
use poem::{
    EndpointExt, FromRequest, Request, Response,
    endpoint::make,
    http::{Method, StatusCode},
};
use serde::{Deserialize, Serialize};

use super::{StartError, json_answer, not_here};
use crate::{
    problem::ApiError,
    services::{RouteTable, ServiceName},
};

/// The file in the data folder that says where the server is.
const FILE: &str = "server.json";

#[derive(Serialize, Deserialize)]
struct Whereabouts {
    url: String,
    pid: u32,
}

/// Deletes the file that says where the server is, when that stops.
pub struct FoundAt(PathBuf);

impl Drop for FoundAt {
    fn drop(&mut self) {
        // A file that stays only makes commands ask in vain before they do it themselves.
        drop(fs::remove_file(&self.0));
    }
}

/// Tell commands of this machine where the server on this data folder is.
///
/// # Errors
/// [`StartError::Data`] if the folder can't be written to.
pub fn tell_where(data: &Path, url: &str) -> Result<FoundAt, StartError> {
    let (file, pid) = (data.join(FILE), std::process::id());
    let text = serde_json::json!(Whereabouts { url: url.to_owned(), pid }).to_string();
    fs::write(&file, text).map_err(|source| StartError::Data { dir: data.to_owned(), source })?;
    Ok(FoundAt(file))
}

/// Where the server on this data folder is, or was when it last started.
pub fn found_at(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join(FILE)).ok()?;
    serde_json::from_str(&text).ok().map(|Whereabouts { url, .. }| url)
}

/// The rows of this process.
#[derive(Clone)]
pub struct Admin {
    /// By service.
    pub projections: BTreeMap<ServiceName, Arc<dyn Projection>>,
}

/// What is asked of a projection. A body, with its content type, since no page of another site can send that unasked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    goal: Goal,
}

impl Admin {
    /// `/admin/projections` and `/admin/projections/{service}`.
    pub fn add_routes(self, table: &mut RouteTable) {
        let (all, one, begin) = (self.clone(), self.clone(), self);
        let all = make(move |_| {
            let all = all.clone();
            async move { all.statuses().await.map_err(poem::Error::from) }
        });
        let one = make(move |request: Request| {
            let one = one.clone();
            async move { one.status(&request).await.map_err(poem::Error::from) }
        });
        let begin = make(move |request: Request| {
            let begin = begin.clone();
            async move { begin.begin(request).await }
        });
        table.entry("/admin/projections".to_owned()).or_default().insert(Method::GET, all.boxed());
        let of_one = table.entry("/admin/projections/:service".to_owned()).or_default();
        of_one.insert(Method::GET, one.boxed());
        of_one.insert(Method::POST, begin.boxed());
    }

    async fn statuses(&self) -> Result<Response, ApiError> {
        let mut statuses = Vec::with_capacity(self.projections.len());
        for projection in self.projections.values() {
            statuses.push(status_of(projection.as_ref()).await?);
        }
        Ok(json_answer(StatusCode::OK, &serde_json::json!({ "projections": statuses })))
    }

    async fn status(&self, request: &Request) -> Result<Response, ApiError> {
        let status = status_of(self.named(request)?.as_ref()).await?;
        Ok(json_answer(StatusCode::OK, &serde_json::json!(status)))
    }

    async fn begin(&self, request: Request) -> poem::Result<Response> {
        let projection = Arc::clone(self.named(&request)?);
        let (request, mut body) = request.split();
        let poem::web::Json(Asked { goal }) = poem::web::Json::from_request(&request, &mut body).await?;
        projection.begin(goal).map_err(refused)?;
        Ok(json_answer(StatusCode::ACCEPTED, &serde_json::json!(status_of(projection.as_ref()).await?)))
    }

    fn named(&self, request: &Request) -> Result<&Arc<dyn Projection>, ApiError> {
        let name = request.raw_path_param("service").unwrap_or_default();
        let found = self.projections.iter().find(|(service, _)| service.as_str() == name);
        found.map(|(_, projection)| projection).ok_or_else(|| not_here(name))
    }
}

async fn status_of(projection: &dyn Projection) -> Result<Status, ApiError> {
    projection.status().await.map_err(|why| ApiError::unavailable("unavailable", why))
}

fn refused(error: RebuildError) -> ApiError {
    let detail = error.to_string();
    match error {
        RebuildError::UnderWay(_) => ApiError::conflict("rebuild_under_way", detail),
        RebuildError::NothingBefore(_) => ApiError::conflict("nothing_before", detail),
        RebuildError::Rows(_)
        | RebuildError::Start(_)
        | RebuildError::Stopped(_)
        | RebuildError::Thread(_)
        | RebuildError::Switch(_) => ApiError::internal(&detail),
    }
}
