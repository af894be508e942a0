//! The possible failures of each operation, from the catalogue of codes.

use orderlog_http::problem::{CONTENT_TYPE, Code, Problem, Scope};
use poem_openapi::{
    registry::{self, MetaSchema},
    types::Type,
};
use serde_json::{Map, Value, json};

use super::correct::{declared, for_operations};
use crate::registry::Registry;

/// Statuses with the rate-limit headers.
const WITH_RATE: [&str; 1] = ["429"];
/// The rate-limit headers.
const RATE: [(&str, &str); 2] = [
    ("RateLimit-Policy", "The rule: a burst of `q` requests, and as many again in `w` seconds."),
    (
        "RateLimit",
        "The remaining quota: `r` requests now, and more in `t` seconds. Sent with every response to a caller with a limit.",
    ),
];
const WITH_CHALLENGE: [&str; 2] = ["401", "403"];

/// The status for a body whose encoding or type is not supported.
const UNSUPPORTED: &str = "415";

/// Adds the members that only some codes have to the problem schema.
pub fn members(document: &mut Value, registry: &Registry) {
    let mut framework = registry::Registry::new();
    let schemas = &mut document["components"]["schemas"];
    for member in registry.codes().flat_map(|code| code.members) {
        let schema = (member.schema)(&mut framework);
        let described = schema.merge(MetaSchema { description: Some(member.description), ..MetaSchema::ANY });
        schemas[&*Problem::name()]["properties"][member.name] = json!(described);
    }
    for (name, schema) in &framework.schemas {
        schemas[name] = json!(schema);
    }
}

/// The scopes of codes that follow from what an operation is, broadest first, and their suffixes in names of responses.
const KINDS: [(Scope, &str); 4] =
    [(Scope::Any, ""), (Scope::Commands, "Command"), (Scope::Queries, "Query"), (Scope::Bodies, "Body")];

/// Removes the failures that can't happen to an operation, and names the codes of the others. A failure without codes
/// that handlers declare is described once, for all operations of its kind.
pub fn all(document: &mut Value, registry: &Registry) {
    let (mut shared, mut examples) = (Map::new(), Map::new());
    for_operations(document, &mut |_, _, operation| {
        let has_body = operation.get("requestBody").is_some();
        let Some(declared) = declared(operation, registry) else { return };
        let Some(responses) = operation["responses"].as_object_mut() else { return };
        responses.retain(|status, response| {
            if response["content"].get(CONTENT_TYPE).is_none() {
                return true;
            }
            let codes: Vec<Code> =
                with_status(registry, status).filter(|it| declared.may_answer(*it, has_body)).collect();
            describe(status, response, &codes);
            examples.extend(codes.iter().map(|code| (code.name.to_owned(), example(*code))));
            if let Some(name) = shared_name(registry, status, &codes) {
                let reference = json!({ "$ref": format!("#/components/responses/{name}") });
                shared.insert(name, std::mem::replace(response, reference));
            }
            !codes.is_empty()
        });
    });
    for (name, part) in [("responses", shared), ("examples", examples)] {
        if !part.is_empty() {
            document["components"][name] = part.into();
        }
    }
}

/// The name under which a failure is described for several operations; `None` if it has a code that handlers declare.
fn shared_name(registry: &Registry, status: &str, codes: &[Code]) -> Option<String> {
    if codes.is_empty() || codes.iter().any(|code| code.scope == Scope::Declared) {
        return None;
    }
    // All operations that fail with this status have the codes of its broadest scope.
    let in_status = |scope| with_status(registry, status).any(|code| code.scope == scope);
    let narrower = KINDS.into_iter().skip_while(|(scope, _)| !in_status(*scope)).skip(1);
    let suffixes = narrower.filter(|(scope, _)| codes.iter().any(|code| code.scope == *scope));
    Some(format!("Problem{status}") + &suffixes.map(|(_, suffix)| suffix).collect::<String>())
}

fn with_status(registry: &Registry, status: &str) -> impl Iterator<Item = Code> {
    registry.codes().filter(move |code| {
        !matches!(code.scope, Scope::Values | Scope::Elsewhere)
            && code.statuses.iter().any(|it| it.to_string() == status)
    })
}

fn describe(status: &str, response: &mut Value, codes: &[Code]) {
    let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.name)).collect();
    let words = response["description"].as_str().unwrap_or_default();
    response["description"] = format!("{words} Code: {}.", names.join(", ")).into();
    let examples = codes
        .iter()
        .map(|code| (code.name.to_owned(), json!({ "$ref": format!("#/components/examples/{}", code.name) })));
    response["content"][CONTENT_TYPE]["examples"] = examples.collect::<Map<_, _>>().into();
    if codes.iter().any(|code| code.retryable) {
        // Optional everywhere, because 409 can't have it: generators make one type of all problems with this header.
        response["headers"]["Retry-After"] = json!({
            "description": "The number of seconds to wait before retrying; present if `retryable` is true.",
            "required": false,
            "schema": { "type": "integer", "minimum": 0 },
        });
    }
    if WITH_RATE.contains(&status) {
        for (name, description) in RATE {
            response["headers"][name] =
                json!({ "description": description, "required": true, "schema": { "type": "string" } });
        }
    }
    if status == UNSUPPORTED {
        response["headers"]["Accept-Encoding"] = json!({
            "description": "`identity`, if the body was compressed (RFC 9110).",
            "required": false,
            "schema": { "type": "string" },
        });
    }
    if WITH_CHALLENGE.contains(&status) {
        response["headers"]["WWW-Authenticate"] = json!({
            "description": "The credentials that the caller must send (RFC 6750).",
            "required": false,
            "schema": { "type": "string" },
        });
    }
}

fn example(code: Code) -> Value {
    json!({ "summary": code.title(), "description": code.meaning(), "value": code.example() })
}
