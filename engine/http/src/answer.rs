//! Successful responses: a JSON body, and headers with the position in the log.

use orderlog_core::decider::Decider;
use orderlog_runtime::replica::Executed;
use poem::{
    IntoResponse, Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::json::Json;

/// The position of a record: `orders@1042`.
pub const POSITION: HeaderName = HeaderName::from_static("orderlog-position");
/// The preference of the caller that was applied.
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Marks the response to an earlier request with the same idempotency key.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The response to a command, with its status. The body derives from the recorded event alone, so that repeating an idempotency
/// key yields the same response.
#[derive(Debug)]
pub struct Answer<T, const STATUS: u16> {
    body: T,
    location: Option<String>,
    position: String,
    version: Option<u64>,
    applied: Option<String>,
    replayed: bool,
}

/// The response to a command that created something: 201.
pub type Created<T> = Answer<T, 201>;
/// The response to any other command: 200.
pub type Done<T> = Answer<T, 200>;

impl<T, const STATUS: u16> Answer<T, STATUS> {
    /// Creates the response to an executed command. `version` is that of the command's target, if it has one.
    pub fn new<D: Decider>(executed: &Executed<D>, body: T, version: impl Into<Option<u64>>) -> Self {
        let position = position::<D>(executed.accepted.at.offset);
        Self { body, location: None, position, version: version.into(), applied: None, replayed: executed.replayed }
    }
}

impl<T> Created<T> {
    /// Sets the path of the created object.
    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    /// Sets the position of a record after the command's own, if the response reflects one: no instance may then show the caller an earlier
    /// state.
    #[must_use]
    pub fn telling_of<D: Decider>(mut self, newest: Option<u64>) -> Self {
        if let Some(offset) = newest {
            self.position = position::<D>(offset);
        }
        self
    }

    /// Sets the preference that was applied.
    #[must_use]
    pub fn applied(mut self, preference: Option<String>) -> Self {
        self.applied = preference;
        self
    }
}

/// Formats a position in the service's journal, as in `Orderlog-Position`.
pub fn position<D: Decider>(offset: u64) -> String {
    format!("{}@{offset}", D::JOURNAL)
}

fn insert(response: &mut Response, name: HeaderName, value: String) {
    // Positions, versions and paths with ids are visible ASCII.
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

impl<T: Serialize + Send, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        response.set_status(StatusCode::from_u16(STATUS).unwrap_or(StatusCode::OK));
        insert(&mut response, POSITION, self.position);
        if let Some(location) = self.location {
            insert(&mut response, header::LOCATION, location);
        }
        if let Some(version) = self.version {
            insert(&mut response, header::ETAG, format!("\"{version}\""));
        }
        if let Some(applied) = self.applied {
            insert(&mut response, APPLIED, applied);
        }
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

fn described(name: &str, description: &str, required: bool) -> MetaHeader {
    let (name, description) = (name.to_owned(), Some(description.to_owned()));
    MetaHeader { name, description, required, deprecated: false, schema: String::schema_ref() }
}

fn meta<T: Type>(status: u16, description: &'static str, headers: Vec<MetaHeader>) -> MetaResponses {
    let content = vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: schema::<T>() }];
    MetaResponses {
        responses: vec![MetaResponse { description, status: Some(status), status_range: None, content, headers }],
    }
}

fn schema<T: Type>() -> MetaSchemaRef {
    T::schema_ref()
}

impl<T: Type + Serialize, const STATUS: u16> ApiResponse for Answer<T, STATUS> {
    fn meta() -> MetaResponses {
        let mut headers = vec![
            described(
                "Orderlog-Position",
                "The position of the newest record that this response reflects, such as `orders@1042`: the command's, \
                    or one waited for.",
                true,
            ),
            described("ETag", "The version of the command's target.", false),
            described(
                "Idempotent-Replayed",
                "`true` if an earlier request with this idempotency key executed the command.",
                false,
            ),
        ];
        if STATUS == 201 {
            headers.push(described("Location", "The URL of the created object.", true));
            meta::<T>(STATUS, "Done: the record is in the log.", headers)
        } else {
            meta::<T>(STATUS, "Done, or already the case: the record is in the log.", headers)
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The response to a query for one object.
#[derive(Debug)]
pub struct Found<T> {
    body: T,
    version: u64,
    position: Option<String>,
}

impl<T> Found<T> {
    pub const fn new(body: T, version: u64) -> Self {
        Self { body, version, position: None }
    }

    /// Sets the position of a past state.
    #[must_use]
    pub fn at(mut self, position: Option<String>) -> Self {
        self.position = position;
        self
    }
}

impl<T: Serialize + Send> IntoResponse for Found<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        insert(&mut response, header::ETAG, format!("\"{}\"", self.version));
        if let Some(position) = self.position {
            insert(&mut response, POSITION, position);
        }
        response
    }
}

impl<T: Type + Serialize> ApiResponse for Found<T> {
    fn meta() -> MetaResponses {
        let headers = vec![
            described("ETag", "The object's version.", true),
            described("Orderlog-Position", "With `as_of`: the last record that the response reflects.", false),
        ];
        meta::<T>(200, "The requested object, reflecting everything this instance has answered so far.", headers)
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The response to a query for a list: one page of it.
#[derive(Debug)]
pub struct Listed<T> {
    body: T,
    next: Option<String>,
}

impl<T> Listed<T> {
    /// Creates a page with the link to the next one, if any.
    pub const fn new(body: T, next: Option<String>) -> Self {
        Self { body, next }
    }

    /// The link to the next page.
    #[cfg(test)]
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

impl<T: Serialize + Send> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(next) = self.next {
            insert(&mut response, header::LINK, next);
        }
        response
    }
}

impl<T: Type + Serialize> ApiResponse for Listed<T> {
    fn meta() -> MetaResponses {
        let headers =
            vec![described("Link", "The URL of the next page, as `rel=\"next\"`; absent on the last one.", false)];
        meta::<T>(200, "One page, reflecting everything this instance has answered so far.", headers)
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
