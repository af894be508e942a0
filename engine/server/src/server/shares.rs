//! The rate limit for each caller.
//!
//! A caller's bucket is one number: the time at which all its requests would have been sent at the sustained rate
//! (GCRA). It may be ahead of the clock by as much as a burst takes. No library reports the state of a bucket with
//! configurable limits in so little memory.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use orderlog_http::problem::{ApiError, codes};
use poem::{
    IntoResponse,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};

use crate::config::Rate;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of the limit.
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// The most buckets. Beyond that, full ones are removed, and if none are, new callers share one.
const N_BUCKETS_MAX: usize = 100_000;
/// The bucket that new callers then share.
const SHARED: u64 = 0;

/// Whose requests count together.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Whose<'a> {
    Caller(&'a str),
    /// Requests without a caller, by their address.
    Address(IpAddr),
}

impl Whose<'_> {
    /// Requests from this address. An IPv6 address counts as its /64 network.
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::Address(v4.into()),
            IpAddr::V6(v6) => Self::Address(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
        }
    }
}

/// The rate limit for each caller.
pub struct Shares {
    rate: Rate,
    policy: HeaderValue,
    begun: Instant,
    hasher: RandomState,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    /// Keys are unpredictable hashes, values nanoseconds since `begun`.
    all: HashMap<u64, u64>,
    /// When full buckets were last removed.
    swept: u64,
}

/// What is left of a caller's limit after a request.
#[derive(Clone, Debug)]
pub struct Share {
    policy: HeaderValue,
    n_left: u64,
    /// Until all of it is available again.
    full_in: Duration,
    /// How long until the request would be allowed, if it exceeds the limit.
    refused_for: Option<Duration>,
}

const SECOND: u64 = 1_000_000_000;

impl Shares {
    pub fn new(rate: Rate) -> Self {
        let window = rate.burst.div_ceil(rate.per_second);
        let policy = format!("\"requests\";q={};w={window}", rate.burst);
        let policy = HeaderValue::try_from(policy).expect("digits and ASCII make a header");
        let (begun, hasher, buckets) = (Instant::now(), RandomState::new(), Mutex::default());
        Self { rate, policy, begun, hasher, buckets }
    }

    /// Counts one request, now.
    pub fn take(&self, whose: Whose<'_>) -> Share {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(now, whose)
    }

    fn take_at(&self, now: u64, whose: Whose<'_>) -> Share {
        let each = SECOND / u64::from(self.rate.per_second);
        let burst = each * u64::from(self.rate.burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.of(self.hasher.hash_one(whose), now);
        let (before, after) = ((*bucket).max(now), (*bucket).max(now) + each);
        let is_refused = after - now > burst;
        *bucket = if is_refused { before } else { after };
        let ahead = *bucket - now;
        Share {
            policy: self.policy.clone(),
            n_left: (burst - ahead.min(burst)) / each,
            full_in: Duration::from_nanos(ahead),
            refused_for: is_refused.then(|| Duration::from_nanos(after - now - burst)),
        }
    }
}

impl Buckets {
    fn of(&mut self, key: u64, now: u64) -> &mut u64 {
        if self.all.len() >= N_BUCKETS_MAX && !self.all.contains_key(&key) {
            if now - self.swept >= SECOND {
                self.swept = now;
                self.all.retain(|_, full_at| *full_at > now);
            }
            if self.all.len() >= N_BUCKETS_MAX {
                return self.all.entry(SHARED).or_default();
            }
        }
        self.all.entry(key).or_default()
    }
}

impl Share {
    /// Rejects the request if it exceeded the limit.
    ///
    /// # Errors
    /// 429, with `Retry-After`.
    pub fn granted(self) -> poem::Result<Self> {
        let Some(wait) = self.refused_for else { return Ok(self) };
        let seconds = seconds(wait).max(1);
        let detail = format!("the rate limit is exceeded: retry in {seconds} s");
        let mut response = ApiError::new(StatusCode::TOO_MANY_REQUESTS, codes::RATE_LIMITED, detail).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        self.tell(response.headers_mut());
        Err(poem::Error::from_response(response))
    }

    /// Adds the rate-limit headers to a response.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let t = seconds(self.refused_for.unwrap_or(self.full_in));
        if let Ok(left) = HeaderValue::try_from(format!("\"requests\";r={};t={t}", self.n_left)) {
            headers.insert(LEFT, left);
            headers.insert(POLICY, self.policy.clone());
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(per_second: u32, burst: u32) -> Shares {
        Shares::new(Rate { per_second, burst })
    }

    #[test]
    fn a_caller_has_a_burst_and_then_its_rate() {
        let shares = shares(10, 3);
        let take = |now| shares.take_at(now, Whose::Caller("a"));
        for n_left in [2, 1, 0] {
            let share = take(SECOND);
            assert_eq!((share.n_left, share.refused_for), (n_left, None));
        }
        let refused = take(SECOND);
        assert_eq!(refused.refused_for, Some(Duration::from_millis(100)));
        assert_eq!(refused.full_in, Duration::from_millis(300), "a request that was refused costs nothing");
        assert!(take(SECOND + SECOND / 10).refused_for.is_none());
        assert!(take(SECOND + SECOND / 10).refused_for.is_some());
        assert_eq!(take(9 * SECOND).n_left, 2, "all of it is there again");
        assert_eq!(shares.take_at(SECOND, Whose::Caller("b")).n_left, 2, "others have their own");
    }

    #[test]
    fn answers_tell_the_rule_and_what_is_left() {
        let mut headers = HeaderMap::new();
        let shares = shares(100, 250);
        shares.take_at(SECOND, Whose::Caller("a")).granted().unwrap().tell(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"requests\";q=250;w=3");
        assert_eq!(headers["ratelimit"], "\"requests\";r=249;t=1");
        (0..250).for_each(|_| drop(shares.take_at(SECOND, Whose::Caller("a"))));
        let refused = shares.take_at(SECOND, Whose::Caller("a")).granted().unwrap_err().into_response();
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(refused.headers()["ratelimit"], "\"requests\";r=0;t=1");
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_network() {
        let of = |address: &str| Whose::of_address(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn however_many_addresses_there_are_memory_has_a_limit() {
        let shares = shares(1, 1);
        let from = |i: u32| Whose::Address(IpAddr::V4(i.into()));
        let n = u32::try_from(N_BUCKETS_MAX).unwrap();
        (0..n).for_each(|i| drop(shares.take_at(SECOND, from(i))));
        assert!(shares.take_at(SECOND, from(n)).refused_for.is_none());
        assert!(shares.take_at(SECOND, from(n + 1)).refused_for.is_some(), "who is new shares one with who is new");
        assert!(shares.take_at(3 * SECOND, from(n + 2)).refused_for.is_none());
        assert!(shares.buckets.lock().unwrap().all.len() < 3, "those that are full were forgotten");
    }
}
