//! The text that identifies a repeated command.
//!
//! ## Storage format: these texts are compared forever
//! Every record keeps a hash of its command's text, and a repeat with another text is rejected. So the text is written part
//! by part, never derived from the name of a type, and a test freezes that of each command callers can send.

use serde::Serialize;

/// A command's name and parts as one JSON array. Quoting keeps different commands apart, whatever text they contain.
///
/// The parts are values and arrays of values, without field names.
pub(crate) fn text(parts: &impl Serialize) -> String {
    serde_json::to_string(parts).expect("values have a JSON form")
}
