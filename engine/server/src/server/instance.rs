//! Identifies this server to commands on its data folder. `server.json` remains if a server is killed, and another one
//! may use its port by now. So a command names the instance in each request, and accepts only responses that name the
//! same.

use orderlog_http::problem::{ApiError, codes};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderValue, StatusCode},
};
use uuid::Uuid;

/// The header that names an instance, in requests and responses.
pub const INSTANCE: &str = "orderlog-instance";

/// An endpoint that answers only requests for this instance, or for none in particular.
pub struct OfInstance<E> {
    inner: E,
    id: HeaderValue,
}

impl<E> OfInstance<E> {
    pub fn new(inner: E, id: Uuid) -> Self {
        let id = HeaderValue::try_from(id.to_string()).expect("a UUID is written in ASCII");
        Self { inner, id }
    }
}

impl<E: Endpoint<Output = Response>> Endpoint for OfInstance<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let Some(meant) = request.headers().get(INSTANCE) else { return self.inner.call(request).await };
        let mut response = if *meant == self.id {
            self.inner.call(request).await.unwrap_or_else(|error| error.into_response())
        } else {
            let detail = "the request is for an instance that does not run at this address any more";
            ApiError::new(StatusCode::MISDIRECTED_REQUEST, codes::OTHER_INSTANCE, detail).into_response()
        };
        response.headers_mut().insert(INSTANCE, self.id.clone());
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;

    use super::*;

    #[tokio::test]
    async fn a_request_for_another_instance_reaches_no_handler() {
        let (here, elsewhere) = (Uuid::new_v4(), Uuid::new_v4());
        let endpoint = OfInstance::new(make_sync(|_| "done".into_response()), here);
        let ask = async |meant: Option<Uuid>| {
            let request = Request::builder();
            let request = meant.iter().fold(request, |request, id| request.header(INSTANCE, id.to_string()));
            let answer = endpoint.call(request.finish()).await.unwrap();
            (answer.status().as_u16(), answer.header(INSTANCE).map(str::to_owned))
        };
        assert_eq!(ask(None).await, (200, None));
        assert_eq!(ask(Some(here)).await, (200, Some(here.to_string())));
        assert_eq!(ask(Some(elsewhere)).await, (421, Some(here.to_string())));
    }
}
