//! The server that runs on a data folder, if there is one.

mod log;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, stream};
use orderlog_http::{
    auth::Token,
    problem::{Problem, codes},
    tls,
};
use reqwest::{Method, StatusCode, header::LOCATION, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::exit::Failure;
use crate::{
    config::{Storage, Trust, token_in},
    server::{INSTANCE, LastServer, NOT_HERE, found_at},
};

/// How long a running server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same for longer work, such as copying a large read model.
const LONG: Duration = Duration::from_secs(600);
/// How long a whole stream may take.
const WHOLE_STREAM: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a server that runs may take to say so, and how often it may fail to.
const ALIVE: Duration = Duration::from_secs(1);
const N_SILENT: u32 = 3;

const OTHER_VERSION: &str = "the server answers something else: is it of the same version?";

/// Where the server, or what it serves, is.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The URL of the running server. Default: the URL that it wrote to the data folder
    #[arg(short, long, env = "ORDERLOG_SERVER", value_name = "URL")]
    pub server: Option<String>,

    /// A file with a key for the server; not needed if it uses the same data folder
    #[arg(long, env = "ORDERLOG_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Whom to believe.
    #[command(flatten)]
    pub trust: Trust,

    /// What to open if none runs.
    #[command(flatten)]
    pub storage: Storage,
}

pub use log::{ServerLog, broken_off, records_in};

pub struct Running {
    client: reqwest::Client,
    url: String,
    key: Option<Token>,
    /// The instance that must answer; any if an operator gave the URL.
    instance: Option<Uuid>,
}

impl Running {
    /// The server that `place` names, or the one of the data folder. `None` if that one has stopped, even if something
    /// else answers at its address by now.
    ///
    /// # Errors
    /// If the data folder does not exist, or the key can't be read.
    pub async fn find(Place { server, key_file, trust, storage }: &Place) -> anyhow::Result<Option<Self>> {
        let client = client(trust, server.as_deref(), TIMEOUT)?;
        let key =
            key_file.as_deref().map(|file| token_in(file).with_context(|| format!("the key in {}", file.display())));
        let key = key.transpose()?;
        if let Some(url) = server {
            return Ok(Some(Self { client, url: url.trim_end_matches('/').to_owned(), key, instance: None }));
        }
        if !storage.data.is_dir() {
            return Err(Failure::refused(format!("there is no data folder {}: use --data", storage.data.display())));
        }
        let found = Self::of_folder(client, &storage.data).await;
        Ok(found.map(|found| Self { key: key.or(found.key), ..found }))
    }

    /// The server of the data folder, if it is running.
    pub async fn of_folder(client: reqwest::Client, data: &Path) -> Option<Self> {
        let LastServer { url, key, instance } = found_at(data)?;
        // Without the key, which nothing else may see.
        let found = Self { client, url, key: None, instance: Some(instance) };
        let alive = found.request(Method::GET, "/livez").send().await.ok()?;
        (alive.status().is_success() && found.is_from_it(&alive)).then_some(Self { key: Some(key), ..found })
    }

    /// Whether it has stopped.
    pub async fn has_stopped(&self) -> bool {
        for _ in 0..N_SILENT {
            match self.request(Method::GET, "/livez").timeout(ALIVE).send().await {
                Ok(answer) => return !self.is_from_it(&answer),
                // A busy server is asked again.
                Err(_) => tokio::time::sleep(ALIVE / 10).await,
            }
        }
        true
    }

    /// Its readiness response.
    pub async fn readiness(&self) -> anyhow::Result<(StatusCode, String)> {
        let answer = self.sent(self.request(Method::GET, "/readyz")).await?;
        Ok((answer.status(), answer.text().await.map_err(unreachable)?))
    }

    /// The names of its services.
    ///
    /// # Errors
    /// [`Failure`] if it does not answer.
    pub async fn services(&self) -> anyhow::Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Readiness {
            services: Map<String, Value>,
        }
        let (_, body) = self.readiness().await?;
        let Readiness { services } = serde_json::from_str(&body).context(OTHER_VERSION)?;
        Ok(services.into_iter().map(|(name, _)| name).collect())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        };
        match &self.instance {
            Some(instance) => request.header(INSTANCE, instance.to_string()),
            None => request,
        }
    }

    fn is_from_it(&self, answer: &reqwest::Response) -> bool {
        let named = answer.headers().get(INSTANCE).and_then(|value| value.to_str().ok()?.parse().ok());
        self.instance.is_none_or(|instance| named == Some(instance))
    }

    /// The response, if it is successful.
    async fn answered(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = self.sent(request).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(failure(answer).await) }
    }

    /// The response, if it comes from the server that was found.
    async fn sent(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = request.send().await.map_err(unreachable)?;
        if !self.is_from_it(&answer) {
            return Err(Failure::unavailable(format!(
                "the server of this data folder has stopped, and something else answers at {}: run the command again",
                self.url
            )));
        }
        Ok(answer)
    }

    /// Gets `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        decoded(self.answered(self.request(Method::GET, path)).await?).await
    }

    /// Streams the bytes of `path`. There may be many, so only the pause between two chunks is limited.
    pub async fn stream(&self, path: &str) -> anyhow::Result<impl Stream<Item = anyhow::Result<Bytes>> + Send + use<>> {
        let answer = self.answered(self.request(Method::GET, path).timeout(WHOLE_STREAM)).await?;
        Ok(stream::unfold(Box::pin(answer.bytes_stream()), |mut bytes| async move {
            let some = match tokio::time::timeout(SILENCE, bytes.next()).await {
                Ok(some) => some?.map_err(unreachable),
                Err(_) => Err(Failure::unavailable("the server has fallen silent")),
            };
            Some((some, bytes))
        }))
    }

    /// Posts `body` to `path` and returns the response.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let request = self.request(Method::POST, path).timeout(LONG).json(body);
        decoded(self.answered(request).await?).await
    }
}

/// A client for commands. It follows no redirects: the target is not the intended server.
pub(super) fn client(trust: &Trust, url: Option<&str>, timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let builder = tls::client(trust.ca.as_deref(), url)?.timeout(timeout).redirect(Policy::none());
    builder.build().context("no HTTP client can be made")
}

async fn decoded<T: DeserializeOwned>(answer: reqwest::Response) -> anyhow::Result<T> {
    let answer = answer.bytes().await.map_err(unreachable)?;
    serde_json::from_slice(&answer).context(OTHER_VERSION)
}

fn unreachable(error: reqwest::Error) -> anyhow::Error {
    Failure::unavailable(format!("the server does not answer: {error}"))
}

/// The error that an unsuccessful response stands for.
async fn failure(answer: reqwest::Response) -> anyhow::Error {
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another place");
        return Failure::refused(format!(
            "{} redirects to {to}, which is not followed: name the server itself",
            answer.url()
        ));
    }
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return unreachable(error),
    };
    let problem = serde_json::from_slice::<Problem>(&body).ok();
    let is_damaged = problem.as_ref().is_some_and(|problem| problem.is(codes::DAMAGED));
    let detail = problem.map_or_else(|| status.to_string(), |problem| problem.detail);
    match status.as_u16() {
        _ if is_damaged => Failure::differs(detail),
        404 if detail.ends_with(NOT_HERE) => Failure::refused(format!(
            "{detail}: name the services that it runs, or name the process of this one with --server"
        )),
        401 | 403 | 404 | 409 => Failure::refused(detail),
        503 | 504 => Failure::unavailable(detail),
        _ => anyhow::anyhow!("{detail}"),
    }
}
