//! Errors as RFC 9457 problem details, `application/problem+json`, with a stable `code`.
//!
//! | status | when |
//! |---|---|
//! | 400 | malformed JSON, a wrong type, an unknown or missing field or query parameter, an invalid value |
//! | 401 | a required key or token is missing or invalid |
//! | 403 | the key or token lacks the required scope, or the caller may not do this |
//! | 404 | an object that the request names, in its path or body, does not exist or belongs to another owner |
//! | 405, 415, 413 | unsupported method, unsupported content type, body or record too large |
//! | 408 | the body did not arrive in time |
//! | 409 | a command with the same idempotency key is in progress, or the current state forbids the command (out of stock, ...) |
//! | 412 | `If-Match`: the target of the command has another version than the caller has seen |
//! | 421 | the request names another instance than the one at this address |
//! | 422 | the idempotency key was used for another command |
//! | 429 | the caller exceeded its rate limit |
//! | 431 | the head of the request is too large |
//! | 500 | a bug in orderlog |
//! | 503 | the service, or another one that it depends on, is unavailable; nothing was written |
//! | 504 | a time limit passed; a command may or may not have been executed: retry with the same idempotency key |
//!
//! `retryable` says whether the same request can succeed later, and each code declares it. Such a problem has `Retry-After`.
//!
//! A response names all invalid values of a request at once. Problems contain no request bodies and no e-mail addresses, since they
//! may end up in a log.

mod catalogue;
pub mod codes;
mod faults;
mod framework;

use std::{error::Error, fmt::Display};

use orderlog_core::words;
use orderlog_readmodel::StoreError;
use orderlog_runtime::replica::ExecuteError;
use poem::{
    IntoResponse, Response,
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::request;

pub use catalogue::{Code, Entry, Member, Scope};
pub use faults::{Fault, Faults};
pub use framework::problem_of;
pub(crate) use framework::too_large;

pub const CONTENT_TYPE: &str = "application/problem+json";
/// The maximum length of a `detail` in characters. It may quote the request, which may be as long as a body or a head.
const DETAIL_CHARS_MAX: usize = 1_000;

/// Problem details of a failed request (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(skip_serializing_if_is_none, example)]
pub struct Problem {
    /// The kind of problem, a relative URI reference.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    /// A title for the kind of problem; the same for every problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
    /// A machine-readable code for the kind of problem. Codes never change their meaning.
    pub code: String,
    /// Whether the same request, sent again with the same `Idempotency-Key`, can succeed later, or report how the command
    /// ended: `Retry-After` says when. If false, change the request or the state first.
    #[serde(default)]
    pub retryable: bool,
    /// The request id in the services' logs: the `X-Request-Id` of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The invalid values, if they are known: the first 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<Fault>>,
    /// The number of invalid values; more than `errors` has if there were more than 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_count: Option<u32>,
    /// The [`Member`]s of its code.
    #[oai(skip)]
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl poem_openapi::types::Example for Problem {
    fn example() -> Self {
        codes::INVALID_REQUEST.example()
    }
}

/// A failed request. The response is a [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    Own(Box<Failure>),
    /// A problem returned by another service.
    Relayed(Box<Problem>),
}

/// The outcome of an operation.
pub type ApiResult<T> = Result<T, ApiError>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status, one of those of the code.
    pub status: StatusCode,
    pub code: Code,
    /// What was wrong with this request.
    pub detail: String,
    /// The invalid values, if known.
    pub faults: Faults,
    /// The [`Member`]s of its code, by name.
    pub members: Map<String, Value>,
}

impl ApiError {
    /// A problem of this kind.
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        debug_assert!(
            code == codes::BAD_REQUEST || code.statuses.contains(&status.as_u16()),
            "{code:?} does not come with {status}"
        );
        let detail = faults::shortened(detail.into(), DETAIL_CHARS_MAX);
        Self::Own(Box::new(Failure { status, code, detail, faults: Faults::default(), members: Map::new() }))
    }

    /// 400: the request is invalid as a whole.
    pub fn invalid(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400: a value of the body is invalid, as only the service can determine.
    pub fn invalid_at(pointer: &str, code: Code, detail: impl Into<String>) -> Self {
        Self::invalid(code, detail).at(pointer)
    }

    /// 400: a path parameter, query parameter or header is invalid.
    pub fn parameter(name: &str, code: Code, detail: impl Into<String>) -> Self {
        Faults::from(Fault::of_parameter(name, code, detail)).into()
    }

    /// 404: the object does not exist.
    pub fn not_found(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 409: the current state forbids the command.
    pub fn conflict(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 503: temporarily unavailable; nothing was written.
    pub fn unavailable(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// 504: a time limit passed.
    pub fn timed_out(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, code, detail)
    }

    /// 503: rows that the response needs are damaged. `what` is only logged, since it names the file and the row.
    pub fn damaged_rows(what: &dyn Display) -> Self {
        tracing::error!("a request met damaged rows: {what}");
        Self::unavailable(codes::DAMAGED, words::fill(codes::DAMAGED.detail))
    }

    /// 500: a bug. `what` is only logged.
    pub fn internal(what: &dyn Display) -> Self {
        tracing::error!("a request failed by our own mistake: {what:#}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            codes::INTERNAL,
            "an internal error; the service's log has the details",
        )
    }

    /// Whether the error has this code.
    pub fn is(&self, code: Code) -> bool {
        match self {
            Self::Own(failure) => failure.code == code,
            Self::Relayed(problem) => problem.is(code),
        }
    }

    /// Returns the invalid values that a response names.
    pub fn faults(self) -> Vec<Fault> {
        Problem::from(self).errors.unwrap_or_default()
    }

    pub fn append(&mut self, detail: &str) {
        if let Self::Own(failure) = self {
            failure.detail.push_str(detail);
        }
    }

    /// Adds the value of the body that the problem is about.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        if let Self::Own(failure) = &mut self {
            failure.faults.add(pointer, failure.code, &failure.detail);
        }
        self
    }

    /// Adds a member of its code.
    #[must_use]
    pub fn with(mut self, member: &Member, value: impl Into<Value>) -> Self {
        if let Self::Own(failure) = &mut self {
            failure.members.insert(member.name.to_owned(), value.into());
        }
        self
    }
}

impl Problem {
    /// Whether the problem has this code.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.name
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let Failure { status, code, detail, faults, members } = match error {
            ApiError::Own(failure) => *failure,
            ApiError::Relayed(problem) => return *problem,
        };
        let (errors, error_count) = faults.named().unzip();
        Self {
            kind: code.path(),
            title: code.title(),
            status: status.as_u16(),
            detail,
            code: code.name.to_owned(),
            retryable: code.retryable,
            request_id: None,
            errors,
            error_count,
            members,
        }
    }
}

impl ApiError {
    /// Converts the error of a command. `problem_of` converts a rejection.
    pub fn of_command<R: Error>(error: ExecuteError<R>, problem_of: fn(R) -> Self) -> Self {
        let detail = error.to_string();
        match error {
            ExecuteError::Rejected(rejection) => problem_of(rejection),
            ExecuteError::OtherVersion(version) => {
                let problem = Self::new(StatusCode::PRECONDITION_FAILED, codes::PRECONDITION_FAILED, detail);
                version.into_iter().fold(problem, |problem, version| problem.with(&codes::VERSION, version))
            }
            ExecuteError::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, codes::IDEMPOTENCY_KEY_REUSED, detail)
            }
            ExecuteError::Discarded => Self::conflict(codes::COMMAND_DISCARDED, detail),
            ExecuteError::KeyInUse => Self::conflict(codes::IDEMPOTENCY_KEY_IN_USE, detail),
            ExecuteError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, codes::RECORD_TOO_LARGE, detail),
            ExecuteError::Parked => Self::unavailable(codes::PARKED, detail),
            ExecuteError::Unavailable(_) => Self::unavailable(codes::UNAVAILABLE, detail),
            ExecuteError::Unknown => Self::timed_out(codes::OUTCOME_UNKNOWN, detail),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cursor => Self::parameter("cursor", codes::INVALID_CURSOR, error.to_string()),
            error if error.is_damage() => Self::damaged_rows(&error),
            StoreError::Folder { .. }
            | StoreError::InUse { .. }
            | StoreError::Damaged { .. }
            | StoreError::Foreign { .. }
            | StoreError::OutOfOrder { .. }
            | StoreError::NoTable { .. }
            | StoreError::Unwritable { .. }
            | StoreError::Database { .. } => Self::internal(&anyhow::Error::from(error)),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut problem = Problem::from(self);
        // Also for a problem relayed from another service, which got this request's id.
        problem.request_id = request::id().or(problem.request_id);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A problem consists of texts and numbers, so serialization cannot fail.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::builder().status(status).content_type(CONTENT_TYPE).body(body);
        if problem.retryable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<ApiError> for poem::Error {
    fn from(error: ApiError) -> Self {
        Self::from_response(error.into_response())
    }
}

/// The failures that operations document. [`orderlog_server::openapi`] removes those that cannot happen to a query from the published
/// document.
const DOCUMENTED: [(u16, &str); 14] = [
    (400, "The request is malformed, or a value is not valid. Nothing was written."),
    (401, "The key or token is missing or invalid. Nothing was written."),
    (403, "The key or token lacks the required scope. Nothing was written."),
    (404, "Something that the request names does not exist. Nothing was written."),
    (408, "The body did not arrive in time. Nothing was written."),
    (409, "The command conflicts with the current state. Nothing was written."),
    (412, "The command's target has a different version from the one in `If-Match`. Nothing was written."),
    (
        413,
        "The body is larger than this deployment accepts, 1 MiB by default, or the record is larger than the log \
            accepts. Nothing was written.",
    ),
    (415, "The body is not declared as application/json in UTF-8, or it is compressed. Nothing was written."),
    (422, "The idempotency key was used for another command. Nothing was written."),
    (429, "The caller has exceeded its rate limit. Nothing was written."),
    (500, "An internal error of the service."),
    (503, "The service can't answer right now. Nothing was written: try again."),
    (504, "The request timed out. The outcome of a command is unknown: retry with the same idempotency key."),
];

impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        let responses = DOCUMENTED.iter().map(|&(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: CONTENT_TYPE,
                schema: MetaSchemaRef::Reference(Problem::name().into_owned()),
            }],
            headers: Vec::new(),
        });
        MetaResponses { responses: responses.collect() }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}
