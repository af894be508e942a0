//! Callers.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use poem::{FromRequest, Request, RequestBody, Result, http::StatusCode};
use uuid::Uuid;

use super::scope::Scope;
use crate::problem::{ApiError, codes};

/// The caller id of requests without a key. Idempotency keys were stored under it before callers were introduced.
pub const OPERATOR: &str = "anonymous";

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    id: String,
    granted: Granted,
    owner: Option<Uuid>,
}

/// The scopes of a caller.
#[derive(Debug, PartialEq, Eq)]
enum Granted {
    All,
    AllButOperators,
    These(BTreeSet<Scope>),
}

impl Caller {
    /// Creates a caller. The same `id` means the same caller: it has its own idempotency keys and its share of requests.
    pub fn new(id: String, scopes: impl IntoIterator<Item = Scope>, owner: Option<Uuid>) -> Self {
        Self(Arc::new(Inner { id, granted: Granted::These(scopes.into_iter().collect()), owner }))
    }

    /// The operator of the process, with all scopes.
    pub fn operator() -> Self {
        static OPERATOR: LazyLock<Caller> = LazyLock::new(|| Caller::without_key(Granted::All));
        OPERATOR.clone()
    }

    /// Any caller, if the server is open: all scopes except those of operators.
    pub fn anybody() -> Self {
        static ANYBODY: LazyLock<Caller> = LazyLock::new(|| Caller::without_key(Granted::AllButOperators));
        ANYBODY.clone()
    }

    fn without_key(granted: Granted) -> Self {
        Self(Arc::new(Inner { id: OPERATOR.to_owned(), granted, owner: None }))
    }

    /// Returns the id that identifies the caller.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the owner that the caller is bound to. The services define what an owner is.
    pub fn owner(&self) -> Option<Uuid> {
        self.0.owner
    }

    /// Whether the caller is an operator: it has any of the scopes `admin:*`.
    pub fn is_operator(&self) -> bool {
        self.has(Scope::ADMIN_READ) || self.has(Scope::ADMIN_REBUILD)
    }

    /// Whether objects of this owner are visible to the caller.
    pub fn sees(&self, owner: Uuid) -> bool {
        self.0.owner.is_none_or(|own| own == owner)
    }

    /// Whether the caller has this scope.
    pub fn has(&self, scope: Scope) -> bool {
        match &self.0.granted {
            Granted::All => true,
            Granted::AllButOperators => !scope.is_for_operators(),
            Granted::These(scopes) => scopes.contains(&scope),
        }
    }

    /// Checks that the caller has this scope.
    ///
    /// # Errors
    /// 403, naming the scope.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.has(scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope {scope}, which the caller does not have");
        Err(ApiError::new(StatusCode::FORBIDDEN, codes::INSUFFICIENT_SCOPE, detail))
    }
}

impl Caller {
    /// Returns the caller that the gate has set on a request.
    pub(crate) fn of(request: &Request) -> Result<Self, ApiError> {
        let caller = request.data::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal(&"a request without a caller came through the gate"))
    }
}

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        Ok(Self::of(request)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::tests::{READ, WRITE};

    #[test]
    fn a_caller_bound_to_an_owner_sees_what_is_that_ones_only() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let bound = Caller::new("key:app".to_owned(), [READ], Some(own));
        assert!(bound.sees(own) && !bound.sees(other));
        assert!(bound.has(READ) && !bound.has(WRITE) && !bound.is_operator());
        assert!(Caller::operator().sees(other));
    }

    #[test]
    fn anybody_is_no_operator() {
        assert!(Caller::operator().require(Scope::ADMIN_REBUILD).is_ok() && Caller::operator().is_operator());
        assert!(Caller::anybody().require(Scope::ADMIN_READ).unwrap_err().is(codes::INSUFFICIENT_SCOPE));
        assert!(Caller::anybody().require(WRITE).is_ok() && !Caller::anybody().is_operator());
    }
}
