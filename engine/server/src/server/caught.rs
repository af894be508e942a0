//! Answers panics of handlers with 500 and no internal details, like other internal errors. Otherwise the connection
//! would just be closed.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use orderlog_http::problem::ApiError;
use poem::{Endpoint, IntoResponse, Request, Response, Result};

/// An endpoint that catches panics.
pub struct Caught<E>(pub E);

impl<E: Endpoint> Endpoint for Caught<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        // Handlers leave no shared state half changed: read models and the core belong to other tasks, and poisoned
        // locks are accepted everywhere.
        match AssertUnwindSafe(self.0.call(request)).catch_unwind().await {
            Ok(answer) => Ok(answer?.into_response()),
            // The panic hook has already reported it, with its location.
            Err(_) => Ok(ApiError::internal(&"a handler panicked").into_response()),
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn who_meets_a_panic_gets_a_problem_that_tells_nothing_of_it() {
        let endpoint = Caught(make_sync(|request: Request| -> &'static str {
            assert!(request.uri().path() != "/wrong", "the secret of src/inside.rs");
            "well"
        }));
        let ask = async |path: &'static str| endpoint.call(Request::builder().uri_str(path).finish()).await.unwrap();
        assert_eq!(ask("/right").await.status(), 200);
        let answer = ask("/wrong").await;
        assert_eq!((answer.status().as_u16(), answer.content_type()), (500, Some("application/problem+json")));
        let text = answer.into_body().into_string().await.unwrap();
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert!(problem["code"] == "internal" && !text.contains("inside"), "{text}");
        assert_eq!(ask("/right").await.status(), 200, "it serves on");
    }
}
