//! A service's additions to the published documents, beyond what its types express.

use uuid::Uuid;

/// The time used in examples.
pub const EXAMPLE_TIME: &str = "2026-09-21T14:13:20Z";

/// An id in the examples, and how to find a newer one: the page at `/docs` sends that one instead.
pub struct ExampleId {
    /// The id in the examples.
    pub id: Uuid,
    /// The query that lists the newest object first.
    pub list: &'static str,
    /// The field of an item that has its id.
    pub field: &'static str,
}
