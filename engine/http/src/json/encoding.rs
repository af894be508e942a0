//! Checks that a body is JSON in UTF-8 without compression. Names any other encoding in the error.

use poem::{
    IntoResponse, Request,
    http::{HeaderValue, StatusCode, header},
};

use crate::problem::{ApiError, codes};

/// Checks that the head declares uncompressed JSON in UTF-8.
///
/// # Errors
/// 415. `Accept-Encoding` names what would be accepted if the body is compressed (RFC 9110, section 15.5.16).
pub fn check_head(request: &Request) -> Result<(), poem::Error> {
    let Some(content_type) = request.content_type() else {
        return Err(unsupported("there is no `Content-Type`: send `Content-Type: application/json`").into());
    };
    if !is_json(content_type) {
        return Err(unsupported("the `Content-Type` is not supported: send `Content-Type: application/json`").into());
    }
    if !charset(content_type).is_none_or(is_utf_8) {
        return Err(unsupported("the `charset` is not supported: send JSON in UTF-8").into());
    }
    if is_compressed(request) {
        let problem = unsupported("the `Content-Encoding` is not supported: send the body without compression");
        let mut response = problem.into_response();
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        return Err(poem::Error::from_response(response));
    }
    Ok(())
}

fn unsupported(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::UNSUPPORTED_MEDIA_TYPE, detail)
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// Returns the parameter `charset`, without quotes.
fn charset(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut named = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    named.next().map(|(_, value)| value.trim().trim_matches('"'))
}

fn is_utf_8(charset: &str) -> bool {
    // ASCII is a subset of UTF-8.
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
}

fn is_compressed(request: &Request) -> bool {
    let codings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// Checks that the bytes are UTF-8 without a byte order mark.
///
/// # Errors
/// 400, naming the encoding.
pub fn check_bytes(bytes: &[u8]) -> Result<(), ApiError> {
    let wrong = |detail: String| Err(ApiError::invalid(codes::MALFORMED_JSON, detail));
    match bytes {
        [0, 0, 0xfe, 0xff, ..] | [0xff, 0xfe, 0, 0, ..] | [0, 0, 0, 1..=255, ..] | [1..=255, 0, 0, 0, ..] => {
            wrong("the body is UTF-32: send JSON in UTF-8".to_owned())
        }
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, 1..=255, ..] | [1..=255, 0, ..] => {
            wrong("the body is UTF-16: send JSON in UTF-8".to_owned())
        }
        [0xef, 0xbb, 0xbf, ..] => wrong("the body begins with a byte order mark: send UTF-8 without it".to_owned()),
        _ => match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) => wrong(format!("the body is not UTF-8, from byte {} on", error.valid_up_to())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    fn status(headers: &[(&str, &str)]) -> u16 {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        check_head(&request.finish()).map_or_else(|error| error.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_body_is_declared_as_json_in_utf_8() {
        for (content_type, expected) in [
            ("application/json", 200),
            ("Application/JSON ; Charset=\"UTF-8\"", 200),
            ("application/vnd.order+json", 200),
            ("application/json; charset=us-ascii", 200),
            ("application/json; charset=utf-16", 415),
            ("application/json; profile=a; charset=iso-8859-1", 415),
            ("text/plain", 415),
            ("application/jsonp", 415),
        ] {
            assert_eq!(status(&[("content-type", content_type)]), expected, "{content_type}");
        }
        assert_eq!(status(&[]), 415);
    }

    #[test]
    fn a_body_is_not_compressed() {
        let json = ("content-type", "application/json");
        for (coding, expected) in [
            ("identity", 200),
            ("Identity, identity", 200),
            ("", 200),
            ("gzip", 415),
            ("GZIP", 415),
            ("identity, br", 415),
            ("aes128gcm", 415),
        ] {
            assert_eq!(status(&[json, ("content-encoding", coding)]), expected, "{coding}");
        }
        assert_eq!(status(&[json, ("content-encoding", "identity"), ("content-encoding", "gzip")]), 415);
    }

    #[test]
    fn another_encoding_than_utf_8_is_named() {
        let wide = |mark: &[u8], width: usize, big: bool| {
            let unit = |byte: u8| {
                let mut unit = vec![0; width];
                unit[if big { width - 1 } else { 0 }] = byte;
                unit
            };
            [mark.to_vec(), b"{}".iter().flat_map(|byte| unit(*byte)).collect()].concat()
        };
        for (bytes, named) in [
            (b"\xef\xbb\xbf{}".to_vec(), "byte order mark"),
            (wide(b"\xff\xfe", 2, false), "UTF-16"),
            (wide(b"\xfe\xff", 2, true), "UTF-16"),
            (wide(b"", 2, false), "UTF-16"),
            (wide(b"", 2, true), "UTF-16"),
            (wide(b"", 4, false), "UTF-32"),
            (wide(b"\0\0\xfe\xff", 4, true), "UTF-32"),
            (b"{\"name\": \"J\xfcrgen\"}".to_vec(), "from byte 11"),
        ] {
            let detail = Problem::from(check_bytes(&bytes).unwrap_err()).detail;
            assert!(detail.contains(named), "{bytes:?}: {detail}");
        }
        assert_eq!(check_bytes("{\"name\": \"Jürgen\"}".as_bytes()), Ok(()));
        assert_eq!(check_bytes(b""), Ok(()));
    }
}
