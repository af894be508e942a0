//! HTTP request metrics, updated by atomic additions.

use std::time::Duration;

use poem::http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, core::Collector};

/// In seconds. A query takes less than a millisecond; a command waits until its record is durable.
const BUCKETS: [f64; 13] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// HTTP request metrics.
#[derive(Clone)]
pub struct HttpMeasures {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    limited: IntCounterVec,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A request was rejected.
    Requests,
    /// A request was not allowed to wait.
    Waits,
    /// A connection's request was rejected.
    Connections,
    /// A connection without a caller was closed to make room for another one.
    StrayConnections,
}

impl Limit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Waits => "waits",
            Self::Connections => "connections",
            Self::StrayConnections => "stray_connections",
        }
    }
}

impl HttpMeasures {
    pub fn new() -> Self {
        let requests = Opts::new("orderlog_http_requests_total", "Requests answered, by route, method and status");
        let seconds =
            HistogramOpts::new("orderlog_http_request_duration_seconds", "From a request to the head of its response");
        let in_flight = IntGauge::new("orderlog_http_requests_in_flight", "Requests not answered yet");
        let limited = Opts::new(
            "orderlog_http_limited_total",
            "Requests and connections rejected, waits skipped and connections closed because a limit was reached",
        );
        let well_formed = "the names of metrics and labels are well formed";
        let measures = Self {
            requests: IntCounterVec::new(requests, &["route", "method", "status"]).expect(well_formed),
            seconds: HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["route", "method"]).expect(well_formed),
            in_flight: in_flight.expect(well_formed),
            limited: IntCounterVec::new(limited, &["limit"]).expect(well_formed),
        };
        // A series that appears only with its first event has no rate for it.
        for limit in [Limit::Requests, Limit::Waits, Limit::Connections, Limit::StrayConnections] {
            drop(measures.limited.with_label_values(&[limit.as_str()]));
        }
        measures
    }

    /// Counts a request in flight until the result is dropped, even if its caller goes away.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub fn answered(&self, route: &str, method: &str, status: StatusCode, took: Duration) {
        self.requests.with_label_values(&[route, method, status.as_str()]).inc();
        self.seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// Counts that this limit was reached.
    pub fn limited(&self, limit: Limit) {
        self.limited.with_label_values(&[limit.as_str()]).inc();
    }

    /// Returns the collectors to register.
    pub fn collectors(&self) -> [Box<dyn Collector>; 4] {
        let Self { requests, seconds, in_flight, limited } = self.clone();
        [Box::new(requests), Box::new(seconds), Box::new(in_flight), Box::new(limited)]
    }
}

impl Default for HttpMeasures {
    fn default() -> Self {
        Self::new()
    }
}

/// A request in flight.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
