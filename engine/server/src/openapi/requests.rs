//! Request and response schemas. Requests with unknown fields are rejected, and their schemas say so. Response schemas
//! stay open because responses may gain fields: otherwise generated clients would reject those of a later version.

use std::collections::BTreeSet;

use serde_json::Value;

use super::correct::for_operations;

/// The suffix of a request schema's name if responses have the same schema.
const IN_REQUESTS: &str = "Input";

/// Separates request schemas from response schemas, and closes them.
pub fn all(document: &mut Value) {
    separate(document);
    for name in schemas_of_requests(document) {
        let schema = &mut document["components"]["schemas"][&name];
        if schema["type"] == "object" {
            schema["additionalProperties"] = false.into();
        }
    }
}

/// The names of all schemas in request bodies.
pub fn schemas_of_requests(document: &Value) -> BTreeSet<String> {
    reached(document, operations(document).map(|operation| &operation["requestBody"]))
}

fn schemas_of_answers(document: &Value) -> BTreeSet<String> {
    let shared = &document["components"]["responses"];
    reached(document, operations(document).map(|operation| &operation["responses"]).chain([shared]))
}

/// Copies each object schema that is in requests and responses, and makes requests refer to the copy.
fn separate(document: &mut Value) {
    let requests = schemas_of_requests(document);
    let both: BTreeSet<String> = requests
        .intersection(&schemas_of_answers(document))
        .filter(|name| document["components"]["schemas"][name.as_str()]["type"] == "object")
        .cloned()
        .collect();
    for name in &both {
        let mut copy = document["components"]["schemas"][name].clone();
        let new = format!("{name}{IN_REQUESTS}");
        copy["title"] = new.clone().into();
        document["components"]["schemas"][new] = copy;
    }
    for_operations(document, &mut |_, _, operation| {
        if let Some(body) = operation.get_mut("requestBody") {
            redirect(body, &both);
        }
    });
    for name in requests {
        let name = if both.contains(&name) { format!("{name}{IN_REQUESTS}") } else { name };
        redirect(&mut document["components"]["schemas"][name], &both);
    }
}

/// Makes every reference to one of these schemas refer to its copy.
fn redirect(value: &mut Value, copied: &BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && copied.contains(name_of(reference))
            {
                reference.push_str(IN_REQUESTS);
            }
            members.values_mut().for_each(|member| redirect(member, copied));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, copied)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.filter_map(|(_, methods)| methods.as_object()).flatten().map(|(_, operation)| operation)
}

/// The names of the schemas that these parts of a document refer to, directly or through other schemas.
fn reached<'a>(document: &'a Value, parts: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    let mut open = Vec::new();
    parts.for_each(|part| references(part, &mut open));
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(schema) = document["components"]["schemas"].get(name)
            && found.insert(name.to_owned())
        {
            references(schema, &mut open);
        }
    }
    found
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(name_of));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn name_of(reference: &str) -> &str {
    reference.rsplit_once('/').map_or(reference, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_in_requests_and_in_answers_is_closed_in_requests_only() {
        let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
        let object = |of: &str| json!({ "type": "object", "properties": { "of": reference(of) } });
        let mut document = json!({
            "paths": { "/orders": { "post": {
                "requestBody": { "schema": reference("PlaceOrder") },
                "responses": { "201": { "schema": reference("Order") } },
            } } },
            "components": { "schemas": {
                "PlaceOrder": object("Line"), "Order": object("Line"), "Line": object("Part"), "Part": object("Kind"),
                "Kind": { "type": "string", "enum": ["a"] },
            } },
        });
        all(&mut document);
        let schemas = &document["components"]["schemas"];
        for (name, of, is_closed) in [
            ("PlaceOrder", "LineInput", true),
            ("LineInput", "PartInput", true),
            ("PartInput", "Kind", true),
            ("Order", "Line", false),
            ("Line", "Part", false),
            ("Part", "Kind", false),
        ] {
            assert_eq!(schemas[name]["properties"]["of"], reference(of), "{name}");
            assert_eq!(schemas[name]["additionalProperties"] == false, is_closed, "{name}");
        }
        assert_eq!(schemas.get("KindInput"), None);
    }
}
