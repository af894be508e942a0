//! Who asks.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use orderlog_domain::values::CustomerId;
use poem::{FromRequest, Request, RequestBody, Result, http::StatusCode};

use super::scope::Scope;
use crate::problem::{ApiError, codes};

/// The id of whoever needs no key: idempotency keys were kept under it before there were callers.
pub const OPERATOR: &str = "anonymous";

/// Who asks, as far as they have proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    id: String,
    scopes: BTreeSet<Scope>,
    customer: Option<CustomerId>,
}

impl Caller {
    /// A caller. The same `id` means the same caller: it has its idempotency keys to itself, and its share of requests.
    pub fn new(id: String, scopes: BTreeSet<Scope>, customer: Option<CustomerId>) -> Self {
        Self(Arc::new(Inner { id, scopes, customer }))
    }

    /// Whoever runs the process: may do everything.
    pub fn operator() -> Self {
        static OPERATORS: LazyLock<Caller> =
            LazyLock::new(|| Caller::new(OPERATOR.to_owned(), Scope::ALL.iter().copied().collect(), None));
        // Made once: each request is somebody's.
        OPERATORS.clone()
    }

    /// Anybody, where that was asked for: everything but what is for operators.
    pub fn anybody() -> Self {
        static ANYBODY: LazyLock<Caller> = LazyLock::new(|| {
            let scopes = Scope::ALL.iter().copied().filter(|scope| !scope.as_str().starts_with("admin:"));
            Caller::new(OPERATOR.to_owned(), scopes.collect(), None)
        });
        ANYBODY.clone()
    }

    /// What tells callers apart.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The customer that they act as, if they are bound to one.
    pub fn customer(&self) -> Option<CustomerId> {
        self.0.customer
    }

    /// Whether they look after the process: any of the scopes `admin:*` makes them an operator.
    pub fn is_operator(&self) -> bool {
        self.0.scopes.iter().any(|scope| scope.as_str().starts_with("admin:"))
    }

    /// Whether what belongs to this customer is there for them.
    pub fn sees(&self, owner: CustomerId) -> bool {
        self.0.customer.is_none_or(|own| own == owner)
    }

    /// Go on only with this scope.
    ///
    /// # Errors
    /// 403, naming it.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.0.scopes.contains(&scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope {scope}, which the caller does not have");
        Err(ApiError::new(StatusCode::FORBIDDEN, codes::INSUFFICIENT_SCOPE, detail))
    }

    /// Go on only if they may say what something costs. For callers that are bound to no customer, `orders:write` implies
    /// `orders:price` until prices come from a catalogue.
    ///
    /// # Errors
    /// 403, for every caller that acts as a customer.
    pub fn may_name_prices(&self) -> Result<(), ApiError> {
        let scopes = &self.0.scopes;
        let has_scope = scopes.contains(&Scope::OrdersPrice) || scopes.contains(&Scope::OrdersWrite);
        if self.0.customer.is_none() && has_scope {
            return Ok(());
        }
        let detail = "callers that act as a customer cannot name prices, and there is no catalogue of prices yet";
        Err(ApiError::new(StatusCode::FORBIDDEN, crate::orders::codes::PRICE_NOT_ALLOWED, detail))
    }
}

impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let caller = request.data::<Self>().cloned();
        // The gate lets nobody through without: if it ever did, nobody is let in here.
        caller.ok_or_else(|| ApiError::internal(&"a request without a caller came through the gate").into())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_caller_bound_to_a_customer_sees_that_one_only() {
        let (own, other) = (CustomerId(Uuid::from_u128(1)), CustomerId(Uuid::from_u128(2)));
        let bound = Caller::new("key:app".to_owned(), [Scope::OrdersRead].into(), Some(own));
        assert!(bound.sees(own) && !bound.sees(other));
        assert!(Caller::operator().sees(other));
    }

    #[test]
    fn only_callers_that_are_bound_to_no_customer_name_prices() {
        let customer = Some(CustomerId(Uuid::from_u128(1)));
        let caller = |scope, customer| Caller::new("key:app".to_owned(), [scope].into(), customer);
        for scope in [Scope::OrdersWrite, Scope::OrdersPrice] {
            assert!(caller(scope, None).may_name_prices().is_ok(), "{scope}");
            let refused = caller(scope, customer).may_name_prices().unwrap_err();
            assert!(refused.is(crate::orders::codes::PRICE_NOT_ALLOWED), "{scope}");
        }
    }

    #[test]
    fn anybody_is_no_operator() {
        assert!(Caller::operator().require(Scope::AdminRebuild).is_ok());
        assert!(Caller::anybody().require(Scope::AdminRead).unwrap_err().is(codes::INSUFFICIENT_SCOPE));
        assert!(Caller::anybody().require(Scope::BillingRefund).is_ok());
    }
}
