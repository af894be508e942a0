//! What happens to customers, as stored in the journal `customers`.
//!
//! ## Storage format: change nothing here without a new event
//! The log is kept for ever. Events and fields are never renamed, removed or given another meaning; a new field needs a
//! default. The golden tests below fail before a log does.

use serde::{Deserialize, Serialize};

use crate::{
    key::Key,
    values::{CustomerId, Email, Name},
};

/// All there is to know of a customer after an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerFacts {
    /// Who.
    pub customer_id: CustomerId,
    /// What to call them.
    pub name: Name,
    /// Their address, as they wrote it.
    pub email: Email,
    /// The keyed hash of the folded address. Stored, since what an event touches must follow from the event alone.
    pub email_key: Key,
    /// Whether they may place orders.
    pub active: bool,
    /// Of the customer.
    pub version: u64,
}

/// A change of who holds an e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The keyed hash of the folded address.
    pub email_key: Key,
    /// Of the claim.
    pub version: u64,
}

/// A customer was welcomed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerCreated {
    /// The customer.
    pub customer: CustomerFacts,
    /// The address that the customer holds from now on.
    pub claimed: Claim,
}

/// A customer has another name or address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUpdated {
    /// The customer.
    pub customer: CustomerFacts,
    /// The address that was given, if one was. Also when only its case is new: then nothing is freed.
    pub claimed: Option<Claim>,
    /// The address that the customer holds no longer.
    pub freed: Option<Claim>,
}

/// A customer may place no more orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerDeactivated {
    /// The customer.
    pub customer: CustomerFacts,
}

/// The customer already was as the command wanted. Recorded, since the log has the last word on that; told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUnchanged {
    /// The customer.
    pub customer: CustomerFacts,
}

/// What happened.
#[expect(clippy::enum_variant_names, reason = "these are stored names, and an event is called in full in a log")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A customer was welcomed.
    CustomerCreated(CustomerCreated),
    /// A customer has another name or address.
    CustomerUpdated(CustomerUpdated),
    /// A customer may place no more orders.
    CustomerDeactivated(CustomerDeactivated),
    /// The customer already was as the command wanted.
    CustomerUnchanged(CustomerUnchanged),
}

impl Event {
    /// The customer after the event.
    pub const fn customer(&self) -> &CustomerFacts {
        match self {
            Self::CustomerCreated(CustomerCreated { customer, .. })
            | Self::CustomerUpdated(CustomerUpdated { customer, .. })
            | Self::CustomerDeactivated(CustomerDeactivated { customer })
            | Self::CustomerUnchanged(CustomerUnchanged { customer }) => customer,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn facts(version: u64) -> CustomerFacts {
        CustomerFacts {
            customer_id: CustomerId(Uuid::from_u128(1)),
            name: Name::new("Ada").unwrap(),
            email: Email::new("Ada@Example.com").unwrap(),
            email_key: Key::from_bytes([2; 16]),
            active: version < 3,
            version,
        }
    }

    fn claim(byte: u8, version: u64) -> Claim {
        Claim { email_key: Key::from_bytes([byte; 16]), version }
    }

    /// The frozen form of [`facts`].
    fn facts_json(active: bool, version: u64) -> String {
        format!(
            r#"{{"customer_id":"00000000-0000-0000-0000-000000000001","name":"Ada","email":"Ada@Example.com","email_key":"02020202020202020202020202020202","active":{active},"version":{version}}}"#
        )
    }

    #[track_caller]
    fn is_stored_as(event: &Event, json: &str) {
        assert_eq!(serde_json::to_string(event).unwrap(), json);
        assert_eq!(&serde_json::from_str::<Event>(json).unwrap(), event);
    }

    #[test]
    fn stored_format_of_customer_created_is_stable() {
        is_stored_as(
            &Event::CustomerCreated(CustomerCreated { customer: facts(1), claimed: claim(2, 1) }),
            &format!(
                r#"{{"CustomerCreated":{{"customer":{},"claimed":{{"email_key":"02020202020202020202020202020202","version":1}}}}}}"#,
                facts_json(true, 1)
            ),
        );
    }

    #[test]
    fn stored_format_of_customer_updated_is_stable() {
        let (claimed, freed) = (Some(claim(2, 3)), Some(claim(5, 4)));
        is_stored_as(
            &Event::CustomerUpdated(CustomerUpdated { customer: facts(2), claimed, freed }),
            &format!(
                r#"{{"CustomerUpdated":{{"customer":{},"claimed":{{"email_key":"02020202020202020202020202020202","version":3}},"freed":{{"email_key":"05050505050505050505050505050505","version":4}}}}}}"#,
                facts_json(true, 2)
            ),
        );
        is_stored_as(
            &Event::CustomerUpdated(CustomerUpdated { customer: facts(2), claimed: None, freed: None }),
            &format!(r#"{{"CustomerUpdated":{{"customer":{},"claimed":null,"freed":null}}}}"#, facts_json(true, 2)),
        );
    }

    #[test]
    fn stored_format_of_customer_deactivated_is_stable() {
        is_stored_as(
            &Event::CustomerDeactivated(CustomerDeactivated { customer: facts(3) }),
            &format!(r#"{{"CustomerDeactivated":{{"customer":{}}}}}"#, facts_json(false, 3)),
        );
    }

    #[test]
    fn stored_format_of_customer_unchanged_is_stable() {
        is_stored_as(
            &Event::CustomerUnchanged(CustomerUnchanged { customer: facts(4) }),
            &format!(r#"{{"CustomerUnchanged":{{"customer":{}}}}}"#, facts_json(false, 4)),
        );
    }
}
