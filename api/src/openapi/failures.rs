//! What can go wrong with each operation, from the catalogue of codes.

use serde_json::{Map, Value, json};

use super::correct::for_operations;
use crate::problem::{CONTENT_TYPE, Code, Entry};

/// Statuses that say when to ask again.
const WITH_RETRY_AFTER: [&str; 2] = ["503", "504"];

/// Leave out the failures that can't happen to an operation, name the codes of the others, and describe each status once.
pub fn all(document: &mut Value) {
    let mut shared = Map::new();
    for_operations(document, &mut |_, method, operation| {
        let (is_query, has_body) = (method == "get", operation.get("requestBody").is_some());
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        let Some(responses) = operation["responses"].as_object_mut() else { return };
        responses.retain(|status, response| {
            if response["content"].get(CONTENT_TYPE).is_none() {
                return true;
            }
            let codes: Vec<Entry> = with_status(status).filter(|it| it.is_of(&id, is_query, has_body)).collect();
            if !codes.is_empty() {
                let name = format!("Problem{status}");
                let description = described(response, &codes);
                let reference = json!({ "$ref": format!("#/components/responses/{name}"), "description": description });
                let response = std::mem::replace(response, reference);
                let response = shared.entry(name).or_insert_with(|| with_headers(status, response));
                add_examples(response, &codes);
            }
            !codes.is_empty()
        });
    });
    if !shared.is_empty() {
        document["components"]["responses"] = shared.into();
    }
}

fn with_status(status: &str) -> impl Iterator<Item = Entry> {
    let entries = Code::ALL.iter().map(|code| code.entry());
    entries.filter(move |entry| entry.statuses.iter().any(|it| it.to_string() == status))
}

/// The common words, and the codes of this operation.
fn described(response: &Value, codes: &[Entry]) -> String {
    let names: Vec<_> = codes.iter().map(|entry| format!("`{}`", entry.name)).collect();
    let words = response["description"].as_str().unwrap_or_default();
    format!("{words} Code: {}.", names.join(", "))
}

fn with_headers(status: &str, mut response: Value) -> Value {
    if WITH_RETRY_AFTER.contains(&status) {
        response["headers"]["Retry-After"] = json!({
            "description": "In how many seconds to ask again.",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        });
    }
    response
}

fn add_examples(response: &mut Value, codes: &[Entry]) {
    let examples = &mut response["content"][CONTENT_TYPE]["examples"];
    for entry in codes {
        examples[entry.name] = json!({ "summary": entry.code.title(), "value": *entry.example().0 });
    }
}
