//! What each service is, naively: maps that change by what events say, and complain about an event that can't have happened.

pub mod billing;
pub mod customers;
pub mod inventory;
pub mod notifications;
pub mod orders;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::history::Ask;

/// A row as it must be: the variant of the document, and those of its fields that the model knows.
pub type Expected = (&'static str, Value);

/// One service.
pub trait Model: Default {
    /// Which tables [`Model::rows`] knows.
    const KINDS: &'static [&'static str];

    /// An accepted event.
    ///
    /// # Errors
    /// Which promise is broken by it.
    fn apply(&mut self, name: &str, event: &Value) -> Result<(), &'static str>;

    /// Whether the rules say no to this now.
    fn refuses(&self, ask: &Ask) -> bool;

    /// Every row, by table and what [`Model::id`] makes of it.
    fn rows(&self) -> BTreeMap<(&'static str, String), Expected>;

    /// What a document is told apart by; none if that is its key.
    fn id(kind: &str, document: &Map<String, Value>) -> Option<String>;
}

/// The promise that versions count.
pub const GAPLESS: &str = "versions are gapless";

/// A text field.
pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number; 0 if there is none.
pub fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
}

/// The next version, if that is what the event says.
///
/// # Errors
/// [`GAPLESS`].
pub fn counted(version: &mut i64, event: &Value) -> Result<(), &'static str> {
    *version += 1;
    if number(event, "version") == *version { Ok(()) } else { Err(GAPLESS) }
}

/// `Ok` if it holds.
///
/// # Errors
/// The promise, if it does not.
pub fn holds(it: bool, promise: &'static str) -> Result<(), &'static str> {
    if it { Ok(()) } else { Err(promise) }
}
