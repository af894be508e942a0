//! What texts look like, as exactly as the domain checks them: what a schema allows is taken.

use orderlog_domain::values::Currency;
use serde_json::{Map, Value};

use super::correct::request_schemas;

/// What the framework is told of identifiers that stand in paths.
pub const TOKEN: &str = "^[A-Za-z0-9._-]{1,64}$";
/// The same, with at least one letter or digit.
const TOKEN_EXACTLY: &str = "^[._-]*[A-Za-z0-9][A-Za-z0-9._-]*$";
/// What the framework is told of currencies.
const CURRENCY: &str = "^[A-Z]{3}$";
/// Characters that no text on one line has.
const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f\u2028\u2029";
/// The same for texts on many lines.
const CONTROL_BUT_LINES: &str = r"\u0000-\u0009\u000b-\u001f\u007f-\u009f";
/// White space: a text has something else, too.
const SPACE: &str = r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
/// Texts of more characters than this may have many lines.
const N_LINE_MAX: u64 = 200;

/// Say what every text of a request has to look like.
pub fn all(document: &mut Value) {
    identifiers(document);
    for schema in request_schemas(document) {
        let Some(properties) = document["components"]["schemas"][&schema]["properties"].as_object_mut() else {
            continue;
        };
        for (name, property) in properties {
            let Some(property) = property.as_object_mut() else { continue };
            if property.get("pattern").is_some_and(|pattern| pattern == CURRENCY) {
                property.remove("pattern");
                property.insert("enum".to_owned(), Currency::codes().collect());
            } else if let Some(pattern) = pattern_of(name, property) {
                property.insert("pattern".to_owned(), pattern.into());
            }
        }
    }
}

/// What a property has to look like; none if that is said already, or it is no text.
fn pattern_of(name: &str, property: &Map<String, Value>) -> Option<String> {
    if property.contains_key("pattern") || property.get("type")? != "string" {
        return None;
    }
    let n_max = property.get("maxLength")?.as_u64()?;
    if name == "email" {
        let part = format!("[^{CONTROL}{SPACE}@]");
        let end = format!("[^{CONTROL}{SPACE}@.]");
        return Some(format!("^{part}+@{end}({part}*{end})?\\.({part}*{end})$"));
    }
    let control = if n_max > N_LINE_MAX { CONTROL_BUT_LINES } else { CONTROL };
    Some(format!("^[^{control}]*[^{control}{SPACE}][^{control}]*$"))
}

/// Identifiers, wherever they stand.
fn identifiers(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("pattern").is_some_and(|pattern| pattern == TOKEN) {
                members.insert("pattern".to_owned(), TOKEN_EXACTLY.into());
                members.insert("minLength".to_owned(), 1.into());
                members.insert("maxLength".to_owned(), 64.into());
            }
            members.values_mut().for_each(identifiers);
        }
        Value::Array(items) => items.iter_mut().for_each(identifiers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
