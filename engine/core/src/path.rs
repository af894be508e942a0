//! Values in URL paths. Contains only the rules; the HTTP layer parses and describes paths with them.

use uuid::Uuid;

/// What identifiers in paths look like, roughly: at least one character must also be a letter or a digit.
pub const IDENTIFIER: &str = "^[A-Za-z0-9._-]{1,64}$";

pub trait PathValue: Sized + Send {
    const NAME: &'static str;
    /// The description of its parameter.
    const ABOUT: &'static str;
    /// The `format` in its JSON schema.
    const FORMAT: Option<&'static str> = None;
    /// A regular expression for it, if no format describes it.
    const PATTERN: Option<&'static str> = None;

    fn example() -> String;

    /// Parses the value.
    ///
    /// # Errors
    /// A sentence that describes a valid value.
    fn parse(text: &str) -> Result<Self, String>;
}

/// The id of an aggregate, for paths with a single parameter `id`.
impl PathValue for Uuid {
    const NAME: &'static str = "id";
    const ABOUT: &'static str = "The object's id.";
    const FORMAT: Option<&'static str> = Some("uuid");

    fn example() -> String {
        "019a0000-0000-7000-8000-000000000001".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::try_parse(text).map_err(|_| "it must be a UUID".to_owned())
    }
}
