//! The text by which a repeated command is recognised.
//!
//! ## Storage format: these texts are compared for ever
//! Every record keeps a hash of its command's text, and a repeat with another text is refused. So a text is written out part
//! by part, never derived from how a type happens to be called, and a test freezes that of each command callers can send.

use serde::Serialize;

/// A command's name and parts as one JSON array: whatever a text among them holds, no two commands look alike.
///
/// The parts are values and arrays of values, nothing with field names.
pub(crate) fn text(parts: &impl Serialize) -> String {
    serde_json::to_string(parts).expect("values have a JSON form")
}
