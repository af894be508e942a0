//! Gives every request an id, a span and a line in the access log, and counts it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_http::{
    measures::HttpMeasures,
    operations::{Operation, nameless},
    params::{CommandHeaders, trace_of},
    request::{Current, REQUEST_ID, taken_by},
    service::mounted::RouteTable,
};
use orderlog_runtime::trace::{self, Kind, Span};
use poem::{
    Endpoint, EndpointExt, Request, Response, Result,
    endpoint::BoxEndpoint,
    http::{HeaderValue, Method, StatusCode},
};
use tracing::{Instrument, field};

/// Polled constantly, so kept out of the access log.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];
pub fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}

/// The route of requests that match none.
const UNMATCHED: &str = "unmatched";

/// Observes all requests. The outermost endpoint, so that every response has an id.
pub struct Observed<E> {
    inner: E,
    measures: HttpMeasures,
}

impl<E> Observed<E> {
    pub fn new(inner: E, measures: HttpMeasures) -> Self {
        Self { inner, measures }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for Observed<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let (begun, method) = (Instant::now(), method_name(request.method()));
        let current = Current::new(request.headers().get(REQUEST_ID));
        let mut span = begin_span(&mut request, method);
        // At this level every filter but `off` keeps the span. A request that the process sends to itself gets its own.
        let told = tracing::error_span!(parent: None, "request", request_id = current.id(), trace_id = field::Empty);
        if let Some(trace) = span.trace().and_then(|trace| trace.split('-').nth(1)) {
            told.record("trace_id", trace);
        }
        let _in_flight = self.measures.begin();
        // Boxed: it is some kilobytes, which would be copied with everything around it each time that is moved (7 % of
        // a command's processor time).
        let answering = Box::pin(self.inner.call(request));
        let answering = trace::scope(span.trace().map(str::to_owned), answering).instrument(told);
        let mut response = match Arc::clone(&current).scope(answering).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        };
        response.headers_mut().insert(REQUEST_ID, current.header());
        let (status, took) = (response.status(), begun.elapsed());
        let route = current.route().unwrap_or(UNMATCHED);
        self.measures.answered(route, method, status, took);
        end_span(&mut span, method, route, status);
        tell(&current, method, status, took);
        Ok(response)
    }
}

/// The span of a request. Later spans are its children, so its trace replaces the request's.
fn begin_span(request: &mut Request, method: &'static str) -> Span {
    if is_probe(request.uri().path()) {
        return Span::none();
    }
    let span = Span::begin(Kind::Server, || method.to_owned(), trace_of(request.headers()));
    if let Some(trace) = span.trace().and_then(|trace| HeaderValue::from_str(trace).ok()) {
        request.headers_mut().insert(CommandHeaders::TRACE, trace);
    }
    span
}

fn end_span(span: &mut Span, method: &'static str, route: &str, status: StatusCode) {
    if span.is_recorded() {
        span.rename(|| format!("{method} {route}"));
        span.set("http.request.method", method);
        span.set("http.route", route.to_owned());
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail("");
        }
    }
}

fn tell(current: &Current, method: &'static str, status: StatusCode, took: Duration) {
    let (request_id, route) = (current.id(), current.route().unwrap_or(UNMATCHED));
    let (status, duration_ms) = (status.as_u16(), milliseconds(took));
    if is_probe(route) || current.is_quiet() {
        tracing::debug!(target: "access", request_id, method, route, status, duration_ms, "{method} {route} {status}");
    } else {
        tracing::info!(target: "access", request_id, method, route, status, duration_ms, "{method} {route} {status}");
    }
}

/// With at most three decimals.
fn milliseconds(time: Duration) -> f64 {
    // Exact up to about 285 years.
    time.as_micros() as f64 / 1_000.0
}

/// A fixed set, since callers may send any method.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Makes every route of the table report when it matches, with the template that its operation declares.
pub fn name_routes(table: &mut RouteTable, declared: impl IntoIterator<Item = &'static Operation>) {
    let templates: BTreeSet<&str> = declared.into_iter().map(|operation| operation.path).collect();
    for (path, endpoints) in table {
        let template: Arc<str> = template(path, &templates).into();
        for endpoint in endpoints.values_mut() {
            let inner = std::mem::replace(endpoint, poem::endpoint::make_sync(|_| Response::default()).boxed());
            *endpoint = Named { inner, template: Arc::clone(&template) }.boxed();
        }
    }
}

/// The template of a path whose parameters have a colon and meaningless names.
fn template(path: &str, templates: &BTreeSet<&str>) -> String {
    let given = nameless(path);
    if let Some(template) = templates.iter().find(|template| nameless(template) == given) {
        return (*template).to_owned();
    }
    let segment = |given: &str| given.strip_prefix(':').map_or_else(|| given.to_owned(), |name| format!("{{{name}}}"));
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

struct Named {
    inner: BoxEndpoint<'static>,
    template: Arc<str>,
}

impl Endpoint for Named {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        taken_by(&self.template);
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_decimals_at_most() {
        let told = |nanoseconds| milliseconds(Duration::from_nanos(nanoseconds)).to_string();
        assert_eq!([told(3_141_592), told(999), told(61_234_567_891)], ["3.141", "0", "61234.567"]);
    }

    #[test]
    fn routes_are_told_as_the_contract_writes_them() {
        let templates =
            BTreeSet::from(["/orders", "/orders/{order_id}", "/orders/{order_id}/cancel", "/stock/reserve"]);
        for (path, told) in [
            ("/orders", "/orders"),
            ("/orders/:param0", "/orders/{order_id}"),
            ("/orders/:param0/cancel", "/orders/{order_id}/cancel"),
            ("/stock/:param0", "/stock/{param0}"),
            ("/openapi/:service", "/openapi/{service}"),
        ] {
            assert_eq!(template(path, &templates), told);
        }
    }
}
