//! The server that runs on a data folder, if one does.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, stream};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::exit::Failure;
use crate::{
    auth::Token,
    config::{Storage, Trust, token_in},
    problem::Problem,
    server::found_at,
    tls,
};

/// How long a running server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same, for what it has to do before: a copy of large rows.
const LONG: Duration = Duration::from_secs(600);
/// How long all of a stream may take.
const WHOLE_STREAM: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);

/// Where the server, or what it serves, is.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Where the running server is; default: what it says of itself in the data folder
    #[arg(long, env = "ORDERLOG_SERVER", value_name = "URL")]
    pub server: Option<String>,

    /// A file with the key for it; not needed where it works on the same data folder
    #[arg(long, env = "ORDERLOG_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Whom to believe.
    #[command(flatten)]
    pub trust: Trust,

    /// What to open if none runs.
    #[command(flatten)]
    pub storage: Storage,
}

/// A running server.
pub struct Running {
    client: reqwest::Client,
    url: String,
    key: Option<Token>,
}

impl Running {
    /// The server that `place` names, or the one that the data folder tells of; none if that does not answer.
    ///
    /// # Errors
    /// There is no such data folder.
    pub async fn find(Place { server, key_file, trust, storage }: &Place) -> anyhow::Result<Option<Self>> {
        let client = tls::client(trust.ca.as_deref(), server.as_deref())?.timeout(TIMEOUT).build()?;
        let key =
            key_file.as_deref().map(|file| token_in(file).with_context(|| format!("the key in {}", file.display())));
        let key = key.transpose()?;
        if let Some(url) = server {
            return Ok(Some(Self { client, url: url.trim_end_matches('/').to_owned(), key }));
        }
        if !storage.data.is_dir() {
            return Err(Failure::refused(format!("there is no data folder {}: use --data", storage.data.display())));
        }
        let Some((url, own)) = found_at(&storage.data) else { return Ok(None) };
        let key = key.or(Some(own));
        let alive = client.get(format!("{url}/livez")).send().await;
        Ok(alive.is_ok_and(|answer| answer.status().is_success()).then_some(Self { client, url, key }))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    /// What it has at `path`.
    ///
    /// # Errors
    /// [`Failure`], by what it says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        decoded(&answered(self.request(Method::GET, path)).await?)
    }

    /// The bytes that it has at `path`, as they come. There may be many, so only the silence between two of them has a limit.
    ///
    /// # Errors
    /// [`Failure`], by what it says.
    pub async fn stream(&self, path: &str) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Send + use<>> {
        let request = self.request(Method::GET, path).timeout(WHOLE_STREAM);
        let answer = request.send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(failure(answer).await);
        }
        Ok(stream::unfold(Box::pin(answer.bytes_stream()), |mut bytes| async move {
            let some = match tokio::time::timeout(SILENCE, bytes.next()).await {
                Ok(some) => some?.map_err(unreachable),
                Err(_) => Err(Failure::unavailable("the server has fallen silent")),
            };
            Some((some, bytes))
        }))
    }

    /// Have it do what `body` asks at `path`, and what it answers.
    ///
    /// # Errors
    /// [`Failure`], by what it says.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path).timeout(LONG).json(body);
        decoded(&answered(request).await?)
    }
}

fn decoded<T: DeserializeOwned>(answer: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(answer).context("the server answers something else: is it of the same version?")
}

async fn answered(request: reqwest::RequestBuilder) -> anyhow::Result<Vec<u8>> {
    let answer = request.send().await.map_err(unreachable)?;
    if answer.status().is_success() {
        return Ok(answer.bytes().await.map_err(unreachable)?.to_vec());
    }
    Err(failure(answer).await)
}

fn unreachable(error: reqwest::Error) -> anyhow::Error {
    Failure::unavailable(format!("the server does not answer: {error}"))
}

/// What an answer says that is no success.
async fn failure(answer: reqwest::Response) -> anyhow::Error {
    let status = answer.status();
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return unreachable(error),
    };
    let detail = serde_json::from_slice::<Problem>(&body).map_or_else(|_| status.to_string(), |problem| problem.detail);
    match status.as_u16() {
        401 | 403 | 404 | 409 => Failure::refused(detail),
        503 | 504 => Failure::unavailable(detail),
        _ => anyhow::anyhow!("{detail}"),
    }
}
