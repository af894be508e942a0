//! Building blocks for the schemas of events.

use serde_json::{Map, Value, json};

/// A field: its name and its schema.
pub type Field = (&'static str, Value);

/// An object with these fields. All but `optional` are required.
pub fn object(fields: Vec<Field>, optional: &[&str]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|name| !optional.contains(name)).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// An array of `items`.
pub fn many(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub fn id(name: &'static str) -> Field {
    (name, json!({ "type": "string", "format": "uuid" }))
}

/// The version of the event's subject.
pub fn version() -> Field {
    let description = "Incremented by every change to the event's subject.";
    ("version", json!({ "type": "integer", "minimum": 1, "description": description }))
}
