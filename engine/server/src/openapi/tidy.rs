//! Removes what the framework writes needlessly, and moves what tools don't find: the same in both versions.

use serde_json::{Map, Value};

use super::correct::for_operations;

/// Removes default values and groups without operations, and moves parameter examples out of their schemas.
pub fn all(document: &mut Value) {
    let mut tags = Vec::new();
    for_operations(document, &mut |_, _, operation| {
        tags.extend(operation["tags"].as_array().cloned().unwrap_or_default());
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            beside(parameter, "example");
            beside(parameter, "description");
            implied(parameter);
        }
        for response in values(operation, "responses") {
            values(response, "headers").for_each(implied);
        }
        implied(operation);
    });
    if let Some(all) = document.get_mut("tags").and_then(Value::as_array_mut) {
        all.retain(|tag| tags.contains(&tag["name"]));
    }
}

/// The values of an object's member, if it is there.
fn values<'a>(object: &'a mut Value, member: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(member).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
}

/// Moves a member of a parameter's schema beside it, where Swagger UI looks for it.
fn beside(parameter: &mut Value, member: &str) {
    let schema = parameter.get_mut("schema").and_then(Value::as_object_mut);
    if let Some(value) = schema.and_then(|schema| schema.remove(member)) {
        parameter[member] = value;
    }
}

/// Removes members that state a default.
fn implied(part: &mut Value) {
    if let Some(part) = part.as_object_mut() {
        part.retain(|key, value| !(key == "deprecated" && *value == false || key == "explode" && *value == true));
    }
}
