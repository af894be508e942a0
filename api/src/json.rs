//! JSON bodies, read and written by serde: faster than the framework's own, and it says which field is wrong.

mod encoding;
mod number;
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
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use strict::{FRACTION, OUT_OF_RANGE, Strict};
use uuid::Uuid;

use crate::problem::{ApiError, Code, Fault, Faults, codes, too_large};

/// So many faults of a body are mended to find the next one: a body may have more of them than anybody reads.
const N_MENDED_MAX: usize = 64;
/// So many bytes are read again for that, since each fault that is mended means reading the whole body once more.
const N_BYTES_AGAIN_MAX: usize = 4 * 1024 * 1024;

/// What is expected of an integer, as faults say it.
const WHOLE_NUMBER: &str = "a whole number";
/// The same of a number that is none.
const WITHOUT_FRACTION: &str = "a whole number, without a fraction";
/// The same of an integer that is too large or too small.
const IN_RANGE: &str = "a whole number within the range of a 64-bit integer";

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// It has no more bytes.
    pub max_bytes: usize,
    /// It has arrived after this.
    pub timeout: Duration,
}

/// The body of a request, whose values can be wrong though its shape is right.
pub trait Checked: Sized {
    /// What the values are.
    type Values: Send;

    /// The values.
    ///
    /// # Errors
    /// All of them that can't be.
    fn checked(self) -> Result<Self::Values, ApiError>;
}

/// The JSON body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// The JSON body of a request: its values, as [`Checked`] says what they must be.
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

/// The values of the JSON body of a request.
///
/// # Errors
/// 415 for anything but JSON in UTF-8 without compression, 413 and 408 by the limits of the request, 400 with every fault of the body.
pub async fn given<T: DeserializeOwned + Checked>(request: &Request, body: &mut RequestBody) -> Result<T::Values> {
    encoding::check_head(request)?;
    let limits = limits_of(request)?;
    let bytes = arrived(declared_length(request), body.take()?, limits).await?;
    let body: T = parsed(&bytes).map_err(|_| explain::<T>(&bytes))?;
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
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, codes::BODY_TOO_SLOW, detail).into())
        }
    }
}

/// The JSON body of a request that may be left out.
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
        // Without either header there is no body; a body of no bytes is none either.
        let is_there =
            length.as_deref() != Some("0") && (length.is_some() || request.header("transfer-encoding").is_some());
        if is_there {
            Ok(Self(Some(<Given<T> as ApiExtractor>::from_request(request, body, options).await?.0)))
        } else {
            Ok(Self(None))
        }
    }
}

/// Why these bytes are no `T`: all that is wrong with them. They are read once more, since keeping track of where we are costs time.
fn explain<T: DeserializeOwned + Checked>(bytes: &[u8]) -> ApiError {
    if let Err(error) = encoding::check_bytes(bytes) {
        return error;
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(Strict(&mut json)) else {
        return ApiError::invalid(codes::MALFORMED_JSON, "something follows the JSON value");
    };
    if !error.inner().is_data() {
        let (line, column) = (error.inner().line(), error.inner().column());
        return ApiError::invalid(
            codes::MALFORMED_JSON,
            format!("this is no JSON, from line {line}, column {column} on"),
        );
    }
    let first = fault_of(&error);
    let mut faults = Faults::from(first.clone());
    // What comes after the first fault may be no JSON.
    if let Ok(value) = serde_json::from_slice(bytes) {
        let n_rounds = (N_BYTES_AGAIN_MAX / bytes.len().max(1)).clamp(1, N_MENDED_MAX);
        add_others::<T>(&mut faults, value, first, n_rounds);
    }
    faults.into()
}

/// What else is wrong. Serde ends at the first fault: so that is mended, by anything that serde takes there, and the rest is read again,
/// until the shape is right and the values can be looked at.
fn add_others<T: DeserializeOwned + Checked>(faults: &mut Faults, mut value: Value, first: Fault, n_rounds: usize) {
    let (mut mended, mut fault) = (Vec::new(), first);
    for _ in 0..n_rounds {
        let Some(pointer) = mend(&mut value, &fault) else { break };
        mended.push(pointer);
        match serde_path_to_error::deserialize::<_, T>(Strict(&value)) {
            Err(error) => fault = fault_of(&error),
            Ok(body) => {
                faults.extend_where(body.checked().err(), |fault| !is_at(fault, &mended));
                break;
            }
        }
        if !is_at(&fault, &mended) {
            faults.push(fault.clone());
        }
    }
}

/// Whether the fault is at one of these places, which were mended, or below: what is wrong with the mending is no news.
fn is_at(fault: &Fault, mended: &[String]) -> bool {
    let place = fault.pointer.as_deref().unwrap_or_default();
    mended.iter().any(|it| place.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Change the value so that this fault is gone; where that was.
fn mend(value: &mut Value, fault: &Fault) -> Option<String> {
    let pointer = fault.pointer.clone()?;
    let place = pointer.strip_prefix('#')?;
    if fault.code == codes::WRONG_TYPE.name {
        *value.pointer_mut(place)? = instead(&fault.detail)?;
        return Some(pointer);
    }
    let (parent, field) = place.rsplit_once('/')?;
    let (parent, field) = (value.pointer_mut(parent)?.as_object_mut()?, unescaped(field));
    if fault.code == codes::MISSING_FIELD.name {
        parent.insert(field, Value::Null);
    } else if fault.code == codes::UNKNOWN_FIELD.name {
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
        WHOLE_NUMBER | WITHOUT_FRACTION | IN_RANGE => Some(0.into()),
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
    Fault::of_body(pointer_of(error.path(), field.as_deref()), code, detail)
}

/// Code and sentence of what serde found wrong, and the field that is missing or doubled, below the place it names. Serde's own
/// sentence may repeat a value, which may be an e-mail address: only the parts that come from our types are kept.
fn described(error: &str) -> (Code, String, Option<String>) {
    let field = error.split('`').nth(1).map(str::to_owned);
    if error.starts_with("missing field") {
        return (codes::MISSING_FIELD, "this field is missing".to_owned(), field);
    }
    if error.starts_with("unknown field") {
        return (codes::UNKNOWN_FIELD, "there is no such field here".to_owned(), None);
    }
    if error.starts_with("duplicate field") {
        return (codes::DUPLICATE_FIELD, "this field is here twice".to_owned(), field);
    }
    if error.starts_with("UUID parsing failed") {
        return (codes::WRONG_TYPE, "expected a UUID".to_owned(), None);
    }
    // `invalid type: string "x", expected u32 at line 1 column 2`: the last `expected` is serde's.
    let expected =
        error.rsplit_once(", expected ").map(|(_, rest)| rest.rsplit_once(" at line ").map_or(rest, |(it, _)| it));
    let is = |what: &str| error.strip_prefix("invalid value: ").is_some_and(|rest| rest.starts_with(what));
    let expected = expected.map(|expected| match expected {
        "i64" | "u64" | "i32" | "u32" if is(FRACTION) => WITHOUT_FRACTION,
        // An integer that is too large for a smaller type is what serde calls `integer`.
        "i64" | "u64" | "i32" | "u32" if is(OUT_OF_RANGE) || is("integer") => IN_RANGE,
        "i64" | "u64" | "i32" | "u32" => WHOLE_NUMBER,
        "a formatted UUID string" => "a UUID",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    });
    (
        codes::WRONG_TYPE,
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

/// Asserts which faults a body has: each one's pointer and code, sorted.
#[cfg(test)]
#[track_caller]
pub fn assert_all_told<T: DeserializeOwned + Checked>(body: &str, expected: &[(&str, &str)]) {
    let faults = explain::<T>(body.as_bytes()).faults();
    let mut told: Vec<_> =
        faults.iter().map(|it| (it.pointer.as_deref().unwrap_or_default(), it.code.as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, expected, "each once");
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::problem::Problem;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        lines: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
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
        let problem = Problem::from(explain::<Order>(body.as_bytes()));
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
        for (quantity, expected) in [
            ("1.5", WITHOUT_FRACTION),
            ("1e-1", WITHOUT_FRACTION),
            ("9223372036854775808", IN_RANGE),
            ("-1e19", IN_RANGE),
            ("1e400", IN_RANGE),
            ("\"5\"", WHOLE_NUMBER),
            ("null", WHOLE_NUMBER),
            ("[2]", WHOLE_NUMBER),
        ] {
            let faults = explain::<Order>(format!(r#"{{"lines": [{{"quantity": {quantity}}}]}}"#).as_bytes()).faults();
            assert_eq!(faults[0].detail, format!("expected {expected}"), "{quantity}");
            assert_eq!(faults.len(), 1, "{quantity}: {faults:?}");
        }
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
                // Its lines are told one by one; that there are too few is another matter.
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
        for body in ["", "{", "{\"lines\":[]} x", "nonsense"] {
            assert_eq!(told(body).0, "malformed_json", "{body}");
        }
    }
}
