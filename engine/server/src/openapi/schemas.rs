//! Walks the schemas of a document.

use serde_json::{Map, Value};

/// The members of a schema whose values are schemas by name.
const NAMED: [&str; 2] = ["properties", "patternProperties"];

/// Visits every schema of a document, inner ones first.
pub fn each(value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match key.as_str() {
                    // These are values, even if they look like schemas.
                    "example" | "examples" | "default" | "enum" | "const" => {}
                    "schema" => inner(member, visit),
                    "schemas" => {
                        member.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|it| inner(it, visit));
                    }
                    _ => each(member, visit),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Visits a schema after those that it contains.
pub fn inner(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    for (key, member) in schema.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            named if NAMED.contains(&named) => {
                member.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|it| inner(it, visit));
            }
            "items" | "additionalProperties" | "not" => inner(member, visit),
            "allOf" | "anyOf" | "oneOf" => {
                member.as_array_mut().into_iter().flatten().for_each(|it| inner(it, visit));
            }
            _ => {}
        }
    }
    visit(schema);
}
