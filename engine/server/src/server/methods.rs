//! Methods that a path does not support: 405 with `Allow`, as RFC 9110 (15.5.6) requires.

use std::sync::Arc;

use orderlog_http::{
    problem::{ApiError, codes},
    service::mounted::RouteTable,
};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderValue, Method, StatusCode, header},
};

/// The framework answers HEAD like GET. Unknown methods get its own 405, without `Allow`.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"];

/// Makes every path of the table reject the methods that it does not support.
pub fn refuse_others(table: &mut RouteTable) {
    for endpoints in table.values_mut() {
        let mut taken: Vec<&str> = endpoints.keys().map(Method::as_str).collect();
        if endpoints.contains_key(&Method::GET) {
            taken.push(Method::HEAD.as_str());
        }
        taken.sort_unstable();
        let allow: Arc<str> = taken.join(", ").into();
        for method in METHODS.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok()) {
            let refusing = Refusing(Arc::clone(&allow));
            endpoints.entry(method).or_insert_with(|| Box::new(poem::endpoint::ToDynEndpoint(refusing)));
        }
    }
}

/// Answers 405 with the supported methods.
struct Refusing(Arc<str>);

impl Endpoint for Refusing {
    type Output = Response;

    async fn call(&self, _: Request) -> Result<Response> {
        let detail = format!("this path does not support that method; it takes: {}", self.0);
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, codes::METHOD_NOT_ALLOWED, detail);
        let mut response = error.into_response();
        // Method names are visible ASCII.
        response.headers_mut().extend(HeaderValue::from_str(&self.0).ok().map(|allow| (header::ALLOW, allow)));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, endpoint::make_sync};

    use super::*;

    #[tokio::test]
    async fn a_path_says_which_methods_it_takes_to_whoever_uses_another() {
        let mut table = RouteTable::new();
        for method in [Method::POST, Method::GET] {
            let endpoint = make_sync(|_| Response::default()).boxed();
            table.entry("/orders".to_owned()).or_default().insert(method, endpoint);
        }
        refuse_others(&mut table);
        let answer = async |method| table["/orders"][&method].call(Request::default()).await.expect("an answer");
        assert_eq!(answer(Method::GET).await.status(), 200);
        for method in [Method::TRACE, Method::OPTIONS, Method::PUT] {
            let refused = answer(method).await;
            assert_eq!(refused.status(), 405);
            assert_eq!(refused.headers()["allow"], "GET, HEAD, POST");
        }
        assert!(!table["/orders"].contains_key(&Method::HEAD), "it is answered like GET");
    }
}
