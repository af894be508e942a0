//! Corrections of the document that the framework generates.

use orderlog_http::{
    freshness::MIN_POSITION, names::ServiceName, operations::Operation, paging::LIMIT, params::CommandHeaders,
};
use serde_json::{Value, json};

use crate::registry::{AnyService, Registry};

/// The name of the security scheme for keys.
const KEY: &str = "key";
/// The name of the security scheme for tokens.
const TOKEN: &str = "token";

/// Headers that every command accepts in addition to its idempotency key.
const COMMAND_HEADERS: [(&str, &str); 4] = [
    (
        "If-Match",
        "The `ETag` that the caller has seen, or `*`. The response is 412 if the command's target has a different \
            version by now.",
    ),
    (MIN_POSITION, "Positions returned by earlier responses. The command is decided with them in view."),
    ("Prefer", "`wait=N`: the number of seconds to wait for `Orderlog-Min-Position`, 5 by default, at most 30."),
    ("traceparent", "W3C Trace Context. It is stored with the record and passed on with every resulting event."),
];
/// The patterns of headers that are validated.
const PATTERNS: [(&str, &str); 2] =
    [("Idempotency-Key", r#"^("[!#-~]+"|[!#-~]+)$"#), ("If-Match", r#"^(\*|"[0-9]{1,18}"(, ?"[0-9]{1,18}"){0,4})$"#)];

pub fn all(document: &mut Value, registry: &Registry) {
    walk(document, &mut |key, value| match key {
        "minimum" | "maximum" | "multipleOf" => whole(value),
        "example" => walk(value, &mut |_, value| zulu(value)),
        _ => {}
    });
    for_operations(document, &mut |path, method, operation| {
        let declared = declared(operation, registry);
        if let Some(Operation { scope, .. }) = declared {
            operation["security"] = json!([{ KEY: [scope] }, { TOKEN: [scope] }]);
        }
        if method == "get" {
            header(
                operation,
                "Prefer",
                "`wait=N`: the number of seconds to wait for `Orderlog-Min-Position`, 5 by default, at most 30.",
            );
            if path.ends_with('}') {
                header(
                    operation,
                    "If-None-Match",
                    "The `ETag` of the caller's copy. The response is 304 if it is the newest.",
                );
                unchanged(operation);
            }
        } else {
            for (name, description) in COMMAND_HEADERS {
                header(operation, name, description);
            }
            if declared.is_some_and(|declared| !declared.has_target) {
                without_precondition(operation);
            }
        }
        patterns(operation);
        positions(operation, registry);
        pages(operation);
        if declared.is_some_and(|declared| declared.key_may_be_required) {
            append(operation, CommandHeaders::KEY, "Some deployments require one for this command.");
        }
        if declared.is_some_and(|declared| declared.waits) {
            may_wait(operation);
        }
    });
    document["components"]["securitySchemes"] = json!({
        KEY: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "olk_<id>_<secret>",
            "description": format!("A key created by `{} key create`. Each operation names the scope it needs.", registry.about.name),
        },
        TOKEN: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the issuer that the deployment trusts (OpenID Connect), with the scopes in \
                `scope` or `scp`.",
        },
    });
}

/// Adds everything in `other` that is missing.
pub fn merge(all: &mut Value, other: Value) {
    match (all, other) {
        (Value::Object(all), Value::Object(other)) => {
            for (key, value) in other {
                match all.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => drop(all.insert(key, value)),
                }
            }
        }
        (Value::Array(all), Value::Array(other)) => {
            for value in other {
                if !all.contains(&value) {
                    all.push(value);
                }
            }
        }
        // For anything else, such as the title, the first one wins.
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Array(_),
            _,
        ) => {}
    }
}

/// Puts operations without a group of their own into one for the service.
pub fn grouped(document: &mut Value, service: &dyn AnyService) {
    let name = service.name().as_str();
    let mut all_have_groups = true;
    for_operations(document, &mut |_, _, operation| {
        if operation["tags"].as_array().is_none_or(Vec::is_empty) {
            operation["tags"] = json!([name]);
            all_have_groups = false;
        }
    });
    if !all_have_groups && let Some(tags) = document["tags"].as_array_mut() {
        tags.push(json!({ "name": name, "description": format!("{}.", service.about()) }));
    }
}

/// Sorts the groups of operations in the order of the services.
pub fn in_the_order_of(services: &[ServiceName], document: &mut Value) {
    let place = |tag: &Value| services.iter().position(|service| tag["name"] == service.as_str());
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.sort_by_key(place);
    }
}

/// Visits every member of every object, inner ones last.
fn walk(value: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                visit(key, member);
                walk(member, visit);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Turns `100.0` into `100`.
fn whole(value: &mut Value) {
    // Bounds are small enough to be exact as text.
    if let Some(whole) = value.as_f64().and_then(|number| format!("{number}").parse::<i64>().ok()) {
        *value = whole.into();
    }
}

/// Writes a UTC time's offset like responses do.
fn zulu(value: &mut Value) {
    if let Some(time) = value.as_str().and_then(|text| text.strip_suffix("+00:00")) {
        *value = format!("{time}Z").into();
    }
}

/// Visits every operation, with its path and method.
pub fn for_operations(document: &mut Value, visit: &mut dyn FnMut(&str, &str, &mut Value)) {
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            visit(path, method, operation);
        }
    }
}

/// The declaration at an operation's handler.
pub fn declared(operation: &Value, registry: &Registry) -> Option<&'static Operation> {
    registry.operations().find(|declared| operation["operationId"] == declared.id)
}

/// Adds the patterns of an operation's headers.
fn patterns(operation: &mut Value) {
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        if let Some((_, pattern)) = PATTERNS.iter().find(|(name, _)| parameter["name"] == *name) {
            parameter["schema"]["pattern"] = (*pattern).into();
        }
    }
}

/// Lists the journals whose positions an operation can wait for.
fn positions(operation: &mut Value, registry: &Registry) {
    let Some(own) = operation["tags"][0].as_str().and_then(|tag| registry.find(tag)) else { return };
    let mut journals = own.awaited();
    let asks = declared(operation, registry).and_then(|declared| declared.asks);
    if let Some(other) = asks.and_then(|name| registry.find(name)) {
        // Positions of others are passed on.
        journals.extend(other.awaited().into_iter().filter(|journal| *journal != own.name().as_str()));
    }
    let elsewhere = if journals.len() > 1 {
        " The response includes everything this service derives from another service's record, or is 504. What a \
            third service derives from it is a record of that service, with a position of its own."
    } else {
        ""
    };
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        if parameter["name"] == MIN_POSITION {
            let words = parameter["description"].as_str().unwrap_or_default();
            parameter["description"] = format!("{words} Accepted journals: {}.{elsewhere}", journals.join(", ")).into();
            parameter["schema"]["pattern"] = format!("^({})@[0-9]{{1,18}}$", journals.join("|")).into();
        }
    }
}

/// Documents page sizes, and what lists can't do that queries for single objects can.
fn pages(operation: &mut Value) {
    let Some(parameters) = operation["parameters"].as_array_mut() else { return };
    if !parameters.iter().any(|parameter| parameter["name"] == "cursor") {
        return;
    }
    for parameter in parameters {
        if parameter["name"] == "limit" {
            parameter["schema"]["default"] = LIMIT.into();
        }
        if parameter["name"] == MIN_POSITION {
            let words = parameter["description"].as_str().unwrap_or_default();
            let parked = "An object with a record that this version can't read is listed as it was before that record.";
            parameter["description"] = format!("{words} {parked}").into();
        }
    }
}

/// Documents that a caller may wait for the command's outcome.
fn may_wait(operation: &mut Value) {
    append(
        operation,
        "Prefer",
        "With `wait=N` the response is sent once the command's outcome is known, or after N seconds. \
            `respond-async`: do not wait for it.",
    );
    for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if status.starts_with('2') {
            response["headers"]["Preference-Applied"] = json!({
                "description": "The preference of `Prefer` that was applied; absent if none was.",
                "required": false,
                "schema": { "type": "string" },
            });
        }
    }
}

/// Adds a sentence to the description of a header.
fn append(operation: &mut Value, header: &str, sentence: &str) {
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        if parameter["name"] == header {
            let words = parameter["description"].as_str().unwrap_or_default();
            parameter["description"] = format!("{words} {sentence}").into();
        }
    }
}

/// Adds a header parameter to an operation.
fn header(operation: &mut Value, name: &str, description: &str) {
    let parameter = json!({
        "name": name,
        "in": "header",
        "description": description,
        "required": false,
        "schema": { "type": "string" },
    });
    if let Some(operation) = operation.as_object_mut()
        && let Some(parameters) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut()
    {
        parameters.push(parameter);
    }
}

/// Adds the 304 response.
fn unchanged(operation: &mut Value) {
    if let Some(responses) = operation["responses"].as_object_mut() {
        let response =
            json!({ "description": "The caller already has the newest version, which `If-None-Match` names." });
        responses.insert("304".to_owned(), response);
    }
}

/// Removes `If-Match` from commands without a target.
fn without_precondition(operation: &mut Value) {
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["name"] != "If-Match");
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.remove("412");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::About;

    #[test]
    fn bounds_and_times_are_written_as_answers_have_them() {
        let mut document = json!({ "maximum": 1.0e12, "example": { "at": "2026-01-01T00:00:00+00:00", "n": 1 } });
        all(&mut document, &Registry { about: About::NONE, codes: &[], services: &[], demo: None });
        let expected = json!({ "maximum": 1_000_000_000_000_i64, "example": { "at": "2026-01-01T00:00:00Z", "n": 1 } });
        assert_eq!(document["maximum"], expected["maximum"]);
        assert_eq!(document["example"], expected["example"]);
    }

    #[test]
    fn merging_keeps_what_is_there_and_adds_what_is_not() {
        let mut all = json!({ "a": 1, "b": { "c": 1 }, "d": [1] });
        merge(&mut all, json!({ "a": 2, "b": { "e": 2 }, "d": [1, 2] }));
        assert_eq!(all, json!({ "a": 1, "b": { "c": 1, "e": 2 }, "d": [1, 2] }));
    }
}
