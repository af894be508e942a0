//! JSON decoding with errors that are safe to show to anyone.
//!
//! serde's own errors repeat the offending value, which may be an e-mail address, and end up in logs, read models and
//! readiness responses. These errors name the field and the kind of error, using only words from our own types.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};
use serde_path_to_error::{Path, Segment};

/// Why JSON could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The path to the field, such as `OrderPlaced.lines.0.quantity`. Empty for the whole document.
    field: String,
    kind: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, kind } = self;
        if field.is_empty() { f.write_str(kind) } else { write!(f, "{field}: {kind}") }
    }
}

impl std::error::Error for DecodeError {}

impl DecodeError {
    /// The document is an event of a kind that this program does not know.
    pub fn unknown_variant() -> Self {
        Self { field: String::new(), kind: "unknown variant".to_owned() }
    }

    fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        Self { field: field_of(error.path()), kind: kind_of(error.inner()) }
    }
}

/// Decodes a document.
///
/// # Errors
/// [`DecodeError`], which never contains a value.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, DecodeError> {
    // Decode again to find the field: tracking it always would be slow.
    serde_json::from_slice(json).map_err(|_| {
        let mut json = serde_json::Deserializer::from_slice(json);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) => DecodeError::of(&error),
            Ok(_) => DecodeError { field: String::new(), kind: "something follows the JSON value".to_owned() },
        }
    })
}

/// Decodes a document that is already parsed.
///
/// # Errors
/// [`DecodeError`], which never contains a value.
pub fn from_value<T: DeserializeOwned>(json: &Value) -> Result<T, DecodeError> {
    // By its text, since a second way of decoding would be compiled once more for each type.
    from_slice(json.to_string().as_bytes())
}

/// Whether `text` can be the name of a field or variant. Anything else may be data in the place of a name.
pub fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn field_of(path: &Path) -> String {
    let names = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key: name } | Segment::Enum { variant: name } if is_identifier(name) => Some(name.clone()),
        Segment::Map { .. } | Segment::Enum { .. } => Some("?".to_owned()),
        Segment::Unknown => None,
    });
    names.collect::<Vec<_>>().join(".")
}

/// The kind of an error, without the value that serde repeats.
fn kind_of(error: &serde_json::Error) -> String {
    if matches!(error.classify(), Category::Syntax | Category::Eof | Category::Io) {
        return format!("this is not JSON from line {}, column {} on", error.line(), error.column());
    }
    let text = error.to_string();
    // The name of one of our fields, in backticks.
    if let Some((kind @ ("missing field" | "duplicate field"), rest)) = text.split_once(" `") {
        let name = rest.split('`').next().filter(|name| is_identifier(name));
        return name.map_or_else(|| kind.to_owned(), |name| format!("{kind} `{name}`"));
    }
    for kind in ["unknown field", "unknown variant"] {
        if text.starts_with(kind) {
            return kind.to_owned();
        }
    }
    for kind in ["invalid type", "invalid value", "invalid length"] {
        // The value may contain the same words, but ours come last.
        if let Some((_, expected)) = text.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected ")) {
            let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
            return format!("{kind}, expected {expected}");
        }
    }
    "invalid value".to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Email;

    impl TryFrom<String> for Email {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            if text.contains('@') && !text.contains(',') { Ok(Self) } else { Err(format!("{text} is no address")) }
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "u32")]
    struct Units;

    impl TryFrom<u32> for Units {
        type Error = String;

        fn try_from(units: u32) -> Result<Self, String> {
            if units > 0 { Ok(Self) } else { Err(format!("{units} are none")) }
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Facts {
        email: Email,
        quantities: Vec<Units>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read by serde")]
    enum Event {
        Changed(Facts),
    }

    /// The errors from the bytes and, if they are JSON, from the parsed value.
    fn errors_of(json: &str) -> Vec<String> {
        let of_bytes = from_slice::<Event>(json.as_bytes()).unwrap_err();
        let of_value = serde_json::from_str::<Value>(json).ok().map(|value| from_value::<Event>(&value).unwrap_err());
        [of_bytes].into_iter().chain(of_value).map(|error| error.to_string()).collect()
    }

    #[test]
    fn an_error_names_the_field_and_the_kind_of_error() {
        for (json, told) in [
            (r#"{"Changed":{"quantities":[]}}"#, "Changed: missing field `email`"),
            (r#"{"Changed":{"email":7,"quantities":[]}}"#, "Changed.email: invalid type, expected a string"),
            (r#"{"Changed":{"email":"a@b.example","quantities":[1,0]}}"#, "Changed.quantities.1: invalid value"),
            (
                r#"{"Changed":{"email":"a@b.example","quantities":[1,-1]}}"#,
                "Changed.quantities.1: invalid value, expected u32",
            ),
            (r#"{"Changed":{"#, "Changed: this is not JSON from line 1, column 12 on"),
        ] {
            for error in errors_of(json) {
                assert_eq!(error, told, "{json}");
            }
        }
        let twice = br#"{"Changed":{"email":"a@b.example","email":"a@b.example","quantities":[]}}"#;
        assert!(from_slice::<Event>(twice).unwrap_err().to_string().ends_with("duplicate field `email`"));
        assert!(from_slice::<u8>(b"1 eve@example.com").unwrap_err().to_string().starts_with("something follows"));
    }

    #[test]
    fn no_value_is_in_an_error_wherever_it_stands() {
        for json in [
            r#""Eve <eve@example.com>""#,
            r#"["eve@example.com"]"#,
            r#"{"eve@example.com":{}}"#,
            r#"{"Changed":"eve@example.com"}"#,
            r#"{"Changed":{"email":"eve@example.com, expected eve@example.com","quantities":[]}}"#,
            r#"{"Changed":{"email":"eve","quantities":"eve@example.com\", expected eve@example.com at line 1"}}"#,
            r#"{"Changed":{"eve@example.com":1}}"#,
            r#"{"Changed":{"missing field `eve@example.com`":1}}"#,
            r#"{"Changed":{"email":"eve@example.com","quantities":["eve@example.com"]}}"#,
            r#"{"Changed":{"email":"eve@example.com","quantities":[1]}} eve@example.com"#,
            r#"{"Changed":{"email":"eve@example.com" eve"#,
            "eve@example.com",
        ] {
            for error in errors_of(json) {
                assert!(!error.contains("eve"), "{json}: {error}");
            }
        }
    }
}
