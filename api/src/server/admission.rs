//! How many requests are worked on at once, and for how long: around each operation, behind the gate.
//!
//! What is no operation is never held up by it, so that a process that is full says so at `/livez`, `/readyz` and `/metrics`. A
//! stream gives its place back once it has begun.

use std::time::Duration;

use poem::{Response, Result};
use tokio::sync::Semaphore;

use crate::{
    config::Limits,
    problem::{ApiError, Code},
};

/// How many requests are worked on at once, and for how long.
pub struct Admission {
    places: Semaphore,
    patience: Duration,
}

impl Admission {
    /// As the limits say.
    pub fn new(limits: &Limits) -> Self {
        let places = usize::try_from(limits.max_requests).unwrap_or(Semaphore::MAX_PERMITS);
        Self { places: Semaphore::new(places), patience: Duration::from_millis(limits.request_timeout_ms) }
    }

    /// The answer of an operation.
    ///
    /// # Errors
    /// Its own; 503 if too many are worked on; 504 if its time is up.
    pub async fn work(&self, is_query: bool, work: impl Future<Output = Result<Response>>) -> Result<Response> {
        let Ok(_place) = self.places.try_acquire() else {
            let detail = "too many requests are worked on already";
            return Err(ApiError::unavailable(Code::Overloaded, detail).into());
        };
        match tokio::time::timeout(self.patience, work).await {
            Ok(answer) => answer,
            Err(_) => Err(too_late(is_query).into()),
        }
    }
}

fn too_late(is_query: bool) -> ApiError {
    if is_query {
        ApiError::timed_out(Code::RequestTimedOut, "there was no answer in the time that a request may take")
    } else {
        let detail = "the command took longer than a request may: it is not known whether it happened";
        ApiError::timed_out(Code::OutcomeUnknown, detail)
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

    fn admission(args: &[&str]) -> Admission {
        Admission::new(&Given::try_parse_from([&["it"], args].concat()).unwrap().limits)
    }

    async fn refusal(admission: &Admission, is_query: bool) -> (u16, String) {
        let error = admission.work(is_query, pending()).await.unwrap_err();
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
        let mut first = Box::pin(admission.work(true, pending()));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert_eq!(refusal(&admission, true).await, (503, "overloaded".to_owned()));
        drop(first);
        let answer = admission.work(true, async { Ok(Response::default()) }).await;
        assert!(answer.is_ok(), "its place is free again");
    }
}
