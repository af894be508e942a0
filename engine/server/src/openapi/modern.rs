//! From OpenAPI 3.0, which the framework writes, to 3.1, whose schemas are JSON Schema.

use serde_json::{Map, Value, json};

use super::schemas;

/// The version that is published.
const VERSION: &str = "3.1.0";

/// Everything that is said otherwise in 3.1.
pub fn all(document: &mut Value) {
    document["openapi"] = VERSION.into();
    if let Some(license) = document.pointer_mut("/info/license") {
        license["identifier"] = license["name"].clone();
    }
    schemas::each(document, &mut schema);
}

fn schema(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(example) = members.remove("example") {
        members.insert("examples".to_owned(), json!([example]));
    }
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match members.remove(exclusive) {
            Some(Value::Bool(true)) => {
                if let Some(bound) = members.remove(bound) {
                    members.insert(exclusive.to_owned(), bound);
                }
            }
            Some(Value::Bool(false)) | None => {}
            Some(number) => drop(members.insert(exclusive.to_owned(), number)),
        }
    }
    flattened(members);
    if members.remove("nullable") == Some(Value::Bool(true)) {
        nullable(members);
    }
}

/// `allOf` of one reference: in 3.1 other members may stand beside a reference.
fn flattened(members: &mut Map<String, Value>) {
    let reference = match members.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => only.get("$ref").cloned(),
        Some(_) | None => None,
    };
    if let Some(reference) = reference {
        members.remove("allOf");
        members.insert("$ref".to_owned(), reference);
    }
}

fn nullable(members: &mut Map<String, Value>) {
    if let Some(values) = members.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
    }
    if let Some(kind) = members.get_mut("type") {
        *kind = json!([kind, "null"]);
        return;
    }
    let mut other = Map::new();
    for key in ["$ref", "allOf", "anyOf", "oneOf"] {
        other.extend(members.remove(key).map(|value| (key.to_owned(), value)));
    }
    members.insert("anyOf".to_owned(), json!([other, { "type": "null" }]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern(mut old: Value) -> Value {
        schemas::inner(&mut old, &mut schema);
        old
    }

    #[test]
    fn what_may_be_null_says_so_in_its_type() {
        assert_eq!(modern(json!({ "type": "string", "nullable": true })), json!({ "type": ["string", "null"] }));
        assert_eq!(
            modern(json!({ "type": "string", "enum": ["a"], "nullable": true })),
            json!({ "type": ["string", "null"], "enum": ["a", null] })
        );
        assert_eq!(
            modern(json!({ "$ref": "#/x", "nullable": true, "description": "y" })),
            json!({ "anyOf": [{ "$ref": "#/x" }, { "type": "null" }], "description": "y" })
        );
        assert_eq!(modern(json!({ "type": "string", "nullable": false })), json!({ "type": "string" }));
    }

    #[test]
    fn exclusive_bounds_are_numbers() {
        assert_eq!(
            modern(json!({ "properties": { "a": { "minimum": 0, "exclusiveMinimum": true, "maximum": 9 } } })),
            json!({ "properties": { "a": { "exclusiveMinimum": 0, "maximum": 9 } } })
        );
    }

    #[test]
    fn examples_are_a_list_and_nothing_in_them_is_changed() {
        let example = json!({ "example": 1, "nullable": true });
        assert_eq!(modern(json!({ "example": example })), json!({ "examples": [example] }));
    }

    #[test]
    fn a_description_stands_beside_a_reference() {
        assert_eq!(
            modern(json!({ "allOf": [{ "$ref": "#/x" }], "description": "y" })),
            json!({ "$ref": "#/x", "description": "y" })
        );
        let two = json!({ "allOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }] });
        assert_eq!(modern(two.clone()), two);
    }
}
