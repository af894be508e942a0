//! Patterns of texts: as exact as the domain's checks, within what every client generator understands.

use orderlog_core::path::IDENTIFIER;
use serde_json::{Map, Value};

use super::requests::schemas_of_requests;
use crate::registry::Vocabulary;

/// The exact pattern of [`IDENTIFIER`]: with at least one letter or digit.
const IDENTIFIER_EXACTLY: &str = "^[._-]*[A-Za-z0-9][A-Za-z0-9._-]*$";
/// ASCII characters that no single-line text contains. Patterns are ASCII and use only escapes common to JavaScript,
/// PCRE2 and RE2, so that generated clients can compile them; the description covers the rest of Unicode.
const CONTROL: &str = r"\x00-\x1f\x7f";
/// The same for texts with several lines.
const CONTROL_BUT_LINES: &str = r"\x00-\x09\x0b-\x1f\x7f";
/// The same with white space: a text must contain something else.
const BLANK: &str = r"\x00-\x20\x7f";
/// What the patterns of texts can't express.
const IN_WORDS: &str = "Characters from U+0080 to U+009F, and white space alone, are also rejected.";
/// The same for single-line texts.
const IN_WORDS_OF_A_LINE: &str =
    "Characters from U+0080 to U+009F, U+2028 and U+2029, and white space alone, are also rejected.";
/// What the pattern of an e-mail address can't express.
const IN_WORDS_OF_AN_EMAIL: &str = "White space and control characters beyond ASCII are also rejected.";
/// Longer texts may have several lines.
const N_LINE_MAX: u64 = 200;

/// Adds a pattern to every text in requests.
pub fn all(document: &mut Value, vocabularies: &[Vocabulary]) {
    identifiers(document);
    for schema in schemas_of_requests(document) {
        let Some(properties) = document["components"]["schemas"][&schema]["properties"].as_object_mut() else {
            continue;
        };
        for (name, property) in properties {
            let Some(property) = property.as_object_mut() else { continue };
            let pattern = property.get("pattern");
            if let Some(known) = vocabularies.iter().find(|known| pattern.is_some_and(|it| it == known.pattern)) {
                property.remove("pattern");
                property.insert("enum".to_owned(), (known.words)().into());
            } else if let Some((pattern, words)) = pattern_of(name, property) {
                property.insert("pattern".to_owned(), pattern.into());
                let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
                property.insert("description".to_owned(), format!("{description} {words}").into());
            }
        }
    }
}

/// The pattern of a property, and what it does not express; `None` if the property has a pattern, or is not a text.
fn pattern_of(name: &str, property: &Map<String, Value>) -> Option<(String, &'static str)> {
    if property.contains_key("pattern") || property.get("type")? != "string" {
        return None;
    }
    let n_max = property.get("maxLength")?.as_u64()?;
    if name == "email" {
        let part = format!("[^{BLANK}@]");
        let end = format!("[^{BLANK}@.]");
        return Some((format!("^{part}+@{end}({part}*{end})?\\.({part}*{end})$"), IN_WORDS_OF_AN_EMAIL));
    }
    let (control, words) =
        if n_max > N_LINE_MAX { (CONTROL_BUT_LINES, IN_WORDS) } else { (CONTROL, IN_WORDS_OF_A_LINE) };
    Some((format!("^[^{control}]*[^{BLANK}][^{control}]*$"), words))
}

/// Makes the pattern of identifiers exact, everywhere.
fn identifiers(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("pattern").is_some_and(|pattern| pattern == IDENTIFIER) {
                members.insert("pattern".to_owned(), IDENTIFIER_EXACTLY.into());
                members.insert("minLength".to_owned(), 1.into());
                members.insert("maxLength".to_owned(), 64.into());
            }
            members.values_mut().for_each(identifiers);
        }
        Value::Array(items) => items.iter_mut().for_each(identifiers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
