//! The HTTP client of the demo.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use orderlog_http::{auth::Token, freshness::MIN_POSITION, params::CommandHeaders, tls};
use orderlog_server::registry::Registry;
use reqwest::{Method, Response, header};
use serde_json::Value;
use uuid::Uuid;

/// How long to wait for a response, and for anything that follows automatically.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to check for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a request is repeated while the server is busy or behind.
const N_TRIES: usize = 30;
/// The longest pause before a request is repeated, whatever the server asks for.
const PAUSE_MAX: Duration = Duration::from_secs(10);

pub struct Api {
    client: reqwest::Client,
    url: String,
    key: Token,
}

/// A response: its status, its JSON, and the position that it reflects.
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub position: Option<String>,
}

impl Answer {
    pub fn ok(self) -> anyhow::Result<Self> {
        ensure!((200..300).contains(&self.status), "it was answered with {}: {}", self.status, self.body);
        Ok(self)
    }

    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// What is sent besides a command's path and body.
#[derive(Clone, Copy, Default)]
pub struct Sent<'a> {
    /// The position of an earlier answer that the command must be decided with.
    pub after: Option<&'a str>,
    /// `Prefer`.
    pub prefer: Option<&'static str>,
}

impl Api {
    pub fn new(url: String, key: Token) -> anyhow::Result<Self> {
        // The process calls itself, so no proxy is needed.
        let client = tls::client(None, [])?.timeout(PATIENCE).build();
        Ok(Self { client: client.context("no HTTP client can be made")?, url, key })
    }

    /// Waits until all services are ready.
    pub async fn ready(&self, registry: &Registry) -> anyhow::Result<()> {
        let readiness = self.eventually("/readyz", |answer| answer.status == 200).await?;
        let here = |name: &str| readiness["services"].get(name).is_some();
        let all_are_here = registry.names().iter().all(|service| here(service.as_str()));
        ensure!(all_are_here, "the demo needs all five services in one process");
        Ok(())
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None, Sent::default()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        self.command(Method::POST, path, Some(body), Sent::default()).await
    }

    /// POST without a body.
    pub async fn press(&self, path: &str, sent: Sent<'_>) -> anyhow::Result<Answer> {
        self.command(Method::POST, path, None, sent).await
    }

    pub async fn put(&self, path: &str, body: Value) -> anyhow::Result<Answer> {
        self.command(Method::PUT, path, Some(body), Sent::default()).await
    }

    /// A command that must succeed.
    async fn command(&self, method: Method, path: &str, body: Option<Value>, sent: Sent<'_>) -> anyhow::Result<Answer> {
        let what = format!("{method} {path}");
        self.send(method, path, body, sent).await?.ok().context(what)
    }

    /// The document at `path`, once it is as wanted.
    pub async fn eventually(&self, path: &str, is_wanted: impl Fn(&Answer) -> bool) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.once(Method::GET, path, None, Sent::default(), None).await?;
            let answer = read(answer).await.with_context(|| format!("GET {path}"))?;
            if is_wanted(&answer) {
                return Ok(answer.body);
            }
            if Instant::now() >= deadline {
                bail!("GET {path} still answers {}: {}", answer.status, answer.body);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends a request, and repeats it with the same key for as long as the server asks for that.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        sent: Sent<'_>,
    ) -> anyhow::Result<Answer> {
        let what = format!("{method} {path}");
        let key = (method != Method::GET).then(|| Uuid::new_v4().to_string());
        let mut n_tries = 0;
        loop {
            let response = self.once(method.clone(), path, body.as_ref(), sent, key.as_deref()).await?;
            n_tries += 1;
            let pause = pause(&response);
            let answer = read(response).await.with_context(|| what.clone())?;
            if answer.body["retryable"] != true || n_tries == N_TRIES {
                return Ok(answer);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        sent: Sent<'_>,
        key: Option<&str>,
    ) -> anyhow::Result<Response> {
        let what = format!("{method} {path}");
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(self.key.expose());
        let headers = [(CommandHeaders::KEY, key), (MIN_POSITION, sent.after), ("Prefer", sent.prefer)];
        let given = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let request = given.fold(request, |request, (name, value)| request.header(name, value));
        let request = body.iter().fold(request, |request, body| request.json(body));
        request.send().await.with_context(|| format!("{what} was not answered"))
    }
}

async fn read(response: Response) -> anyhow::Result<Answer> {
    let status = response.status().as_u16();
    let position = response.headers().get("Orderlog-Position").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.json().await.context("it was answered without JSON")?;
    Ok(Answer { status, body, position })
}

/// How long to wait before the request is repeated.
fn pause(response: &Response) -> Duration {
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1)).min(PAUSE_MAX)
}
