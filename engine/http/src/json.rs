//! JSON bodies, parsed and written by serde, which is faster than the framework's own parser and reports the invalid field.

mod encoding;
mod number;
mod shape;
mod strict;

use std::time::Duration;

use bytes::Bytes;
use poem::{Body, IntoResponse, Request, RequestBody, Response, Result, error::ReadBodyError, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{ParsePayload, Payload},
    registry::{MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use shape::Shape;
use strict::Strict;

use crate::problem::{ApiError, Fault, Faults, codes, too_large};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    pub max_bytes: usize,
    /// The time within which it must arrive.
    pub timeout: Duration,
}

/// A request body whose values may be invalid although its shape is valid.
pub trait Checked: Sized {
    /// The validated values.
    type Values: Send;

    /// Validates the values.
    fn checked(self) -> Result<Self::Values, ApiError>;
}

/// A JSON response body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A JSON request body: its values, validated by [`Checked`].
pub struct Given<T: Checked>(pub T::Values);

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + Checked> Payload for Given<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(_: &str) -> bool {
        // `given` checks it with the rest of the head.
        true
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned + Checked> ParsePayload for Given<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> Result<Self> {
        given::<T>(request, body).await.map(Self)
    }
}

/// Parses and validates the JSON body of a request.
///
/// # Errors
/// 415 for anything but JSON in UTF-8 without compression, 413 and 408 by the limits of the request, 400 with every fault of the body.
pub async fn given<T: Type + DeserializeOwned + Checked>(
    request: &Request,
    body: &mut RequestBody,
) -> Result<T::Values> {
    encoding::check_head(request)?;
    let limits = limits_of(request)?;
    let bytes = arrived(declared_length(request), body.take()?, limits).await?;
    let body: T = parsed(&bytes).map_err(|error| explain::<T>(&bytes, &error))?;
    Ok(body.checked()?)
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = T::deserialize(Strict(&mut json))?;
    json.end()?;
    Ok(body)
}

impl<T: Serialize + Send> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => Response::builder().content_type("application/json").body(body),
            Err(error) => ApiError::internal(&error).into_response(),
        }
    }
}

poem_openapi::impl_apirequest_for_payload!(Given<T>, T: Type + DeserializeOwned + Checked);

/// Returns the limits of the request's body.
///
/// # Errors
/// 500 if the gate has not set them.
pub fn limits_of(request: &Request) -> Result<BodyLimits, ApiError> {
    let limits = request.data::<BodyLimits>().copied();
    limits.ok_or_else(|| ApiError::internal(&"a request without limits came through the gate"))
}

/// Returns the length of the body according to its head.
pub fn declared_length(request: &Request) -> Option<usize> {
    request.header("content-length")?.parse().ok()
}

/// Reads the whole body within its limits.
///
/// # Errors
/// 413, 408, or that the connection broke.
pub async fn arrived(declared: Option<usize>, body: Body, limits: BodyLimits) -> Result<Bytes> {
    let BodyLimits { max_bytes, timeout } = limits;
    let arriving = async {
        match declared {
            Some(length) if length > max_bytes => Err(ReadBodyError::PayloadTooLarge),
            // The connection returns exactly as many bytes as were declared.
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
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, codes::BODY_TOO_SLOW, detail).into())
        }
    }
}

/// An optional JSON request body.
pub struct MaybeGiven<T: Checked>(pub Option<T::Values>);

impl<'a, T: Type + DeserializeOwned + Checked> ApiExtractor<'a> for MaybeGiven<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Given<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest { required: false, ..<Given<T> as ApiExtractor>::request_meta()? })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let length = request.header("content-length").map(str::to_owned);
        // Without either header there is no body; an empty body counts as none.
        let is_there =
            length.as_deref() != Some("0") && (length.is_some() || request.header("transfer-encoding").is_some());
        if is_there {
            Ok(Self(Some(<Given<T> as ApiExtractor>::from_request(request, body, options).await?.0)))
        } else {
            Ok(Self(None))
        }
    }
}

/// Collects all reasons why these bytes are not a `T`, given the first `error`. Parses them again, since tracking the location during
/// the first parse would cost time.
fn explain<T: Type + DeserializeOwned + Checked>(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    if let Err(error) = encoding::check_bytes(bytes) {
        return error;
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = match <&RawValue>::deserialize(&mut json) {
        Ok(_) if json.end().is_err() => {
            return ApiError::invalid(codes::MALFORMED_JSON, "something follows the JSON value");
        }
        // Escapes in texts are only checked when a text is read.
        Ok(_) if !error.is_data() && has_bad_text(bytes) => return malformed(error),
        Ok(body) => body,
        Err(error) => return malformed(&error),
    };
    let mut registry = Registry::new();
    T::register(&mut registry);
    let schema = T::schema_ref();
    let mut shape = Shape::compared(&registry.schemas, &schema, body);
    let mut faults = std::mem::take(&mut shape.faults);
    if shape.has_bad_escape {
        return with_bad_escape(bytes, error);
    }
    if faults.is_full() {
        return faults.into();
    }
    let of_values = match parsed::<T>(shape.mended.as_bytes()) {
        Ok(body) => body.checked().err(),
        Err(error) if has_bad_text(shape.mended.as_bytes()) => return with_bad_escape(bytes, &error),
        Err(_) => Some(beyond_the_schema::<T>(shape.mended.as_bytes()).into()),
    };
    faults.extend_where(of_values, |fault| !shape.has_mended(fault.pointer.as_deref().unwrap_or_default()));
    if faults.is_empty() { beyond_the_schema::<T>(bytes).into() } else { faults.into() }
}

/// Whether JSON of the right form can still not be read. serde calls more than that a syntax error, such as `null` in place of an enum.
fn has_bad_text(json: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(json).is_err()
}

/// Reports an escape that is not a character, such as half of a surrogate pair. It is only found when the text is read.
fn with_bad_escape(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    malformed(serde_json::from_slice::<serde_json::Value>(bytes).as_ref().err().unwrap_or(error))
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    ApiError::invalid(codes::MALFORMED_JSON, format!("this is not JSON, from line {line}, column {column} on"))
}

/// Reports what serde rejects although the schema allows it: the schemas of operators' bodies are less precise.
fn beyond_the_schema<T: DeserializeOwned>(bytes: &[u8]) -> Faults {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = serde_path_to_error::deserialize::<_, T>(Strict(&mut json)).err();
    let pointer = error.map_or_else(|| "#".to_owned(), |error| pointer_of(error.path()));
    Fault::of_body(pointer, codes::WRONG_TYPE, "this value can't be here").into()
}

/// Formats a place in a document as a JSON pointer in URI fragment form.
fn pointer_of(path: &serde_path_to_error::Path) -> String {
    let segments = path.iter().map(|segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } | Segment::Enum { variant: key } => escaped(key),
        Segment::Unknown => "?".to_owned(),
    });
    ["#".to_owned()].into_iter().chain(segments).collect::<Vec<_>>().join("/")
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[track_caller]
fn refused<T: Type + DeserializeOwned + Checked>(body: &str) -> ApiError {
    let Err(error) = parsed::<T>(body.as_bytes()) else { panic!("{body} is right") };
    explain::<T>(body.as_bytes(), &error)
}

/// Asserts the faults of a body: the pointer and code of each, sorted. For tests of services.
///
/// # Panics
/// If the body has other faults.
#[track_caller]
pub fn assert_all_told<T: Type + DeserializeOwned + Checked>(body: &str, expected: &[(&str, &str)]) {
    let faults = refused::<T>(body).faults();
    let mut told: Vec<_> =
        faults.iter().map(|it| (it.pointer.as_deref().unwrap_or_default(), it.code.as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, expected, "each once");
}

#[cfg(test)]
mod tests {
    use poem_openapi::{Enum, Object};
    use uuid::Uuid;

    use super::*;
    use crate::problem::Problem;

    #[derive(Debug, Object, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(Debug, Object, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        quantity: i64,
    }

    impl Checked for Order {
        type Values = ();

        fn checked(self) -> Result<(), ApiError> {
            Ok(())
        }
    }

    #[track_caller]
    fn told(body: &str) -> (String, String, String) {
        let problem = Problem::from(refused::<Order>(body));
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
        assert_eq!(told("[]"), fault("#", "wrong_type"));
    }

    #[test]
    fn an_escape_that_is_no_character_is_malformed_wherever_it_stands() {
        for body in [
            r#"{"lines":[{"quantity":"x"}],"\ud800":1}"#,
            r#"{"\ud800":1,"lines":[{"quantity":"x"}]}"#,
            r#"{"lines":[{"quantity":"x","\ud800":1}]}"#,
        ] {
            assert_eq!(told(body).0, "malformed_json", "{body}");
        }
    }

    #[test]
    fn an_array_is_not_an_object() {
        assert_all_told::<Order>(r#"[[{"quantity": 1}]]"#, &[("#", "wrong_type")]);
        assert_all_told::<Order>(
            r#"{"lines": [[1], {"quantity": 2}, []]}"#,
            &[("#/lines/0", "wrong_type"), ("#/lines/2", "wrong_type")],
        );
    }

    #[test]
    fn an_integer_may_be_written_with_a_point_or_an_exponent() {
        for quantity in ["2", "2.0", "2e0", "20e-1", "0.02E+2"] {
            let body = format!(r#"{{"lines": [{{"quantity": {quantity}}}]}}"#);
            let order: Order = parsed(body.as_bytes()).unwrap();
            assert_eq!(order.lines[0].quantity, 2, "{quantity}");
        }
        let in_range = "a whole number within the range of a 64-bit integer";
        for (quantity, expected) in [
            ("1.5", "a whole number, without a fraction"),
            ("1e-1", "a whole number, without a fraction"),
            ("9223372036854775808", in_range),
            ("-1e19", in_range),
            ("1e400", in_range),
            ("\"5\"", "a whole number"),
            ("null", "a whole number"),
            ("[2]", "a whole number"),
        ] {
            let faults = refused::<Order>(&format!(r#"{{"lines": [{{"quantity": {quantity}}}]}}"#)).faults();
            assert_eq!(faults[0].detail, format!("expected {expected}"), "{quantity}");
            assert_eq!(faults.len(), 1, "{quantity}: {faults:?}");
        }
    }

    #[derive(Debug, Object, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payment {
        invoice_id: Uuid,
        amount: i64,
        method: Method,
        lines: Vec<Line>,
        note: Option<String>,
    }

    #[derive(Debug, Enum, Deserialize)]
    #[oai(rename_all = "snake_case")]
    #[serde(rename_all = "snake_case")]
    enum Method {
        Card,
        Transfer,
    }

    impl Checked for Payment {
        type Values = ();

        fn checked(self) -> Result<(), ApiError> {
            let mut faults = Faults::default();
            if self.amount < 1 {
                faults.add("#/amount", codes::OUT_OF_RANGE, "too little");
            }
            if self.lines.len() < 4 {
                faults.add("#/lines", codes::TOO_LONG, "too few");
            }
            faults.none()
        }
    }

    #[test]
    fn all_that_is_wrong_with_a_body_is_told_at_once() {
        assert_all_told::<Payment>(
            r#"{"invoice_id": "x", "method": "shells", "lines": [{"quantity": "y"}, 7, {}], "note": 1, "else": 2}"#,
            &[
                ("#/amount", "missing_field"),
                ("#/else", "unknown_field"),
                ("#/invoice_id", "wrong_type"),
                // The faults of its lines are listed individually; the number of lines is another fault.
                ("#/lines", "too_long"),
                ("#/lines/0/quantity", "wrong_type"),
                ("#/lines/1", "wrong_type"),
                ("#/lines/2/quantity", "missing_field"),
                ("#/method", "wrong_type"),
                ("#/note", "wrong_type"),
            ],
        );
    }

    #[test]
    fn what_is_no_json_is_told_from_what_is_no_order() {
        for body in ["", "{", "{\"lines\":[]} x", "nonsense", "[", "{\"lines\":7} x", "{\"x\":1"] {
            assert_eq!(told(body).0, "malformed_json", "{body}");
        }
    }

    #[test]
    fn a_number_too_large_for_a_float_and_a_doubled_field_hide_no_other_fault() {
        assert_all_told::<Payment>(
            r#"{"invoice_id": [7], "amount": 1e400, "amount": 1, "amount": 2, "method": {"card": null}, "lines": [{"a/b~": 1}]}"#,
            &[
                ("#/amount", "wrong_type"),
                ("#/invoice_id", "wrong_type"),
                ("#/lines", "too_long"),
                ("#/lines/0/a~1b~0", "unknown_field"),
                ("#/lines/0/quantity", "missing_field"),
                ("#/method", "wrong_type"),
            ],
        );
        let faults = refused::<Payment>(r#"{"method": "shells"}"#).faults();
        let method = faults.into_iter().find(|fault| fault.pointer.as_deref() == Some("#/method")).unwrap();
        assert_eq!(method.detail, "expected one of `card`, `transfer`");
    }

    #[test]
    fn only_what_may_be_left_out_may_be_null() {
        let body = r#"{"invoice_id": null, "amount": 1, "method": "card", "lines": null, "note": null}"#;
        assert_all_told::<Payment>(body, &[("#/invoice_id", "wrong_type"), ("#/lines", "wrong_type")]);
    }

    #[test]
    fn faults_of_shape_are_all_counted() {
        let problem = Problem::from(refused::<Order>(&format!(r#"{{"lines": [{}7]}}"#, "{},".repeat(30_000))));
        assert_eq!((problem.errors.unwrap().len(), problem.error_count), (100, Some(30_001)));
    }
}
