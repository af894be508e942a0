//! The reason an operator or caller gives for an action, in their own words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{TextError, line, visible_line};

/// The name of the value in error messages.
const WHAT: &str = "a reason";
const N_CHARS_MAX: usize = 200;

/// A reason: 1 to 200 characters on one line, none of them invisible. Stored reasons may contain invisible characters,
/// which earlier versions accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Reason(String);

impl Reason {
    /// Validates a reason from a request.
    ///
    /// # Errors
    /// [`TextError`] if it is too long, not on one line or not entirely visible.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        visible_line(text.into(), WHAT, N_CHARS_MAX).map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl TryFrom<String> for Reason {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        line(text, WHAT, N_CHARS_MAX).map(Self)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_visible_line_and_a_stored_one_may_hide_something() {
        for text in ["", " ", "a\nb", "a\u{2028}b", "a\u{85}b", &"x".repeat(201)] {
            assert_eq!(Reason::new(text), Err(TextError::Length { what: "a reason", max: 200 }), "{text:?}");
        }
        let hidden = "Ada\u{202e}Lovelace";
        assert_eq!(Reason::new(hidden), Err(TextError::Invisible { what: "a reason", character: '\u{202e}' }));
        let stored: Reason = serde_json::from_value(hidden.into()).unwrap();
        assert_eq!(stored.as_str(), hidden);
    }
}
