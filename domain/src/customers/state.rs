//! The aggregates of the customers service. They change only by copying what events say.

use serde::{Deserialize, Serialize};

use orderlog_core::{
    decider::{Kind, Millis, Ref},
    key::Key,
};

use crate::values::{CustomerId, Email, Name};

/// The kind of [`Customer`].
pub const CUSTOMERS: Kind = "customers";
/// The kind of [`EmailClaim`].
pub const EMAIL_CLAIMS: Kind = "email_claims";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub customer_id: CustomerId,
    /// What to call them.
    pub name: Name,
    /// Their address, as they wrote it.
    pub email: Email,
    /// The keyed hash of the folded address; the claim under this key is held by this customer.
    pub email_key: Key,
    /// The keyed hash of the canonical address, if the customer holds the claim to that too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_key: Option<Key>,
    /// Whether they may place orders.
    pub active: bool,
    /// Counts this customer's events.
    pub version: u64,
    /// When the first event was decided.
    pub created_ms: Millis,
    /// When the last event that changed anything was decided.
    pub updated_ms: Millis,
}

/// Who holds an e-mail address. A freed claim stays, without a holder: a key that was ever named is never forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailClaim {
    /// The customer, unless the address is free again.
    pub holder: Option<CustomerId>,
    /// Counts this claim's events.
    pub version: u64,
}

/// An aggregate of the customers service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    /// Of kind [`CUSTOMERS`].
    Customer(Customer),
    /// Of kind [`EMAIL_CLAIMS`].
    EmailClaim(EmailClaim),
}

impl Entity {
    /// The customer, if this is one.
    pub const fn as_customer(&self) -> Option<&Customer> {
        match self {
            Self::Customer(customer) => Some(customer),
            Self::EmailClaim(_) => None,
        }
    }

    /// The claim, if this is one.
    pub const fn as_email_claim(&self) -> Option<&EmailClaim> {
        match self {
            Self::EmailClaim(claim) => Some(claim),
            Self::Customer(_) => None,
        }
    }
}

impl Customer {
    /// Where this customer is found.
    pub fn aggregate(customer_id: CustomerId) -> Ref {
        Ref::new(CUSTOMERS, Key::of(customer_id))
    }

    /// Whether the canonical spelling of the address is another one than that in lower case, and not claimed: an earlier
    /// version accepted the address, or another customer holds that spelling.
    pub fn lacks_canonical_key(&self) -> bool {
        self.canonical_key.is_none() && self.email.canonical() != self.email.folded()
    }
}

impl EmailClaim {
    /// Where the claim to an address is found.
    pub const fn aggregate(email_key: Key) -> Ref {
        Ref::new(EMAIL_CLAIMS, email_key)
    }
}
