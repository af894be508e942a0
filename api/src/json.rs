//! JSON bodies, read and written by serde: faster than the framework's own, and it says which field is wrong.

use bytes::Bytes;
use poem::{Body, IntoResponse, Request, RequestBody, Response, Result, error::ReadBodyError, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{ParsePayload, Payload},
    registry::{MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use uuid::Uuid;

use crate::{
    config::BodyLimits,
    problem::{ApiError, Code, Fault, too_large},
};

/// So many faults of a body are mended to find the next one: a body may have more of them than anybody reads.
const N_MENDED_MAX: usize = 64;

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
        let limits = limits_of(request)?;
        let bytes = arrived(declared_length(request), body.take()?, limits).await?;
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

/// What the body of a request may be.
///
/// # Errors
/// 500 if the gate has not said it.
pub fn limits_of(request: &Request) -> Result<BodyLimits, ApiError> {
    let limits = request.data::<BodyLimits>().copied();
    limits.ok_or_else(|| ApiError::internal(&"a request without limits came through the gate"))
}

/// How long the body says that it is.
pub fn declared_length(request: &Request) -> Option<usize> {
    request.header("content-length")?.parse().ok()
}

/// The whole body, if it is neither longer nor slower than it may be.
///
/// # Errors
/// 413, 408, or that the connection broke.
pub async fn arrived(declared: Option<usize>, body: Body, limits: BodyLimits) -> Result<Bytes> {
    let BodyLimits { max_bytes, timeout } = limits;
    let arriving = async {
        match declared {
            Some(length) if length > max_bytes => Err(ReadBodyError::PayloadTooLarge),
            // The connection hands over exactly as many bytes as were declared.
            Some(_) => body.into_bytes().await,
            None => body.into_bytes_limit(max_bytes).await,
        }
    };
    match tokio::time::timeout(timeout, arriving).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(ReadBodyError::PayloadTooLarge)) => Err(too_large(max_bytes).into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let detail = format!("the body had not arrived after {} s", timeout.as_secs_f64());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, Code::BodyTooSlow, detail).into())
        }
    }
}

/// A JSON body that may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaybeJson<T>(pub Option<T>);

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for MaybeJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Json<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest { required: false, ..<Json<T> as ApiExtractor>::request_meta()? })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let length = request.header("content-length").map(str::to_owned);
        // Without either header there is no body; a body of no bytes is none either.
        let is_there =
            length.as_deref() != Some("0") && (length.is_some() || request.header("transfer-encoding").is_some());
        if is_there {
            Ok(Self(Some(<Json<T> as ApiExtractor>::from_request(request, body, options).await?.0)))
        } else {
            Ok(Self(None))
        }
    }
}

/// Why these bytes are no `T`: all that is wrong with them. They are read once more, since keeping track of where we are costs time.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> ApiError {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
        return ApiError::invalid(Code::MalformedJson, "something follows the JSON value");
    };
    if !error.inner().is_data() {
        let (line, column) = (error.inner().line(), error.inner().column());
        return ApiError::invalid(
            Code::MalformedJson,
            format!("this is no JSON, from line {line}, column {column} on"),
        );
    }
    let first = fault_of(&error);
    // What comes after the first fault may be no JSON.
    let others = serde_json::from_slice(bytes).map(|value| others::<T>(value, &first)).unwrap_or_default();
    ApiError::faults([first].into_iter().chain(others).collect())
}

/// What else is wrong. Serde ends at the first fault: so that is mended, by anything that serde takes there, and the rest is read again.
fn others<T: DeserializeOwned>(mut value: Value, first: &Fault) -> Vec<Fault> {
    let (mut mended, mut told) = (Vec::new(), Vec::new());
    let mut fault = first.clone();
    for _ in 0..N_MENDED_MAX {
        let Some(pointer) = mend(&mut value, &fault) else { break };
        mended.push(pointer);
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&value) else { break };
        fault = fault_of(&error);
        // What is wrong with the mending is no news.
        let place = fault.pointer.as_deref().unwrap_or_default();
        let is_ours =
            mended.iter().any(|it| place.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        if !is_ours {
            told.push(fault.clone());
        }
    }
    told
}

/// Change the value so that this fault is gone; where that was.
fn mend(value: &mut Value, fault: &Fault) -> Option<String> {
    let pointer = fault.pointer.clone()?;
    let place = pointer.strip_prefix('#')?;
    if fault.code == Code::WrongType.as_str() {
        *value.pointer_mut(place)? = instead(&fault.detail)?;
        return Some(pointer);
    }
    let (parent, field) = place.rsplit_once('/')?;
    let (parent, field) = (value.pointer_mut(parent)?.as_object_mut()?, unescaped(field));
    if fault.code == Code::MissingField.as_str() {
        parent.insert(field, Value::Null);
    } else if fault.code == Code::UnknownField.as_str() {
        parent.remove(&field);
    }
    // Of a field that is there twice, the value has one already.
    Some(pointer)
}

/// Something that can be where this was expected.
fn instead(detail: &str) -> Option<Value> {
    let expected = detail.strip_prefix("expected ")?;
    let name = || expected.split('`').nth(1).map(Value::from);
    match expected {
        "a whole number" => Some(0.into()),
        "a string" => Some("".into()),
        "a boolean" => Some(false.into()),
        "a sequence" => Some(Value::Array(Vec::new())),
        "an object" | "a map" => Some(Value::Object(Map::new())),
        "a UUID" => Some(Uuid::nil().to_string().into()),
        _ => name(),
    }
}

fn fault_of(error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let (code, detail, field) = described(&error.inner().to_string());
    let pointer = Some(pointer_of(error.path(), field.as_deref()));
    Fault { pointer, parameter: None, code: code.as_str().to_owned(), detail }
}

/// Code and sentence of what serde found wrong, and the field that is missing or doubled, below the place it names. Serde's own
/// sentence may repeat a value, which may be an e-mail address: only the parts that come from our types are kept.
fn described(error: &str) -> (Code, String, Option<String>) {
    let field = error.split('`').nth(1).map(str::to_owned);
    if error.starts_with("missing field") {
        return (Code::MissingField, "this field is missing".to_owned(), field);
    }
    if error.starts_with("unknown field") {
        return (Code::UnknownField, "there is no such field here".to_owned(), None);
    }
    if error.starts_with("duplicate field") {
        return (Code::DuplicateField, "this field is here twice".to_owned(), field);
    }
    if error.starts_with("UUID parsing failed") {
        return (Code::WrongType, "expected a UUID".to_owned(), None);
    }
    // `invalid type: string "x", expected u32 at line 1 column 2`: the last `expected` is serde's.
    let expected =
        error.rsplit_once(", expected ").map(|(_, rest)| rest.rsplit_once(" at line ").map_or(rest, |(it, _)| it));
    let expected = expected.map(|expected| match expected {
        "i64" | "u64" | "i32" | "u32" => "a whole number",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    });
    (
        Code::WrongType,
        expected.map_or_else(|| "this value can't be here".to_owned(), |it| format!("expected {it}")),
        None,
    )
}

/// A place in a document as a JSON pointer, as a URI fragment.
fn pointer_of(path: &serde_path_to_error::Path, below: Option<&str>) -> String {
    let mut pointer = "#".to_owned();
    let named = path.iter().map(|segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } | Segment::Enum { variant: key } => escaped(key),
        Segment::Unknown => "?".to_owned(),
    });
    for part in named.chain(below.map(escaped)) {
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
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

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    #[expect(dead_code, reason = "only read by serde")]
    struct Payment {
        invoice_id: Uuid,
        amount: i64,
        method: Method,
        lines: Vec<Line>,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Method {
        Card,
        Transfer,
    }

    #[test]
    fn all_that_is_wrong_with_a_body_is_told_at_once() {
        let body =
            r#"{"invoice_id": "x", "method": "shells", "lines": [{"quantity": "y"}, 7, {}], "note": 1, "else": 2}"#;
        let faults = explain::<Payment>(body.as_bytes()).0.errors.unwrap_or_default();
        let told: Vec<_> =
            faults.iter().map(|it| (it.pointer.as_deref().unwrap_or_default(), it.code.as_str())).collect();
        let expected = [
            ("#/amount", "missing_field"),
            ("#/else", "unknown_field"),
            ("#/invoice_id", "wrong_type"),
            ("#/lines/0/quantity", "wrong_type"),
            ("#/lines/1", "wrong_type"),
            ("#/lines/2/quantity", "missing_field"),
            ("#/method", "wrong_type"),
            ("#/note", "wrong_type"),
        ];
        assert_eq!(told.into_iter().collect::<std::collections::BTreeSet<_>>(), expected.into());
        assert_eq!(faults.len(), expected.len(), "each once: {faults:?}");
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_order() {
        for body in ["", "{", "{\"lines\":[]} x", "nonsense"] {
            assert_eq!(told(body).0, "malformed_json", "{body}");
        }
    }
}
