//! What a service adds to the published documents, beyond what its types say.

pub mod payload;

use serde_json::Value;
use uuid::Uuid;

/// The time of the examples.
pub const EXAMPLE_TIME: &str = "2026-09-21T14:13:20Z";

/// A public topic in the AsyncAPI document.
#[derive(Default)]
pub struct TopicContract {
    /// In a sentence, what its events say.
    pub summary: &'static str,
    /// What the key of its records is.
    pub key: &'static str,
    /// The JSON schema of its events.
    pub payload: Value,
}

/// An id of the examples, and where a newer one is found: the page at `/docs` sends that instead.
pub struct ExampleId {
    /// The id in the examples.
    pub id: Uuid,
    /// The query that lists the newest object first.
    pub list: &'static str,
    /// The field of an item that has its id.
    pub field: &'static str,
}
