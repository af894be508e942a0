//! The gate: finds out who asks, and lets nobody at an operation who may not.
//!
//! Two halves. [`Gated`] is around everything and finds the caller; [`Gate::guard`] is around each operation, behind the
//! router, and decides. So what an operation needs never depends on a second reading of paths, and an operation that nobody
//! thought of is for operators only.

use std::{collections::BTreeMap, sync::Arc};

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    endpoint::BoxEndpoint,
    http::{HeaderValue, Method, StatusCode, header},
};
use serde_json::Value;

use crate::{
    auth::{Caller, KeyRing, Rule, Scope, Token, rule_of},
    problem::{ApiError, Code},
    services::RouteTable,
};

/// Who comes in without a key, as long as there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// This machine listens to itself only: whoever is on it is the operator.
    Local,
    /// Everybody, since that was asked for; operators are on this machine.
    Everybody,
    /// Nobody.
    Nobody,
}

/// Who comes in, and as whom.
pub struct Gate {
    /// The keys.
    pub ring: KeyRing,
    /// By which this process, and commands that may read its data folder, know each other.
    pub process: Token,
    /// Who needs no key.
    pub open: Open,
}

impl Gate {
    /// The caller, or nobody.
    ///
    /// # Errors
    /// 401 for a key that opens nothing; 403 for a page of another site.
    fn caller(&self, request: &Request) -> Result<Option<Caller>, ApiError> {
        match self.open {
            Open::Local | Open::Everybody if !self.ring.is_there() => self.without_key(request).map(Some),
            Open::Local | Open::Everybody | Open::Nobody => self.with_key(request),
        }
    }

    fn without_key(&self, request: &Request) -> Result<Caller, ApiError> {
        refuse_other_sites(request)?;
        let is_here = request.remote_addr().as_socket_addr().is_some_and(|from| from.ip().is_loopback());
        match self.open {
            Open::Local => {
                refuse_other_names(request)?;
                Ok(Caller::operator())
            }
            Open::Everybody if is_here => Ok(Caller::operator()),
            Open::Everybody | Open::Nobody => Ok(Caller::anybody()),
        }
    }

    fn with_key(&self, request: &Request) -> Result<Option<Caller>, ApiError> {
        let Some(given) = request.headers().get(header::AUTHORIZATION) else { return Ok(None) };
        let bearer = given.to_str().ok().and_then(|given| given.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let caller = bearer.and_then(|text| text.parse::<Token>().ok()).and_then(|token| {
            if token.hash() == self.process.hash() { Some(Caller::operator()) } else { self.ring.caller(&token) }
        });
        // Which of all the reasons is nobody's business.
        let detail = "this key is none, has expired, or was revoked";
        caller.map(Some).ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, Code::InvalidToken, detail))
    }

    /// Put a guard before each operation of `table`, by what `document`, an OpenAPI document, calls it.
    pub fn guard(table: RouteTable, document: &Value) -> RouteTable {
        let rules = rules(document);
        let guarded = table.into_iter().map(|(path, operations)| {
            let name = nameless(&path);
            let operations = operations.into_iter().map(|(method, inner)| {
                let rule = rules.get(&(name.clone(), method.clone())).copied();
                let guard = Guard { inner, needs: rule.map_or(Needs::Scope(Scope::AdminRebuild), Needs::Rule) };
                (method, Box::new(poem::endpoint::ToDynEndpoint(guard)) as BoxEndpoint<'static>)
            });
            (path, operations.collect())
        });
        guarded.collect()
    }

    /// An endpoint for whoever has this scope.
    pub fn guarded(inner: BoxEndpoint<'static>, scope: Scope) -> BoxEndpoint<'static> {
        Box::new(poem::endpoint::ToDynEndpoint(Guard { inner, needs: Needs::Scope(scope) }))
    }
}

/// What each operation needs, by its path without names and its method.
fn rules(document: &Value) -> BTreeMap<(String, Method), &'static Rule> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, operations)| {
        operations.as_object().into_iter().flatten().map(|(method, operation)| (nameless(path), method, operation))
    });
    let known = operations.filter_map(|(path, method, operation)| {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
        Some(((path, method), rule_of(operation["operationId"].as_str()?)?))
    });
    known.collect()
}

/// `/orders/{order_id}` and `/orders/:param0` as `/orders/*`.
fn nameless(path: &str) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| if segment.starts_with([':', '{']) { "/*".to_owned() } else { format!("/{segment}") })
        .collect()
}

/// A page of another site, open in a browser on this machine, must not act for whoever sits there.
fn refuse_other_sites(request: &Request) -> Result<(), ApiError> {
    let Some(origin) = request.header(header::ORIGIN) else { return Ok(()) };
    let host = request.header(header::HOST).unwrap_or_default();
    if origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        Code::ForeignOrigin,
        "pages of other sites may not ask here without a key",
    ))
}

/// Nor a page whose own name was made to mean this machine.
fn refuse_other_names(request: &Request) -> Result<(), ApiError> {
    let host = request.header(header::HOST).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    // HTTP/1.0 knows no such header, and no browser speaks it.
    if name.is_empty() || name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()) {
        return Ok(());
    }
    let detail = "without keys this machine answers to `localhost` and its loopback addresses only";
    Err(ApiError::new(StatusCode::FORBIDDEN, Code::ForeignHost, detail))
}

/// What an operation needs.
#[derive(Clone, Copy)]
enum Needs {
    Rule(&'static Rule),
    Scope(Scope),
}

struct Guard {
    inner: BoxEndpoint<'static>,
    needs: Needs,
}

impl Endpoint for Guard {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let Some(caller) = request.data::<Caller>() else {
            let detail = "this needs a key: send `Authorization: Bearer olk_...`";
            return Err(challenged(ApiError::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, detail), None));
        };
        let (may, scope) = match self.needs {
            Needs::Rule(rule) => (caller.may(rule), rule.scope),
            Needs::Scope(scope) => (caller.require(scope), scope),
        };
        may.map_err(|error| challenged(error, Some(scope)))?;
        self.inner.call(request).await
    }
}

/// The error with what the caller has to bring (RFC 6750).
fn challenged(error: ApiError, scope: Option<Scope>) -> poem::Error {
    let mut challenge = "Bearer realm=\"orderlog\"".to_owned();
    // Without anything given, there is no error yet.
    if let code @ ("invalid_token" | "insufficient_scope") = error.0.code.as_str() {
        challenge.push_str(&format!(", error=\"{code}\""));
    }
    if let Some(scope) = scope {
        challenge.push_str(&format!(", scope=\"{scope}\""));
    }
    let mut response = error.into_response();
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    poem::Error::from_response(response)
}

/// Everything behind the gate.
pub struct Gated<E> {
    /// It.
    pub inner: E,
    /// The gate.
    pub gate: Arc<Gate>,
}

impl<E: Endpoint> Endpoint for Gated<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> Result<E::Output> {
        if let Some(caller) = self.gate.caller(&request).map_err(|error| challenged(error, None))? {
            request.set_data(caller);
        }
        self.inner.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use poem::Request;

    use super::*;

    #[test]
    fn a_page_of_another_site_is_told_from_ones_own() {
        let asked = |host: &str, origin: Option<&str>| {
            let mut request = Request::builder().header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let request = request.finish();
            refuse_other_sites(&request).is_ok() && refuse_other_names(&request).is_ok()
        };
        assert!(asked("127.0.0.1:8080", None));
        assert!(asked("localhost:8080", Some("http://localhost:8080")));
        assert!(asked("[::1]:8080", Some("http://[::1]:8080")));
        assert!(!asked("127.0.0.1:8080", Some("https://elsewhere.example")));
        assert!(!asked("127.0.0.1:8080", Some("null")));
        assert!(!asked("elsewhere.example:8080", None), "a name that was made to mean this machine");
        assert!(!asked("127.0.0.1.elsewhere.example", None));
    }

    #[test]
    fn paths_are_the_same_whatever_their_parameters_are_called() {
        assert_eq!(nameless("/orders/{order_id}/cancel"), nameless("/orders/:param0/cancel"));
        assert_ne!(nameless("/stock/reserve"), nameless("/stock/:sku"));
    }
}
