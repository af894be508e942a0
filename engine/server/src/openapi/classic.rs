//! OpenAPI 3.0, for generators that reject 3.1: the framework's own form without what only 3.1 has.

use serde_json::{Value, json};

use super::correct::for_operations;

/// The published version.
const VERSION: &str = "3.0.3";

/// Removes, or describes in words, what 3.0 can't express.
pub fn all(document: &mut Value) {
    document["openapi"] = VERSION.into();
    if let Some(info) = document["info"].as_object_mut() {
        info.remove("summary");
    }
    for_operations(document, &mut |_, _, operation| scopes_in_words(operation));
}

/// Only 3.1 can list the scopes of keys and tokens; in 3.0 the description names them.
fn scopes_in_words(operation: &mut Value) {
    let Some(schemes) = operation.get_mut("security").and_then(Value::as_array_mut) else { return };
    let mut needed = None;
    for scopes in schemes.iter_mut().filter_map(Value::as_object_mut).flat_map(|scheme| scheme.values_mut()) {
        needed = scopes[0].as_str().map(str::to_owned).or(needed);
        *scopes = json!([]);
    }
    if let Some(scope) = needed {
        let words = operation["description"].as_str().unwrap_or_default();
        operation["description"] = format!("{words}\n\nNeeds the scope `{scope}`.").into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_named_in_words() {
        let operation = json!({
            "description": "Place an order.",
            "security": [{ "key": ["orders:write"] }, { "token": ["orders:write"] }],
        });
        let mut document = json!({ "info": { "summary": "A shop." }, "paths": { "/orders": { "post": operation } } });
        all(&mut document);
        let operation = &document["paths"]["/orders"]["post"];
        assert_eq!(operation["security"], json!([{ "key": [] }, { "token": [] }]));
        assert_eq!(operation["description"], "Place an order.\n\nNeeds the scope `orders:write`.");
        assert_eq!((&document["openapi"], &document["info"]), (&json!("3.0.3"), &json!({})));
    }
}
