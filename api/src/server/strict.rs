//! Query parameters that no operation knows are refused: a misspelt filter must not look like an empty one.

use std::collections::{BTreeMap, BTreeSet};

use poem::{Endpoint, Request, Result};
use serde_json::Value;

use crate::{
    params::parameters,
    problem::{ApiError, Code},
};

/// The query parameters of each path.
#[derive(Debug)]
struct Known {
    /// The path's segments; those in braces match anything.
    segments: Vec<String>,
    /// By method, in lower case.
    names: BTreeMap<String, BTreeSet<String>>,
}

/// An endpoint that takes only documented query parameters.
pub struct Strict<E> {
    inner: E,
    known: Vec<Known>,
}

impl<E> Strict<E> {
    /// Takes what `document`, an OpenAPI document, says.
    pub fn new(inner: E, document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let known = paths.map(|(path, operations)| Known {
            segments: segments(path).map(str::to_owned).collect(),
            names: operations
                .as_object()
                .into_iter()
                .flatten()
                .map(|(method, op)| (method.clone(), names(op)))
                .collect(),
        });
        Self { inner, known: known.collect() }
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Ok(()) };
        let method = request.method().as_str().to_ascii_lowercase();
        let path: Vec<&str> = segments(request.uri().path()).collect();
        let known = self.known.iter().find(|known| known.is(&path)).and_then(|known| known.names.get(&method));
        // What is no operation has no parameters of ours.
        let Some(known) = known else { return Ok(()) };
        for (name, _) in parameters(Some(query)) {
            if !known.contains(name) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let detail = match known[..] {
                    [] => "this operation has no query parameters".to_owned(),
                    _ => format!("there is no such query parameter; there are: {}", known.join(", ")),
                };
                let name: String = name.chars().take(64).collect();
                return Err(ApiError::parameter(&name, Code::UnknownParameter, detail));
            }
        }
        Ok(())
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

fn names(operation: &Value) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let of_query = parameters.filter(|parameter| parameter["in"] == "query");
    of_query.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
}

impl<E: Endpoint> Endpoint for Strict<E> {
    type Output = E::Output;

    async fn call(&self, request: Request) -> Result<E::Output> {
        self.check(&request)?;
        self.inner.call(request).await
    }
}
