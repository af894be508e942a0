//! A service's additions to the published documents, beyond what its types express.

pub mod payload;

use serde_json::Value;
use uuid::Uuid;

/// The time used in examples.
pub const EXAMPLE_TIME: &str = "2026-09-21T14:13:20Z";

/// A public topic in the AsyncAPI document.
#[derive(Default)]
pub struct TopicContract {
    /// A sentence that says what its events report.
    pub summary: &'static str,
    /// What the key of its records identifies.
    pub key: &'static str,
    /// The JSON schema of its events.
    pub payload: Value,
}

/// An id in the examples, and how to find a newer one: the page at `/docs` sends that one instead.
pub struct ExampleId {
    /// The id in the examples.
    pub id: Uuid,
    /// The query that lists the newest object first.
    pub list: &'static str,
    /// The field of an item that has its id.
    pub field: &'static str,
}
