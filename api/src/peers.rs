//! The other services, asked over HTTP: for a query that needs what they know, and to notify.
//!
//! Every call has a timeout, and nothing here repeats one: a query tells its caller that the other service did not answer,
//! and notices are repeated by `orderlog_service::delivery`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use async_trait::async_trait;
use orderlog_service::{
    delivery::{Notice, Notifier},
    trace::{self, Kind, Span},
};
use poem::http::StatusCode;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    auth::Token,
    freshness::{Freshness, MIN_POSITION},
    params::Asked,
    problem::{ApiError, Code, Problem},
    services::ServiceName,
    telemetry::request,
    tls::{self, TlsError},
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a call may take in all.
const CALL: Duration = Duration::from_secs(2);

/// Why another service did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It did not answer in time.
    #[error("the {0} service did not answer in time")]
    TimedOut(ServiceName),
    /// It can't be reached, or can't answer.
    #[error("the {0} service can't be asked now")]
    Unavailable(ServiceName),
    /// It refused.
    #[error("the {service} service refused: {}", problem.detail)]
    Refused {
        /// Which service.
        service: ServiceName,
        /// Its words.
        problem: Box<Problem>,
    },
}

impl From<PeerError> for ApiError {
    fn from(error: PeerError) -> Self {
        let detail = error.to_string();
        match error {
            PeerError::TimedOut(_) => Self::timed_out(Code::ServiceTimedOut, detail),
            PeerError::Unavailable(_) => Self::unavailable(Code::ServiceUnavailable, detail),
            PeerError::Refused { problem, .. } => Self(problem),
        }
    }
}

/// Where a service is asked.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its base URL.
    pub url: String,
    /// The key that it wants to see.
    pub key: Option<Token>,
}

/// The other services.
#[derive(Clone, Debug)]
pub struct Peers {
    client: reqwest::Client,
    places: BTreeMap<ServiceName, Place>,
    own: Place,
}

impl Peers {
    /// The services at these places; those without one are at `own`, which is this process. `ca` has the certificates that are
    /// believed.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(places: BTreeMap<ServiceName, Place>, own: Place, ca: Option<&Path>) -> Result<Self, TlsError> {
        let client = tls::client(ca, places.values().map(|place| place.url.as_str()))?
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .tcp_nodelay(true)
            .user_agent(concat!("orderlog/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, places, own })
    }

    fn request(&self, method: Method, service: ServiceName, path: &str) -> RequestBuilder {
        let Place { url, key } = self.places.get(&service).unwrap_or(&self.own);
        let request = self.client.request(method, format!("{}{path}", url.trim_end_matches('/')));
        match key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    fn span(&self, method: &'static str, service: ServiceName) -> Span {
        let mut span = Span::begin(Kind::Client, || format!("{method} {service}"), trace::current().as_deref());
        span.set("http.request.method", method);
        span.set("peer.service", service.as_str());
        span
    }

    /// What `service` has at `path`; `None` if there is nothing.
    ///
    /// # Errors
    /// [`PeerError`] if it does not say.
    pub async fn get<T: DeserializeOwned>(
        &self,
        service: ServiceName,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Option<T>, PeerError> {
        self.get_fresh(service, path, query, &Freshness::default()).await
    }

    /// The same, with everything in it that the caller has seen of that service.
    ///
    /// # Errors
    /// [`PeerError`] if it does not say.
    pub async fn get_fresh<T: DeserializeOwned>(
        &self,
        service: ServiceName,
        path: &str,
        query: &[(&str, String)],
        freshness: &Freshness,
    ) -> Result<Option<T>, PeerError> {
        let mut request = self.request(Method::GET, service, path).query(query);
        for position in freshness.seen.iter().filter(|position| position.journal == service) {
            request = request.header(MIN_POSITION, position.to_string());
        }
        if let Some(id) = request::header() {
            request = request.header(request::REQUEST_ID, id);
        }
        let mut span = self.span("GET", service);
        let response = traced(request, &span).send().await;
        let response = response.map_err(|error| failure(service, &error))?;
        span.set("http.response.status_code", i64::from(response.status().as_u16()));
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| failure(service, &error))?;
        if status == StatusCode::NOT_FOUND.as_u16() {
            return Ok(None);
        }
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body).map(Some).map_err(|_| PeerError::Unavailable(service));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if (400..500).contains(&status) => {
                Err(PeerError::Refused { service, problem: Box::new(problem) })
            }
            Ok(_) | Err(_) => Err(PeerError::Unavailable(service)),
        }
    }
}

/// The request, as a part of this trace.
fn traced(request: RequestBuilder, span: &Span) -> RequestBuilder {
    match span.trace() {
        Some(trace) => request.header(Asked::TRACE, trace),
        None => request,
    }
}

fn failure(service: ServiceName, error: &reqwest::Error) -> PeerError {
    if error.is_timeout() { PeerError::TimedOut(service) } else { PeerError::Unavailable(service) }
}

#[async_trait]
impl Notifier for Peers {
    async fn tell(&self, notice: &Notice, key: Uuid) -> Result<(), String> {
        let Notice { recipient, subject, body } = notice;
        let notice = serde_json::json!({ "recipient": recipient, "subject": subject, "body": body });
        let request = self.request(Method::POST, ServiceName::Notifications, "/notify").json(&notice);
        let mut span = self.span("POST", ServiceName::Notifications);
        let sent = traced(request.header(Asked::KEY, key.to_string()), &span).send().await;
        // Without the URL: it may hold credentials.
        let response = sent.map_err(|error| error.without_url().to_string())?;
        span.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_success() { Ok(()) } else { Err(format!("it answered {}", response.status())) }
    }
}
