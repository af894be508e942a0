//! The aggregates of the customers service. They only copy what events say.

use serde::{Deserialize, Serialize};

use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
};

use crate::values::{CustomerId, Email, Name};

pub const CUSTOMERS: Kind = "customers";
pub const EMAIL_CLAIMS: Kind = "email_claims";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub customer_id: CustomerId,
    pub name: Name,
    /// Their address, as they wrote it. Current versions remove invisible characters.
    pub email: Email,
    /// The keyed hash of the address in lower case. This customer holds the claim with this key.
    pub email_key: Key,
    /// The keyed hash of the canonical address, if the customer holds the claim to that too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_key: Option<Key>,
    /// Whether they may place orders.
    pub active: bool,
    /// The number of this customer's events.
    pub version: u64,
    /// When the first event was decided.
    pub created_ms: Millis,
    /// When the last event that changed anything was decided.
    pub updated_ms: Millis,
}

/// The holder of an e-mail address. A freed claim is kept without a holder, since keys are never forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailClaim {
    /// `None` if the address is free again.
    pub holder: Option<CustomerId>,
    /// The number of this claim's events.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    Customer(Customer),
    EmailClaim(EmailClaim),
}

variants!(Entity {
    Customer(Customer) as_customer into_customer,
    EmailClaim(EmailClaim) as_email_claim into_email_claim,
});

impl Customer {
    pub fn aggregate(customer_id: CustomerId) -> Ref {
        Ref::new(CUSTOMERS, Key::of(customer_id))
    }

    /// Whether the canonical spelling of the address differs from that in lower case and is not claimed. An earlier version
    /// accepted the address, or another customer holds that spelling.
    pub fn lacks_canonical_key(&self) -> bool {
        self.canonical_key.is_none() && self.email.canonical() != self.email.folded()
    }
}

impl EmailClaim {
    pub const fn aggregate(email_key: Key) -> Ref {
        Ref::new(EMAIL_CLAIMS, email_key)
    }
}
