//! The operations of the HTTP API, declared at their handlers with `#[operations]`. The gate and the contract use the same table.

use orderlog_core::words;
pub use orderlog_macros::operations;
pub use poem::http::Method;
use poem::http::StatusCode;

use crate::{
    auth::{self, Caller},
    problem::{ApiError, Code, Scope, codes},
};

/// An operation, with everything that must be known before its handler runs.
#[derive(Debug)]
pub struct Operation {
    /// The `operationId`.
    pub id: &'static str,
    pub method: Method,
    /// The path in OpenAPI notation: `/orders/{order_id}`.
    pub path: &'static str,
    /// The scope that a caller needs.
    pub scope: auth::Scope,
    /// Its behavior for callers bound to an owner.
    pub bound: BoundCallers,
    /// Whether its target exists already, so that `If-Match` may name the target's version.
    pub has_target: bool,
    /// Whether a deployment may require an `Idempotency-Key` for it.
    pub key_may_be_required: bool,
    /// Whether `Prefer: wait=N` also waits for the command's outcome.
    pub waits: bool,
    /// The other service that it calls, which waits for the positions that this one cannot wait for.
    pub asks: Option<&'static str>,
    /// The problems that only some operations return, except those that follow from the other fields.
    pub problems: &'static [Code],
}

/// The behavior of an operation for callers bound to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundCallers {
    /// Works on the owner's objects. All others do not exist for the caller.
    Own,
    /// Works as for any caller.
    Shared,
    /// Rejects the caller, whatever its scopes.
    Refused,
}

/// Routes with declared operations. Implemented by `#[operations]`.
pub trait Operations {
    /// In the order of their handlers.
    const OPERATIONS: &'static [Operation];
}

impl Operation {
    /// Whether it may return this code. `has_body` says whether its requests have one.
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

    /// Whether the code is one that only some operations return, and this is one of them.
    pub fn declares(&self, code: Code) -> bool {
        self.problems.contains(&code)
            || code == codes::NOT_FOR_BOUND && self.bound == BoundCallers::Refused
            || code == codes::IDEMPOTENCY_KEY_REQUIRED && self.key_may_be_required
            || [codes::SERVICE_UNAVAILABLE, codes::SERVICE_TIMED_OUT, codes::SERVICE_NOT_CONFIGURED].contains(&code)
                && self.asks.is_some()
    }

    /// Checks that this caller may use the operation.
    ///
    /// # Errors
    /// 403, with what is missing.
    pub fn admit(&self, caller: &Caller) -> Result<(), ApiError> {
        caller.require(self.scope)?;
        match (caller.owner(), self.bound) {
            (Some(_), BoundCallers::Refused) => {
                let code = codes::NOT_FOR_BOUND;
                Err(ApiError::new(StatusCode::FORBIDDEN, code, words::fill(code.detail)))
            }
            (Some(_), BoundCallers::Own | BoundCallers::Shared) | (None, _) => Ok(()),
        }
    }
}

/// Makes all parameters of a path alike: `/orders/{order_id}` and `/orders/:param0` become `/orders/*`.
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
