//! `If-None-Match`: a caller that has the newest version gets 304 without a body.

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderMap, Method, StatusCode, header},
};

/// An endpoint that answers 304 if the caller has the newest version.
pub struct Conditional<E>(pub E);

impl<E: Endpoint> Endpoint for Conditional<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let is_query = [Method::GET, Method::HEAD].contains(request.method());
        let known = is_query.then(|| known(request.headers())).flatten();
        let response = self.0.call(request).await?.into_response();
        let Some(known) = known.filter(|_| response.status() == StatusCode::OK) else { return Ok(response) };
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        if !tag.is_some_and(|tag| known.iter().any(|known| known == "*" || known == tag)) {
            return Ok(response);
        }
        let (mut parts, _) = response.into_parts();
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        Ok(Response::from_parts(parts, poem::Body::empty()))
    }
}

/// The tags that the caller sent. The comparison is weak, so `W/` is ignored.
fn known(headers: &HeaderMap) -> Option<Vec<String>> {
    let given: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).collect();
    let tags = given.iter().flat_map(|value| value.split(','));
    let tags: Vec<_> = tags.map(|tag| tag.trim().trim_start_matches("W/").to_owned()).collect();
    (!tags.is_empty()).then_some(tags)
}

#[cfg(test)]
mod tests {
    use poem::{endpoint::make_sync, http::HeaderValue};

    use super::*;

    async fn status(if_none_match: &'static str, method: Method) -> StatusCode {
        let endpoint = Conditional(make_sync(|_| Response::builder().header("etag", "\"3\"").body("{}")));
        let mut request = Request::builder().method(method).finish();
        request.headers_mut().insert(header::IF_NONE_MATCH, HeaderValue::from_static(if_none_match));
        endpoint.call(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn who_has_the_newest_version_gets_no_body() {
        for (given, code) in [("\"3\"", 304), ("\"2\", W/\"3\"", 304), ("*", 304), ("\"2\"", 200), ("3", 200)] {
            assert_eq!(status(given, Method::GET).await.as_u16(), code, "{given}");
        }
        assert_eq!(status("\"3\"", Method::HEAD).await, StatusCode::NOT_MODIFIED);
        assert_eq!(status("\"3\"", Method::POST).await, StatusCode::OK, "a command is no query");
    }
}
