//! Forwards commands to the instance that holds the journal's lease, as long as that one answers.
//!
//! Any instance may decide any command: the log arbitrates. But if two decide on one aggregate at the same time, one
//! loses the race and decides again, and the one nearer to the log always wins. If one instance decides for all, none
//! loses.
//!
//! A forwarded command always has an idempotency key, the caller's or one generated here. So an instance that gets no
//! answer decides the command itself, and it is not executed twice. If it then rejects the command, the other instance
//! may still have executed it, or may do so later, so the answer is that the outcome is unknown. Nothing depends on who
//! holds the lease, or on how recently this instance checked.
//!
//! Deliberately absent: queries, which every instance answers from its own read model.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use orderlog_eventlog::Lease;
use orderlog_http::{
    answer::{POSITION, REPLAYED},
    freshness::Freshness,
    json,
    params::CommandHeaders,
    probe::Probe,
    problem::{ApiError, codes},
    request::{self, REQUEST_ID},
    service::mounted::RouteTable,
    tls::{self, TlsError},
    waiting::aside_if_possible,
};
use orderlog_runtime::trace;
use poem::{
    Endpoint, Request, Response, Result,
    endpoint::{BoxEndpoint, ToDynEndpoint},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::PathAndQuery},
};
use tokio::{sync::watch, time::Instant};
use tracing::{debug, info};
use uuid::Uuid;

/// Proves that a request comes from another instance of the deployment, so it is neither forwarded nor counted again.
pub const FORWARDED_BY_INSTANCE: HeaderName = HeaderName::from_static("orderlog-handed-over");

/// How often to look up the holder of the lease.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The connection timeout.
const CONNECT: Duration = Duration::from_millis(250);
/// How long the holder may take to answer, in addition to the wait that the caller requested.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a holder that did not answer is not asked again.
const DISTRUST: Duration = Duration::from_secs(5);

/// Headers that apply to a single hop (RFC 9110, 7.6.1), or are generated anew.
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

/// Refusals that concern the holder and not the command, which it has not executed: the caller was admitted here.
const NOT_HERE: [StatusCode; 4] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];

/// Rejections that depend on the current state, or only say that nothing was done here: another instance may decide
/// otherwise.
const HERE_ONLY: [StatusCode; 5] = [
    StatusCode::NOT_FOUND,
    StatusCode::CONFLICT,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// How this process reaches other instances.
#[derive(Clone)]
pub struct ForwardingSettings {
    client: reqwest::Client,
    /// The URL at which others reach this process.
    own: String,
    /// A token that only instances of the deployment know.
    token: HeaderValue,
}

impl ForwardingSettings {
    /// This process is reachable at `own`; `token` is visible ASCII.
    pub fn new(own: String, token: HeaderValue, ca: Option<&Path>) -> Result<Self, TlsError> {
        let client = tls::client(ca, [own.as_str()])?.connect_timeout(CONNECT).tcp_nodelay(true).build()?;
        Ok(Self { client, own, token })
    }
}

/// The result of asking the holder.
enum ForwardingOutcome {
    Answer(Response),
    /// It has not executed the command, and will not.
    NotTaken,
    /// It may have executed the command, or may do so later.
    Nothing,
}

/// Forwards one service's commands.
pub struct Forwarding {
    settings: ForwardingSettings,
    holder: watch::Receiver<Option<String>>,
    /// Until then the holder is not asked, because it did not answer.
    distrusted: Mutex<Option<Instant>>,
    probe: Arc<dyn Probe>,
}

impl Forwarding {
    /// Forwards to the holder of `lease`, as soon as its address is known.
    pub fn begin(settings: ForwardingSettings, lease: Arc<dyn Lease>, probe: Arc<dyn Probe>) -> Arc<Self> {
        let (tell, holder) = watch::channel(None);
        tokio::spawn(look_out(lease, settings.own.clone(), tell));
        Arc::new(Self { settings, holder, distrusted: Mutex::default(), probe })
    }

    /// Wraps each command of `table`.
    pub fn before(self: Arc<Self>, table: RouteTable) -> RouteTable {
        let each = |(method, inner): (Method, BoxEndpoint<'static>)| {
            if method == Method::GET {
                return (method, inner);
            }
            let endpoint = ForwardingEndpoint { inner, forwarding: Arc::clone(&self) };
            (method, Box::new(ToDynEndpoint(endpoint)) as BoxEndpoint<'static>)
        };
        table.into_iter().map(|(path, operations)| (path, operations.into_iter().map(each).collect())).collect()
    }

    /// The URL to forward to; `None` if this instance decides.
    fn to(&self, request: &Request) -> Option<String> {
        let holder = self.holder.borrow().clone()?;
        if request.headers().contains_key(&FORWARDED_BY_INSTANCE) {
            return None;
        }
        let distrusted = *self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        distrusted.is_none_or(|until| until <= Instant::now()).then_some(holder)
    }

    fn distrust(&self) {
        *self.distrusted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + DISTRUST);
    }

    async fn ask(&self, holder: &str, request: &Request, body: Bytes) -> ForwardingOutcome {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let method = request.method().clone();
        let url = format!("{}{path}", holder.trim_end_matches('/'));
        let mut headers = request.headers().clone();
        OF_ONE_HOP.iter().for_each(|name| drop(headers.remove(name)));
        headers.insert(FORWARDED_BY_INSTANCE, self.settings.token.clone());
        if let Some(id) = request::header() {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(trace) = trace::current().and_then(|trace| HeaderValue::from_str(&trace).ok()) {
            headers.insert(CommandHeaders::TRACE, trace);
        }
        // Invalid positions are left to the holder to reject.
        let wait = Freshness::of(request).ok().and_then(|freshness| freshness.wait);
        let patience = PATIENCE + wait.unwrap_or_default();
        let asking = async {
            let answer = self.settings.client.request(method, url).headers(headers).body(body).send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        };
        match tokio::time::timeout(patience, asking).await {
            // It is stopping or overloaded, or does not yet know a key that is valid here.
            Ok(Ok((status, ..))) if NOT_HERE.contains(&status) => {
                debug!(holder, status = status.as_u16(), "the holder of the lease can't take a command");
                ForwardingOutcome::NotTaken
            }
            Ok(Ok((status, ..))) if status.is_server_error() => {
                debug!(
                    holder,
                    status = status.as_u16(),
                    "the holder of the lease does not know what came of a command"
                );
                ForwardingOutcome::Nothing
            }
            Ok(Ok((status, headers, body))) => {
                let mut response = Response::builder().status(status).body(body);
                *response.headers_mut() = headers;
                OF_ONE_HOP.iter().for_each(|name| drop(response.headers_mut().remove(name)));
                ForwardingOutcome::Answer(response)
            }
            Ok(Err(failure)) => {
                info!(holder, "the holder of the lease can't be asked: {failure}");
                self.distrust();
                // Without a connection nothing was sent.
                if failure.is_connect() { ForwardingOutcome::NotTaken } else { ForwardingOutcome::Nothing }
            }
            Err(_) => {
                info!(holder, "the holder of the lease does not answer");
                self.distrust();
                ForwardingOutcome::Nothing
            }
        }
    }
}

/// A command's endpoint that forwards first.
struct ForwardingEndpoint {
    inner: BoxEndpoint<'static>,
    forwarding: Arc<Forwarding>,
}

impl Endpoint for ForwardingEndpoint {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let Some(holder) = self.forwarding.to(&request) else { return self.inner.call(request).await };
        let (limits, declared) = (json::limits_of(&request)?, json::declared_length(&request));
        let body = json::arrived(declared, request.take_body(), limits).await?;
        request.set_body(body.clone());
        let is_made_here = !request.headers().contains_key(CommandHeaders::KEY);
        if is_made_here {
            let key = HeaderValue::from_str(&format!("handed-over-{}", Uuid::now_v7()));
            request.headers_mut().insert(CommandHeaders::KEY, key.map_err(|error| ApiError::internal(&error))?);
        }
        let answer = aside_if_possible(self.forwarding.ask(&holder, &request, body)).await;
        self.forwarding.probe.measures().handed_over(matches!(answer, ForwardingOutcome::Answer(_)));
        let mut response = match answer {
            ForwardingOutcome::Answer(response) => response,
            ForwardingOutcome::NotTaken => self.inner.call(request).await?,
            ForwardingOutcome::Nothing => in_doubt(self.inner.call(request).await)?,
        };
        if is_made_here {
            // The caller does not know this key.
            response.headers_mut().remove(REPLAYED);
        }
        if let Some(position) = position_of(response.headers()) {
            self.forwarding.probe.has_answered_elsewhere(position + 1);
        }
        Ok(response)
    }
}

/// The answer for a command that another instance may have executed, if this one's own result is `here`.
fn in_doubt(here: Result<Response>) -> Result<Response> {
    let status = match &here {
        Ok(response) => response.status(),
        Err(error) => error.status(),
    };
    if HERE_ONLY.contains(&status) {
        let detail = "another instance was asked first and has not answered: it may have done it, or may do it yet";
        return Err(ApiError::timed_out(codes::OUTCOME_UNKNOWN, detail).into());
    }
    here
}

/// The offset of `orders@1042`.
fn position_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(POSITION)?.to_str().ok()?.split_once('@')?.1.parse().ok()
}

/// Publishes the holder's URL while there are receivers; `None` if this instance is the holder.
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
