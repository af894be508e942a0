//! JSON bodies, read and written by serde: faster than the framework's own, and it says which field is wrong.

use poem::{IntoResponse, Request, RequestBody, Response, Result};
use poem_openapi::{
    payload::{ParsePayload, Payload},
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::problem::{ApiError, Fault, too_large};

/// The largest body that is read.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(Self::CONTENT_TYPE) || essence.to_ascii_lowercase().ends_with("+json")
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned> ParsePayload for Json<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> Result<Self> {
        let declared = request.header("content-length").and_then(|length| length.parse::<usize>().ok());
        let bytes = match declared {
            Some(length) if length > MAX_BODY_BYTES => return Err(too_large().into()),
            // The connection hands over exactly as many bytes as were declared.
            Some(_) => body.take()?.into_bytes().await?,
            None => body.take()?.into_bytes_limit(MAX_BODY_BYTES).await?,
        };
        Ok(Self(serde_json::from_slice(&bytes).map_err(|_| explain::<T>(&bytes))?))
    }
}

impl<T: Serialize + Send> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => Response::builder().content_type("application/json").body(body),
            Err(error) => ApiError::internal(&error).into_response(),
        }
    }
}

poem_openapi::impl_apirequest_for_payload!(Json<T>, T: Type + DeserializeOwned);

/// Why these bytes are no `T`. They are read once more, since keeping track of where we are costs time.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> ApiError {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
        return ApiError::invalid("malformed_json", "something follows the JSON value");
    };
    let path = error.path().to_string();
    let error = error.into_inner();
    if !error.is_data() {
        return ApiError::invalid("malformed_json", error.to_string());
    }
    let detail = error.to_string();
    let code = if detail.starts_with("missing field") {
        "missing_field"
    } else if detail.starts_with("unknown field") {
        "unknown_field"
    } else if detail.starts_with("duplicate field") {
        "duplicate_field"
    } else {
        "wrong_type"
    };
    // For a missing field the path leads to what should have had it.
    let missing = (code == "missing_field").then(|| detail.split('`').nth(1)).flatten();
    let pointer = Some(pointer_of(&path, missing));
    ApiError::faults(vec![Fault { pointer, parameter: None, code: code.to_owned(), detail }])
}

/// `lines[0].quantity` as a JSON pointer.
fn pointer_of(path: &str, below: Option<&str>) -> String {
    let parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    parts.chain(below).fold("#".to_owned(), |pointer, part| pointer + "/" + part)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only read by serde")]
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only read by serde")]
        quantity: i64,
    }

    #[track_caller]
    fn told(body: &str) -> (String, String, String) {
        let problem = explain::<Order>(body.as_bytes()).0;
        let fault = problem.errors.unwrap_or_default().pop();
        let pointer = fault.as_ref().and_then(|fault| fault.pointer.clone()).unwrap_or_default();
        (problem.code, pointer, fault.map(|fault| fault.code).unwrap_or_default())
    }

    #[test]
    fn a_wrong_body_says_which_field_is_wrong() {
        let fault = |pointer: &str, code: &str| ("invalid_request".to_owned(), pointer.to_owned(), code.to_owned());
        assert_eq!(told(r#"{"lines":[{"quantity":1},{"quantity":"x"}]}"#), fault("#/lines/1/quantity", "wrong_type"));
        assert_eq!(told(r#"{"lines":[{}]}"#), fault("#/lines/0/quantity", "missing_field"));
        assert_eq!(told(r#"{"lines":[],"x":1}"#), fault("#/x", "unknown_field"));
        assert_eq!(told(r#"{"lines":[],"lines":[]}"#), fault("#/lines", "duplicate_field"));
        assert_eq!(told("[]").0, "invalid_request");
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_order() {
        for body in ["", "{", "{\"lines\":[]} x", "nonsense"] {
            assert_eq!(told(body).0, "malformed_json", "{body}");
        }
    }
}
