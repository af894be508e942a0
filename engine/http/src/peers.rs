//! Calls to the other services over HTTP: queries for their data, and commands.
//!
//! Services in this process get the same requests through their routes, without a connection. So the process neither waits behind
//! its own callers nor takes room from them ([decision 26](../../docs/decisions/0026-one-caller-cannot-starve-the-others.md)).
//!
//! Every call has a timeout, and nothing here retries one. A query reports to its caller that the other service did not answer, and
//! `orderlog_runtime::delivery` retries commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use orderlog_runtime::trace::{self, Kind, Span};
use poem::{Endpoint, Response, endpoint::DynEndpoint, http::StatusCode};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::SetOnce;
use uuid::Uuid;

use crate::{
    auth::Token,
    freshness::{Freshness, MIN_POSITION},
    names::ServiceName,
    params::CommandHeaders,
    problem::{ApiError, Problem, codes},
    request,
    tls::{self, TlsError},
};

/// The time limit of connecting.
const CONNECT: Duration = Duration::from_millis(500);
/// The time limit of a whole call.
const CALL: Duration = Duration::from_secs(2);

/// Why a call to another service failed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("the {0} service did not answer in time")]
    TimedOut(ServiceName),
    /// It cannot be reached, or is unavailable.
    #[error("the {0} service can't be asked now")]
    Unavailable(ServiceName),
    #[error("the {0} service is not in this process, and --{0}-url is not set")]
    NotConfigured(ServiceName),
    /// There is a server at its URL, without this service.
    #[error("the server at --{0}-url does not run the {0} service")]
    Misdirected(ServiceName),
    #[error("the {service} service refused: {}", problem.detail)]
    Refused { service: ServiceName, problem: Box<Problem> },
}

impl From<PeerError> for ApiError {
    fn from(error: PeerError) -> Self {
        let detail = error.to_string();
        match error {
            PeerError::TimedOut(_) => Self::timed_out(codes::SERVICE_TIMED_OUT, detail),
            PeerError::Unavailable(_) => Self::unavailable(codes::SERVICE_UNAVAILABLE, detail),
            PeerError::NotConfigured(_) | PeerError::Misdirected(_) => {
                Self::unavailable(codes::SERVICE_NOT_CONFIGURED, detail)
            }
            PeerError::Refused { problem, .. } => Self::Relayed(problem),
        }
    }
}

/// Another service that a service calls, and what does not work if it can't: the end of a sentence.
pub type Call = (ServiceName, &'static str);

/// The address of a service in another process.
#[derive(Clone, Debug)]
pub struct Place {
    pub url: String,
    /// The key that it requires.
    pub key: Option<Token>,
}

/// The routes of this process.
pub type Routes = dyn DynEndpoint<Output = Response>;

/// Marks a request that this process sends to itself. Requests from outside cannot carry it.
#[derive(Clone, Copy, Debug)]
pub struct FromWithin;

/// Why there is no response, as reported by the HTTP client.
struct Silence {
    is_timeout: bool,
    why: String,
}

pub struct Peers {
    client: reqwest::Client,
    places: BTreeMap<ServiceName, Place>,
    here: BTreeSet<ServiceName>,
    // Weak, since the routes hold these peers.
    within: SetOnce<Weak<Routes>>,
}

impl Peers {
    /// Creates clients for the services at `places`, and for those `here`, in this process. `ca` has the trusted certificates.
    pub fn new(
        places: BTreeMap<ServiceName, Place>,
        here: &[ServiceName],
        ca: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let client = tls::client(ca, places.values().map(|place| place.url.as_str()))?
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .tcp_nodelay(true)
            .user_agent(concat!("orderlog/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, places, here: here.iter().copied().collect(), within: SetOnce::new() })
    }

    /// Whether `service` is in this process, or has a URL.
    pub fn has(&self, service: ServiceName) -> bool {
        self.places.contains_key(&service) || self.here.contains(&service)
    }

    /// Sets the routes of this process. Requests to its services wait for this.
    pub fn open(&self, routes: &Arc<Routes>) {
        // Called once per process.
        drop(self.within.set(Arc::downgrade(routes)));
    }

    fn request(&self, method: Method, service: ServiceName, path: &str) -> RequestBuilder {
        let Some(Place { url, key }) = self.places.get(&service) else {
            // Only path and query matter.
            return self.client.request(method, format!("http://localhost{path}"));
        };
        let request = self.client.request(method, format!("{}{path}", url.trim_end_matches('/')));
        match key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    /// Sends a request. Returns the status and body of the response.
    async fn send(&self, service: ServiceName, request: RequestBuilder) -> Result<(StatusCode, Bytes), Silence> {
        if !self.places.contains_key(&service) {
            let answering = self.answer_within(request.build()?);
            return tokio::time::timeout(CALL, answering).await.unwrap_or_else(|_| {
                Err(Silence { is_timeout: true, why: format!("no answer within {} s", CALL.as_secs()) })
            });
        }
        let response = request.send().await?;
        Ok((response.status(), response.bytes().await?))
    }

    async fn answer_within(&self, request: reqwest::Request) -> Result<(StatusCode, Bytes), Silence> {
        let failed = |why: String| Silence { is_timeout: false, why };
        let routes = self.within.wait().await.upgrade().ok_or_else(|| failed("the process is stopping".to_owned()))?;
        let url = request.url();
        let uri = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let body = request.body().and_then(reqwest::Body::as_bytes).map(<[u8]>::to_vec).unwrap_or_default();
        let mut within = poem::Request::builder().method(request.method().clone()).uri_str(uri).body(body);
        *within.headers_mut() = request.headers().clone();
        within.set_data(FromWithin);
        let response = routes.get_response(within).await;
        let status = response.status();
        let body = response.into_body().into_bytes().await.map_err(|error| failed(error.to_string()))?;
        Ok((status, body))
    }

    fn span(&self, method: &'static str, service: ServiceName) -> Span {
        let mut span = Span::begin(Kind::Client, || format!("{method} {service}"), trace::current().as_deref());
        span.set("http.request.method", method);
        span.set("peer.service", service.as_str());
        span
    }

    /// Returns the object at `path` of `service`, reflecting everything that the caller has seen; `None` if it does not exist.
    pub async fn get<T: DeserializeOwned>(
        &self,
        service: ServiceName,
        path: &str,
        query: &[(&str, String)],
        seen: &Freshness,
    ) -> Result<Option<T>, PeerError> {
        if !self.has(service) {
            return Err(PeerError::NotConfigured(service));
        }
        let mut request = self.request(Method::GET, service, path).query(query);
        for position in &seen.seen {
            request = request.header(MIN_POSITION, position.to_string());
        }
        if let Some(id) = request::header() {
            request = request.header(request::REQUEST_ID, id);
        }
        let mut span = self.span("GET", service);
        let (status, body) = self.send(service, traced(request, &span)).await.map_err(|silence| {
            if silence.is_timeout { PeerError::TimedOut(service) } else { PeerError::Unavailable(service) }
        })?;
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_success() {
            return serde_json::from_slice(&body).map(Some).map_err(|_| PeerError::Unavailable(service));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if status == StatusCode::NOT_FOUND && problem.code != codes::NO_SUCH_RESOURCE.name => Ok(None),
            Ok(_) | Err(_) if status == StatusCode::NOT_FOUND => Err(PeerError::Misdirected(service)),
            Ok(problem) if status.is_client_error() => Err(PeerError::Refused { service, problem: Box::new(problem) }),
            Ok(_) | Err(_) => Err(PeerError::Unavailable(service)),
        }
    }

    /// Makes `service` execute the command at `path`, once for this idempotency key.
    ///
    /// # Errors
    /// Why the command was not executed, or may not have been.
    pub async fn post(&self, service: ServiceName, path: &str, body: &Value, key: Uuid) -> Result<(), String> {
        let mut span = self.span("POST", service);
        let request = self.request(Method::POST, service, path).json(body);
        let request = traced(request.header(CommandHeaders::KEY, key.to_string()), &span);
        let (status, _) = self.send(service, request).await.map_err(|silence| silence.why)?;
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

fn traced(request: RequestBuilder, span: &Span) -> RequestBuilder {
    match span.trace() {
        Some(trace) => request.header(CommandHeaders::TRACE, trace),
        None => request,
    }
}

impl From<reqwest::Error> for Silence {
    fn from(error: reqwest::Error) -> Self {
        // Without the URL, which may contain credentials.
        Self { is_timeout: error.is_timeout(), why: error.without_url().to_string() }
    }
}
