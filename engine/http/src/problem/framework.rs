//! Converts errors of the HTTP framework to problems, so that all errors have the same form.

use poem::{
    Error, IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError, ReadBodyError},
    http::StatusCode,
};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParseRequestPayloadError};

use super::{ApiError, codes};

/// Converts an error to a problem. Responses that are already problems are returned as they are.
pub async fn problem_of(error: Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    translated(&error).into_response()
}

fn translated(error: &Error) -> ApiError {
    if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
        return ApiError::parameter(name, codes::INVALID_PARAMETER, in_words(reason));
    }
    if let Some(ParseRequestPayloadError { reason }) = error.downcast_ref() {
        return ApiError::invalid(codes::INVALID_BODY, reason.clone());
    }
    if let Some(error @ (ContentTypeError::NotSupported { .. } | ContentTypeError::ExpectContentType)) =
        error.downcast_ref()
    {
        let detail = format!("{error}: send `Content-Type: application/json`");
        return ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::UNSUPPORTED_MEDIA_TYPE, detail);
    }
    if error.is::<NotFoundError>() || error.is::<ParsePathError>() {
        return ApiError::not_found(codes::NO_SUCH_RESOURCE, "there is nothing at this path");
    }
    if error.is::<MethodNotAllowedError>() {
        let detail = "this path does not support that method";
        return ApiError::new(StatusCode::METHOD_NOT_ALLOWED, codes::METHOD_NOT_ALLOWED, detail);
    }
    if error.is::<ReadBodyError>() {
        let detail = "the body ends too early, or does not match its headers";
        return ApiError::new(StatusCode::BAD_REQUEST, codes::BAD_REQUEST, detail);
    }
    match error.status() {
        status if status.is_client_error() => ApiError::new(status, codes::BAD_REQUEST, error.to_string()),
        _ => ApiError::internal(error),
    }
}

/// Rewords a reason in which the framework names its own check or type: `verification failed. minimum(1, exclusive: false)`,
/// `failed to parse "integer(uint32)": invalid digit found in string`.
fn in_words(reason: &str) -> String {
    if let Some(("", what, _)) = quoted(reason.strip_prefix("failed to parse ").unwrap_or_default()) {
        return typed(what).unwrap_or(reason).to_owned();
    }
    if reason.ends_with("expects an input value.") {
        return "it must be given".to_owned();
    }
    let Some((check, of)) = reason.strip_prefix("verification failed. ").and_then(|check| check.split_once('(')) else {
        return reason.to_owned();
    };
    let of = of.trim_end_matches(')');
    let bound = of.split(',').next().unwrap_or(of);
    match check {
        "minimum" => format!("it must be at least {bound}"),
        "maximum" => format!("it must be at most {bound}"),
        "pattern" => format!("it must match {}", of.trim_matches('"')),
        _ => reason.to_owned(),
    }
}

/// Splits a text at its first two double quotes.
fn quoted(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('"')?;
    let (between, behind) = rest.split_once('"')?;
    Some((before, between, behind))
}

/// Says what a value of one of the framework's types must be.
fn typed(name: &str) -> Option<&'static str> {
    match name {
        "boolean" => Some("it must be `true` or `false`"),
        "integer(uint32)" | "integer(uint64)" => Some("it must be a whole number"),
        "string_uuid" => Some("it must be a UUID"),
        "string_date-time" => {
            Some("it must be an RFC 3339 time, such as 2026-01-31T12:00:00Z; write a `+` in it as %2B")
        }
        _ => None,
    }
}

pub(crate) fn too_large(max_bytes: usize) -> ApiError {
    let detail = format!("the body must have at most {max_bytes} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, codes::BODY_TOO_LARGE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_of_the_framework_are_told_in_words() {
        assert_eq!(in_words("verification failed. minimum(1, exclusive: false)"), "it must be at least 1");
        assert_eq!(in_words("verification failed. maximum(100, exclusive: false)"), "it must be at most 100");
        assert_eq!(in_words("verification failed. pattern(\"^a$\")"), "it must match ^a$");
        assert_eq!(in_words("Type \"string\" expects an input value."), "it must be given");
        let integer =
            "failed to parse \"integer(uint32)\": invalid digit (occurred while parsing \"optional_integer(uint32)\")";
        assert_eq!(in_words(integer), "it must be a whole number");
        assert_eq!(in_words("something else"), "something else");
    }
}
