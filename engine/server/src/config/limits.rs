//! Limits on concurrent requests and their duration.

use std::time::Duration;

use clap::Args;
use orderlog_http::json::BodyLimits;

use super::LIMITS;

/// How much may be asked of a process at once, and how long it may take.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// The maximum size of a request body in bytes
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_MAX_BODY_BYTES", value_name = "N", default_value_t = 1_048_576, value_parser = clap::value_parser!(u64).range(1..=67_108_864))]
    pub max_body_bytes: u64,

    /// How long a request body may take to arrive before the response is 408
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub body_timeout_ms: u64,

    /// How long a request may take in total, including waits, before the response is 504; must exceed the longest wait
    /// that callers may request, 30 s
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_REQUEST_TIMEOUT_MS", value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub request_timeout_ms: u64,

    /// How long the head of a request may take, from its first byte, before the connection is closed
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_HEADER_TIMEOUT_MS", value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub header_timeout_ms: u64,

    /// How long a connection may have no request, or its caller may stop reading a response, before it is closed
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_IDLE_TIMEOUT_MS", value_name = "MS", default_value_t = 75_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub idle_timeout_ms: u64,

    /// The maximum number of open connections, at most half of them from one caller; beyond that only operators, other
    /// services, /livez, /readyz and /metrics are served
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// The maximum number of concurrent requests, at most half of them from one caller; as many more may wait, and the
    /// rest get 503
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_MAX_REQUESTS", value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_requests: u32,

    /// The sustained number of requests per second for each caller, 0 for no limit; requests beyond that get 429
    ///
    /// Default: 1000. Callers on the same machine that need no key are not limited, unless a limit is given
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_RATE_LIMIT", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rate_limit: Option<u32>,

    /// The number of requests that a caller may send in a burst. Default: two seconds' worth
    #[arg(long, help_heading = LIMITS, env = "ORDERLOG_RATE_BURST", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate_burst: Option<u32>,
}

/// The default number of requests per second for each caller.
const PER_SECOND: u32 = 1_000;

/// A rate limit: a burst, and a sustained rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The sustained rate. At least 1.
    pub per_second: u32,
    /// The largest burst. At least 1.
    pub burst: u32,
}

impl Limits {
    /// The rate limit for each caller; `None` if it is disabled.
    pub fn rate(&self) -> Option<Rate> {
        let per_second = self.rate_limit.unwrap_or(PER_SECOND);
        let burst = self.rate_burst.unwrap_or_else(|| per_second.saturating_mul(2));
        (per_second > 0).then_some(Rate { per_second, burst })
    }

    pub fn body(&self) -> BodyLimits {
        let max_bytes = usize::try_from(self.max_body_bytes).unwrap_or(usize::MAX);
        BodyLimits { max_bytes, timeout: Duration::from_millis(self.body_timeout_ms) }
    }
}
