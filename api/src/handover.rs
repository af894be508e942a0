//! Commands are handed to the instance that holds the journal's lease, while it answers.
//!
//! Any instance may decide any command: the log arbitrates. But of two that decide on one aggregate at once, one loses the race and
//! decides again, and whoever is nearer to the log always wins. Where one instance decides for all, nobody loses.
//!
//! A command that is handed over always has an idempotency key, the caller's or one made here. So whoever hears nothing goes ahead
//! itself, and what the other one may have done is not done twice. What this instance refuses then the other one may still have done, or do
//! later: the caller is told that the outcome is unknown. Nothing rests on who holds the lease, nor on how old the news of it are.
//!
//! Deliberately absent: queries, which every instance answers from its own rows.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use orderlog_eventlog::Lease;
use orderlog_service::trace;
use poem::{
    Endpoint, Request, Response, Result,
    endpoint::{BoxEndpoint, ToDynEndpoint},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::PathAndQuery},
};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};
use uuid::Uuid;

use crate::{
    answer::{POSITION, REPLAYED},
    freshness::Freshness,
    json,
    params::Asked,
    problem::{ApiError, Code},
    services::{Probe, RouteTable},
    telemetry::request::{self, REQUEST_ID},
    tls::{self, TlsError},
    waiting::aside_if_possible,
};

/// Proves that a request comes from another instance of the deployment; so it is not handed on again, nor counted again.
pub const HANDED_OVER: HeaderName = HeaderName::from_static("orderlog-handed-over");

/// How often is asked who holds the lease.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(250);
/// How long the holder may take to answer, beside what its caller waits for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A holder that did not answer is not asked again for so long.
const DISTRUST: Duration = Duration::from_secs(5);

/// Of one request to the next hop only (RFC 9110, 7.6.1), or made anew.
const OF_ONE_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Refusals that are about the holder, not about the command, of which nothing is done: who asks was let in here.
const NOT_HERE: [StatusCode; 4] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];

/// Refusals that rest on what there is, or that only say that nothing was done here: another instance may find otherwise.
const HERE_ONLY: [StatusCode; 5] = [
    StatusCode::NOT_FOUND,
    StatusCode::CONFLICT,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// How this process takes part.
#[derive(Clone)]
pub struct Handing {
    client: reqwest::Client,
    /// Where others reach this process.
    own: String,
    /// What all instances of the deployment know, and nobody else.
    token: HeaderValue,
}

impl Handing {
    /// This process is reached at `own`; `token` is visible ASCII.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(own: String, token: HeaderValue, ca: Option<&Path>) -> Result<Self, TlsError> {
        let client = tls::client(ca, [own.as_str()])?.connect_timeout(CONNECT).tcp_nodelay(true).build()?;
        Ok(Self { client, own, token })
    }
}

/// What came of asking the holder.
enum Heard {
    /// Its answer.
    Answer(Response),
    /// It has surely not done it, and will not.
    NotTaken,
    /// It may have, or may still.
    Nothing,
}

/// Hands one service's commands over.
pub struct Handover {
    handing: Handing,
    holder: watch::Receiver<Option<String>>,
    /// The holder did not answer: until then it is left alone.
    distrusted: Mutex<Option<Instant>>,
    probe: Arc<dyn Probe>,
}

impl Handover {
    /// Hands over to whoever holds `lease`, as soon as it is known where that is.
    pub fn begin(handing: Handing, lease: Arc<dyn Lease>, probe: Arc<dyn Probe>) -> Arc<Self> {
        let (tell, holder) = watch::channel(None);
        tokio::spawn(look_out(lease, handing.own.clone(), tell));
        Arc::new(Self { handing, holder, distrusted: Mutex::default(), probe })
    }

    /// Put this before each command of `table`.
    pub fn before(self: Arc<Self>, table: RouteTable) -> RouteTable {
        let each = |(method, inner): (Method, BoxEndpoint<'static>)| {
            if method == Method::GET {
                return (method, inner);
            }
            let handed = Handed { inner, handover: Arc::clone(&self) };
            (method, Box::new(ToDynEndpoint(handed)) as BoxEndpoint<'static>)
        };
        table.into_iter().map(|(path, operations)| (path, operations.into_iter().map(each).collect())).collect()
    }

    /// Where to, unless it is this instance's to decide.
    fn to(&self, request: &Request) -> Option<String> {
        let holder = self.holder.borrow().clone()?;
        if request.headers().contains_key(&HANDED_OVER) {
            return None;
        }
        let distrusted = *self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        distrusted.is_none_or(|until| until <= Instant::now()).then_some(holder)
    }

    fn distrust(&self) {
        *self.distrusted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + DISTRUST);
    }

    /// What the holder answers.
    async fn ask(&self, holder: &str, request: &Request, body: Bytes) -> Heard {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let method = request.method().clone();
        let url = format!("{}{path}", holder.trim_end_matches('/'));
        let mut headers = request.headers().clone();
        OF_ONE_HOP.iter().for_each(|name| drop(headers.remove(name)));
        headers.insert(HANDED_OVER, self.handing.token.clone());
        if let Some(id) = request::header() {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(trace) = trace::current().and_then(|trace| HeaderValue::from_str(&trace).ok()) {
            headers.insert(Asked::TRACE, trace);
        }
        // Positions that are none are for the holder to refuse.
        let wait = Freshness::read(request.headers()).ok().and_then(|freshness| freshness.wait);
        let patience = PATIENCE + wait.unwrap_or_default();
        let asking = async {
            let answer = self.handing.client.request(method, url).headers(headers).body(body).send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        };
        match tokio::time::timeout(patience, asking).await {
            // It is stopping or overloaded, or does not know a key yet that is good here.
            Ok(Ok((status, ..))) if NOT_HERE.contains(&status) => {
                debug!(holder, status = status.as_u16(), "the holder of the lease can't take a command");
                Heard::NotTaken
            }
            Ok(Ok((status, ..))) if status.is_server_error() => {
                debug!(
                    holder,
                    status = status.as_u16(),
                    "the holder of the lease does not know what came of a command"
                );
                Heard::Nothing
            }
            Ok(Ok((status, headers, body))) => {
                let mut response = Response::builder().status(status).body(body);
                *response.headers_mut() = headers;
                OF_ONE_HOP.iter().for_each(|name| drop(response.headers_mut().remove(name)));
                Heard::Answer(response)
            }
            Ok(Err(failure)) => {
                info!(holder, "the holder of the lease can't be asked: {failure}");
                self.distrust();
                // Without a connection nothing was sent.
                if failure.is_connect() { Heard::NotTaken } else { Heard::Nothing }
            }
            Err(_) => {
                info!(holder, "the holder of the lease does not answer");
                self.distrust();
                Heard::Nothing
            }
        }
    }
}

/// A command's endpoint, behind a hand-over.
struct Handed {
    inner: BoxEndpoint<'static>,
    handover: Arc<Handover>,
}

impl Endpoint for Handed {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let Some(holder) = self.handover.to(&request) else { return self.inner.call(request).await };
        let (limits, declared) = (json::limits_of(&request)?, json::declared_length(&request));
        let body = json::arrived(declared, request.take_body(), limits).await?;
        request.set_body(body.clone());
        let is_made_here = !request.headers().contains_key(Asked::KEY);
        if is_made_here {
            let key = HeaderValue::from_str(&format!("handed-over-{}", Uuid::now_v7()));
            request.headers_mut().insert(Asked::KEY, key.map_err(|error| ApiError::internal(&error))?);
        }
        let answer = aside_if_possible(self.handover.ask(&holder, &request, body)).await;
        self.handover.probe.measures().handed_over(matches!(answer, Heard::Answer(_)));
        let mut response = match answer {
            Heard::Answer(response) => response,
            Heard::NotTaken => self.inner.call(request).await?,
            Heard::Nothing => in_doubt(self.inner.call(request).await)?,
        };
        if is_made_here {
            // The caller does not know of this key.
            response.headers_mut().remove(REPLAYED);
        }
        if let Some(position) = position_of(response.headers()) {
            self.handover.probe.has_answered_elsewhere(position + 1);
        }
        Ok(response)
    }
}

/// What to say of a command that another instance may have done, when this one has come to `here`.
fn in_doubt(here: Result<Response>) -> Result<Response> {
    let status = match &here {
        Ok(response) => response.status(),
        Err(error) => error.status(),
    };
    if HERE_ONLY.contains(&status) {
        let detail = "another instance was asked first and has not answered: it may have done it, or may do it yet";
        return Err(ApiError::timed_out(Code::OutcomeUnknown, detail).into());
    }
    here
}

/// The offset of `orders@1042`.
fn position_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(POSITION)?.to_str().ok()?.split_once('@')?.1.parse().ok()
}

/// Tell who holds the lease, as long as somebody wants to know; nobody, where it is this instance.
async fn look_out(lease: Arc<dyn Lease>, own: String, tell: watch::Sender<Option<String>>) {
    let held = lease.held();
    while !tell.is_closed() {
        let holder = if *held.borrow() { Ok(None) } else { lease.holder().await };
        match holder {
            Ok(holder) => {
                let holder = holder.filter(|holder| *holder != own);
                tell.send_if_modified(|known| std::mem::replace(known, holder.clone()) != holder);
            }
            Err(failure) => debug!("who holds the lease can't be told: {failure}"),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: StatusCode) -> Result<Response> {
        Ok(Response::builder().status(status).finish())
    }

    fn told(here: Result<Response>) -> StatusCode {
        in_doubt(here).map_or_else(|error| error.status(), |response| response.status())
    }

    #[test]
    fn what_another_instance_may_have_done_is_not_told_to_be_not_done() {
        for status in HERE_ONLY {
            assert_eq!(told(answered(status)), StatusCode::GATEWAY_TIMEOUT, "{status}");
            assert_eq!(told(Err(poem::Error::from_status(status))), StatusCode::GATEWAY_TIMEOUT, "{status}");
        }
    }

    #[test]
    fn what_no_instance_can_find_otherwise_is_told_as_it_is() {
        for status in [StatusCode::CREATED, StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY] {
            assert_eq!(told(answered(status)), status);
        }
    }
}
