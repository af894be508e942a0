//! Values that stand in the paths of URLs. Rules only: the HTTP layer reads and describes paths by them.

use uuid::Uuid;

/// What identifiers in paths look like, roughly: at least one character is also a letter or a digit.
pub const IDENTIFIER: &str = "^[A-Za-z0-9._-]{1,64}$";

/// A value that stands in a path.
pub trait PathValue: Sized + Send {
    /// The name of its parameter.
    const NAME: &'static str;
    /// The format in its JSON schema.
    const FORMAT: Option<&'static str> = None;
    /// A regular expression for it, where no format says enough.
    const PATTERN: Option<&'static str> = None;

    /// The example in documents.
    fn example() -> String;

    /// The value that `text` is.
    ///
    /// # Errors
    /// What it should have been.
    fn parse(text: &str) -> Result<Self, String>;
}

/// The id of the one kind of aggregate that a path names, in a parameter `id`.
impl PathValue for Uuid {
    const NAME: &'static str = "id";
    const FORMAT: Option<&'static str> = Some("uuid");

    fn example() -> String {
        "019a0000-0000-7000-8000-000000000001".to_owned()
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::try_parse(text).map_err(|_| "it must be a UUID".to_owned())
    }
}
