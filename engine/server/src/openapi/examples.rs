//! Examples for responses without their own: composed of the others, so that all of them are consistent.

use std::collections::BTreeMap;

use orderlog_http::service::contract::EXAMPLE_TIME;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::registry::Registry;

/// The greatest depth of an example.
const MAX_DEPTH: usize = 8;

/// Gives every object schema an example.
pub fn all(document: &mut Value, registry: &Registry) {
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else { return };
    for (name, example) in registry.services.iter().flat_map(|service| service.examples()) {
        if let Some(schema) = schemas.get_mut(name) {
            schema["example"] = example;
        }
    }
    let known = Known { values: values(schemas), schemas: schemas.clone(), id: registry.about.example_id };
    for schema in schemas.values_mut() {
        if schema["type"] == "object" && schema.get("example").is_none() {
            schema["example"] = known.example(schema, "", 0);
        }
    }
}

/// The values in existing examples, by name.
fn values(schemas: &Map<String, Value>) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for example in schemas.values().filter_map(|schema| schema.get("example")?.as_object()) {
        for (name, value) in example {
            values.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    values
}

struct Known {
    /// For ids without an example.
    id: Uuid,
    values: BTreeMap<String, Value>,
    schemas: Map<String, Value>,
}

impl Known {
    fn example(&self, schema: &Value, field: &str, depth: usize) -> Value {
        if let Some(example) = schema.get("example") {
            return example.clone();
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        let referred = schema.get("$ref").or_else(|| schema["allOf"].get(0)?.get("$ref"));
        if let Some(name) = referred.and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()) {
            return self.schemas.get(name).map_or(Value::Null, |schema| self.example(schema, field, depth));
        }
        if depth >= MAX_DEPTH {
            return Value::Null;
        }
        match schema["type"].as_str() {
            Some("object") => {
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let fields = required
                    .map(|field| (field.to_owned(), self.example(&schema["properties"][field], field, depth + 1)));
                fields.collect::<Map<_, _>>().into()
            }
            Some("array") => json!([self.example(&schema["items"], field, depth + 1)]),
            kind => self.values.get(field).cloned().unwrap_or_else(|| match kind {
                Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
                Some("boolean") => true.into(),
                _ => match schema["format"].as_str() {
                    Some("date-time") => EXAMPLE_TIME.into(),
                    Some("uuid") => json!(self.id),
                    Some(_) | None => "...".into(),
                },
            }),
        }
    }
}
