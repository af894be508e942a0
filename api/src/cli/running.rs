//! The server that runs on a data folder, if one does.

use std::time::Duration;

use serde_json::Value;

use super::exit::Failure;
use crate::{config::Storage, problem::Problem, server};

/// How long a running server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A running server.
pub struct Running {
    client: reqwest::Client,
    url: String,
}

impl Running {
    /// The server at `url`, or the one that the data folder tells of; none if that does not answer.
    ///
    /// # Errors
    /// There is no such data folder.
    pub async fn find(url: Option<&str>, storage: &Storage) -> anyhow::Result<Option<Self>> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        if let Some(url) = url {
            return Ok(Some(Self { client, url: url.trim_end_matches('/').to_owned() }));
        }
        if !storage.data.is_dir() {
            return Err(Failure::refused(format!("there is no data folder {}: use --data", storage.data.display())));
        }
        let Some(url) = server::found_at(&storage.data) else { return Ok(None) };
        let alive = client.get(format!("{url}/livez")).send().await;
        Ok(alive.is_ok_and(|answer| answer.status().is_success()).then_some(Self { client, url }))
    }

    /// What it has at `path`.
    ///
    /// # Errors
    /// [`Failure`], by what it says.
    pub async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        answered(self.client.get(format!("{}{path}", self.url))).await
    }

    /// What it says to `body` at `path`.
    ///
    /// # Errors
    /// [`Failure`], by what it says.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        answered(self.client.post(format!("{}{path}", self.url)).json(body)).await
    }
}

async fn answered(request: reqwest::RequestBuilder) -> anyhow::Result<Vec<u8>> {
    let unreachable = |error: reqwest::Error| Failure::unavailable(format!("the server does not answer: {error}"));
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(unreachable)?.to_vec();
    if status.is_success() {
        return Ok(body);
    }
    let detail = serde_json::from_slice::<Problem>(&body).map_or_else(|_| status.to_string(), |problem| problem.detail);
    Err(match status.as_u16() {
        404 | 409 => Failure::refused(detail),
        503 | 504 => Failure::unavailable(detail),
        _ => anyhow::anyhow!("{detail}"),
    })
}
