//! The operations of the HTTP API, as their handlers declare them by `#[operations]`: the gate and the contract go by the same table.

pub use orderlog_macros::operations;
pub use poem::http::Method;
use poem::http::StatusCode;

use crate::{
    auth::{Caller, Scope},
    problem::{ApiError, Code, codes},
};

/// An operation, with everything that has to be known of it before its handler runs.
#[derive(Debug)]
pub struct Operation {
    /// The `operationId`.
    pub id: &'static str,
    /// The method.
    pub method: Method,
    /// The path as OpenAPI writes it: `/orders/{order_id}`.
    pub path: &'static str,
    /// The scope that a caller needs.
    pub scope: Scope,
    /// What it does for callers that are bound to an owner.
    pub bound: BoundCallers,
    /// Whether it is about something that is there already, so that `If-Match` may name its version.
    pub has_target: bool,
    /// Whether a deployment may reject it without an `Idempotency-Key`.
    pub key_may_be_required: bool,
    /// The problem codes that only some operations answer with.
    pub codes: &'static [Code],
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
    /// Go on only if this caller may do it.
    ///
    /// # Errors
    /// 403, saying what is missing.
    pub fn admit(&self, caller: &Caller) -> Result<(), ApiError> {
        caller.require(self.scope)?;
        match (caller.customer(), self.bound) {
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
