//! Limits on concurrent requests and on their duration, around each operation, behind the gate.
//!
//! Endpoints that are not operations are exempt, so that an overloaded process can report that at `/livez`, `/readyz`
//! and `/metrics`. A stream releases its place once it has begun, and so does a request while it waits
//! ([`orderlog_http::waiting`]).

use std::{sync::Arc, time::Duration};

use orderlog_http::{
    measures::HttpMeasures,
    pool::Standing,
    problem::{ApiError, codes},
    waiting::Room,
};
use poem::{Response, Result};
use tokio::sync::watch;

use super::N_RESERVED;
use crate::config::Limits;

/// Limits on concurrent requests, on waiting ones, and on their duration.
pub struct Admission {
    room: Arc<Room>,
    patience: Duration,
}

impl Admission {
    /// With these limits; once `stopping` is true, no request waits any more. As many requests may wait as may be
    /// processed.
    pub fn new(limits: &Limits, stopping: watch::Receiver<bool>, measures: HttpMeasures) -> Self {
        let room = Room::new(limits.max_requests as usize, N_RESERVED, stopping, measures);
        Self { room, patience: Duration::from_millis(limits.request_timeout_ms) }
    }

    /// Runs an operation for a caller of this standing.
    ///
    /// # Errors
    /// Its own errors; 503 if too many requests are being processed; 504 on a timeout.
    pub async fn work(
        &self,
        standing: Standing,
        is_query: bool,
        work: impl Future<Output = Result<Response>>,
    ) -> Result<Response> {
        let answered = if standing == Standing::Process {
            // The request on whose behalf this one is sent already holds a place.
            tokio::time::timeout(self.patience, work).await
        } else {
            let Some(working) = self.room.admit(standing) else {
                let detail = "too many requests are in progress, of this caller or in total";
                return Err(ApiError::unavailable(codes::OVERLOADED, detail).into());
            };
            tokio::time::timeout(self.patience, working.scope(work)).await
        };
        answered.unwrap_or_else(|_| Err(too_late(is_query).into()))
    }
}

fn too_late(is_query: bool) -> ApiError {
    if is_query {
        ApiError::timed_out(codes::REQUEST_TIMED_OUT, "the request did not finish within the time limit")
    } else {
        let detail = "the command did not finish within the time limit: it may or may not have been executed";
        ApiError::timed_out(codes::OUTCOME_UNKNOWN, detail)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use futures_util::future::pending;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        limits: Limits,
    }

    const CALLER: Standing = Standing::Caller(1);

    fn admission(args: &[&str]) -> Admission {
        let limits = Given::try_parse_from([&["it"], args].concat()).unwrap().limits;
        Admission::new(&limits, watch::Sender::new(false).subscribe(), HttpMeasures::new())
    }

    async fn refusal(admission: &Admission, is_query: bool) -> (u16, String) {
        let error = admission.work(CALLER, is_query, pending()).await.unwrap_err();
        let response = error.into_response();
        assert_eq!(response.headers()["retry-after"], "1");
        let status = response.status().as_u16();
        let problem: serde_json::Value = response.into_body().into_json().await.unwrap();
        (status, problem["code"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn when_its_time_is_up_a_query_says_so_and_a_command_that_it_may_have_happened() {
        let admission = admission(&["--request-timeout-ms", "1"]);
        assert_eq!(refusal(&admission, true).await, (504, "request_timed_out".to_owned()));
        assert_eq!(refusal(&admission, false).await, (504, "outcome_unknown".to_owned()));
    }

    #[tokio::test]
    async fn beyond_so_many_requests_others_are_refused_until_one_is_answered() {
        let admission = admission(&["--max-requests", "1"]);
        let mut first = Box::pin(admission.work(CALLER, true, pending()));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert_eq!(refusal(&admission, true).await, (503, "overloaded".to_owned()));
        let answered = async |standing| admission.work(standing, true, async { Ok(Response::default()) }).await.is_ok();
        assert!(answered(Standing::Trusted).await, "operators have a reserve");
        assert!(answered(Standing::Process).await, "the process works on the place of the request that it asks for");
        drop(first);
        assert!(answered(CALLER).await, "its place is free again");
    }
}
