//! The operations of the HTTP API, as their handlers declare them by `#[operations]`: the gate and the contract go by the same table.

pub use orderlog_macros::operations;
pub use poem::http::Method;
use poem::http::StatusCode;

use crate::{
    auth::{self, Caller},
    problem::{ApiError, Code, Scope, codes},
};

/// An operation, with everything that has to be known of it before its handler runs.
#[derive(Debug)]
pub struct Operation {
    /// The `operationId`.
    pub id: &'static str,
    pub method: Method,
    /// The path as OpenAPI writes it: `/orders/{order_id}`.
    pub path: &'static str,
    /// The scope that a caller needs.
    pub scope: auth::Scope,
    /// What it does for callers that are bound to an owner.
    pub bound: BoundCallers,
    /// Whether it is about something that is there already, so that `If-Match` may name its version.
    pub has_target: bool,
    /// Whether a deployment may reject it without an `Idempotency-Key`.
    pub key_may_be_required: bool,
    /// The service that it asks for its answer, and that waits for positions that this one can't wait for.
    pub asks: Option<&'static str>,
    /// The problems that only some operations answer with, except those that follow from the other fields.
    pub problems: &'static [Code],
}

/// What an operation does for a caller that is bound to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundCallers {
    /// Works on what belongs to the owner; the rest does not exist for the caller.
    Own,
    /// Works as for everybody.
    Shared,
    /// Rejects the caller, whatever its scopes.
    Refused,
}

/// Routes that declare their operations. `#[operations]` implements it.
pub trait Operations {
    /// In the order of their handlers.
    const OPERATIONS: &'static [Operation];
}

impl Operation {
    /// Whether it may answer with this code. `has_body` says whether its requests have one.
    pub fn may_answer(&self, code: Code, has_body: bool) -> bool {
        match code.scope {
            Scope::Any => true,
            Scope::Queries => self.method == Method::GET,
            Scope::Commands => self.method != Method::GET,
            Scope::Bodies => has_body,
            Scope::Declared => self.declares(code),
            Scope::Values | Scope::Elsewhere => false,
        }
    }

    /// Whether the code is one of those that only some operations answer with, and this is one of them.
    pub fn declares(&self, code: Code) -> bool {
        self.problems.contains(&code)
            || code == codes::NOT_FOR_CUSTOMERS && self.bound == BoundCallers::Refused
            || code == codes::IDEMPOTENCY_KEY_REQUIRED && self.key_may_be_required
            || [codes::SERVICE_UNAVAILABLE, codes::SERVICE_TIMED_OUT].contains(&code) && self.asks.is_some()
    }

    /// Go on only if this caller may do it.
    ///
    /// # Errors
    /// 403, saying what is missing.
    pub fn admit(&self, caller: &Caller) -> Result<(), ApiError> {
        caller.require(self.scope)?;
        match (caller.owner(), self.bound) {
            (Some(_), BoundCallers::Refused) => {
                let detail = "this is not for callers that act as a customer";
                Err(ApiError::new(StatusCode::FORBIDDEN, codes::NOT_FOR_CUSTOMERS, detail))
            }
            (Some(_), BoundCallers::Own | BoundCallers::Shared) | (None, _) => Ok(()),
        }
    }
}

/// A path with all its parameters alike: `/orders/{order_id}` and `/orders/:param0` are `/orders/*`.
pub fn nameless(path: &str) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| if segment.starts_with([':', '{']) { "/*".to_owned() } else { format!("/{segment}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_same_whatever_their_parameters_are_called() {
        assert_eq!(nameless("/orders/{order_id}/cancel"), nameless("/orders/:param0/cancel"));
        assert_ne!(nameless("/stock/reserve"), nameless("/stock/:sku"));
    }
}
