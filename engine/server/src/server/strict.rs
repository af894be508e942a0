//! Query parameters as in the contract. Unknown ones are rejected, because a misspelled filter must not look like an
//! empty one, and so are repeated ones. If a parameter allows only certain words, the error lists them.

use std::collections::{BTreeMap, BTreeSet};

use orderlog_http::{
    params::parameters,
    problem::{ApiError, codes},
};
use poem::{Endpoint, Error, Request, Result, http::Method};
use poem_openapi::error::ParseParamError;
use serde_json::Value;

/// The query parameters of an operation, each with the words that it allows, if it is an enum.
type Parameters = BTreeMap<String, Vec<String>>;

/// The query parameters of each path.
#[derive(Debug)]
struct Known {
    /// The path's segments; those in braces match anything.
    segments: Vec<String>,
    /// By method, in lower case.
    operations: BTreeMap<String, Parameters>,
}

/// An endpoint that accepts only documented query parameters.
pub struct Strict<E> {
    inner: E,
    known: Vec<Known>,
}

impl<E> Strict<E> {
    /// Accepts the parameters in the OpenAPI document `document`.
    pub fn new(inner: E, document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let known = paths.map(|(path, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            let operations = operations.map(|(method, operation)| (method.clone(), of_query(operation, document)));
            Known { segments: segments(path).map(str::to_owned).collect(), operations: operations.collect() }
        });
        Self { inner, known: known.collect() }
    }

    /// The parameters of the requested operation; `None` if it is not an operation.
    fn parameters(&self, request: &Request) -> Option<&Parameters> {
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let method = method.as_str().to_ascii_lowercase();
        let path: Vec<&str> = segments(request.uri().path()).collect();
        self.known.iter().find(|known| known.is(&path))?.operations.get(&method)
    }
}

fn check(known: &Parameters, query: Option<&str>) -> Result<(), ApiError> {
    let mut given = BTreeSet::new();
    for (name, _) in parameters(query) {
        let wrong = |code, detail: String| {
            let name: String = name.chars().take(64).collect();
            Err(ApiError::parameter(&name, code, detail))
        };
        if !known.contains_key(name) {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            return match known[..] {
                [] => wrong(codes::UNKNOWN_PARAMETER, "this operation has no query parameters".to_owned()),
                _ => {
                    let detail = format!("there is no such query parameter; there are: {}", known.join(", "));
                    wrong(codes::UNKNOWN_PARAMETER, detail)
                }
            };
        }
        if !given.insert(name) {
            return wrong(codes::INVALID_PARAMETER, "it must be given once".to_owned());
        }
    }
    Ok(())
}

/// Adds the allowed words to an error about a parameter.
fn with_words(known: &Parameters, error: Error) -> Error {
    let wrong = error.downcast_ref::<ParseParamError>().map(|wrong| wrong.name);
    match wrong.and_then(|name| Some((name, known.get(name)?))) {
        Some((name, words)) if !words.is_empty() => {
            let detail = format!("it must be one of: {}", words.join(", "));
            ApiError::parameter(name, codes::INVALID_PARAMETER, detail).into()
        }
        Some(_) | None => error,
    }
}

impl Known {
    fn is(&self, path: &[&str]) -> bool {
        self.segments.len() == path.len()
            && self.segments.iter().zip(path).all(|(known, given)| known.starts_with('{') || known == given)
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn of_query(operation: &Value, document: &Value) -> Parameters {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let of_query = parameters.filter(|parameter| parameter["in"] == "query");
    let named =
        |parameter: &Value| Some((parameter["name"].as_str()?.to_owned(), words(&parameter["schema"], document)));
    of_query.filter_map(named).collect()
}

/// The words that a value of this schema may be; empty if it is not an enum.
fn words(schema: &Value, document: &Value) -> Vec<String> {
    let shared = schema["$ref"].as_str().and_then(|place| document.pointer(place.trim_start_matches('#')));
    let words = shared.unwrap_or(schema)["enum"].as_array().into_iter().flatten();
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

impl<E: Endpoint> Endpoint for Strict<E> {
    type Output = E::Output;

    async fn call(&self, request: Request) -> Result<E::Output> {
        // Most requests have no query and need no lookup.
        let query = request.uri().query().filter(|query| !query.is_empty());
        let Some(known) = query.and_then(|_| self.parameters(&request)) else { return self.inner.call(request).await };
        check(known, query)?;
        self.inner.call(request).await.map_err(|error| with_words(known, error))
    }
}
