//! Checks the head of a request before anything else: its size, and that it has one `Host` (RFC 9112, 3.2).

use orderlog_http::problem::{ApiError, codes};
use poem::{
    Request,
    http::{StatusCode, Version, header},
};

/// The largest head in bytes. The HTTP library rejects larger ones only if they arrive in several reads.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Rejects a head that is too large, or names no host or several.
///
/// # Errors
/// 431 or 400.
pub fn check(request: &Request) -> Result<(), ApiError> {
    if size(request) > HEAD_BYTES_MAX {
        let detail = format!("the head of a request may have at most {HEAD_BYTES_MAX} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(ApiError::new(status, codes::HEAD_TOO_LARGE, detail));
    }
    match request.headers().get_all(header::HOST).iter().count() {
        0 if request.version() < Version::HTTP_11 => Ok(()),
        1 => Ok(()),
        n => Err(ApiError::invalid(codes::BAD_REQUEST, format!("a request needs one `Host` header, this one has {n}"))),
    }
}

/// The size as sent, except for spaces around values.
fn size(request: &Request) -> usize {
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |it| it.as_str().len() + "http://".len());
    let target = authority + uri.path_and_query().map_or(0, |it| it.as_str().len());
    let first = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    first + headers.sum::<usize>() + "\r\n".len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use orderlog_http::problem::Problem;

    fn request(value: &str) -> Request {
        Request::builder().uri_str("/livez?a=b").header("host", "localhost").header("x-a", value).finish()
    }

    #[test]
    fn a_head_is_measured_as_it_came() {
        let written = "GET /livez?a=b HTTP/1.1\r\nhost: localhost\r\nx-a: \r\n\r\n".len();
        assert_eq!(size(&request("")), written);
        let largest = "x".repeat(HEAD_BYTES_MAX - written);
        assert!(check(&request(&largest)).is_ok());
        let refused = check(&request(&format!("{largest}x"))).unwrap_err();
        assert!(refused.is(codes::HEAD_TOO_LARGE), "{refused:?}");
    }

    #[test]
    fn a_request_has_one_host() {
        let of = |version, hosts: &[&'static str]| {
            let mut request = Request::builder().version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            check(&request.finish()).map_err(|error| Problem::from(error).status)
        };
        assert_eq!(of(Version::HTTP_11, &["a"]), Ok(()));
        assert_eq!(of(Version::HTTP_11, &[]), Err(400));
        assert_eq!(of(Version::HTTP_11, &["a", "a"]), Err(400));
        assert_eq!(of(Version::HTTP_10, &[]), Ok(()), "it knows no such header");
        assert_eq!(of(Version::HTTP_10, &["a", "b"]), Err(400));
    }
}
