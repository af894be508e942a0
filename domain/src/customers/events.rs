//! The events of customers, as stored in the journal `customers`.
//!
//! ## Storage format: change nothing here without a new event
//! The log is kept forever. Events and fields are never renamed, removed or given another meaning; a new field needs a
//! default. The golden tests below catch violations.

use serde::{Deserialize, Serialize};

use orderlog_core::key::Key;

use crate::values::{CustomerId, Email, Name};

/// The complete customer after an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerFacts {
    pub customer_id: CustomerId,
    pub name: Name,
    /// Their address, as they wrote it. Current versions remove invisible characters.
    pub email: Email,
    /// The keyed hash of the address in lower case. Stored, since an event must determine what it touches.
    pub email_key: Key,
    /// The keyed hash of the canonical address, if the customer holds the claim to that too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_key: Option<Key>,
    /// Whether they may place orders.
    pub active: bool,
    pub version: u64,
}

/// A change of an e-mail address's holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The keyed hash of a spelling of the address: the one in lower case, or the canonical one.
    pub email_key: Key,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerCreated {
    pub customer: CustomerFacts,
    /// The address that the customer holds from now on.
    pub claimed: Claim,
    /// Its canonical spelling, if that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_canonical: Option<Claim>,
}

/// A customer's name or address changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUpdated {
    pub customer: CustomerFacts,
    /// The new address, if it changed. If only its case is new, nothing is freed.
    pub claimed: Option<Claim>,
    /// The address that the customer no longer holds.
    pub freed: Option<Claim>,
    /// The canonical spelling of the new address, if that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_canonical: Option<Claim>,
    /// The canonical spelling that the customer no longer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_canonical: Option<Claim>,
}

/// A customer may no longer place orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerDeactivated {
    pub customer: CustomerFacts,
}

/// The customer already was as the command requested. Recorded, since the log has the last word on that, but not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerUnchanged {
    pub customer: CustomerFacts,
}

/// A customer whose address was accepted by an earlier version now also holds its canonical spelling. Nothing else about
/// them changes, and nothing is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerEmailKeyClaimed {
    pub customer: CustomerFacts,
    pub claimed: Claim,
}

#[expect(clippy::enum_variant_names, reason = "these are stored names, and an event is called in full in a log")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    CustomerCreated(CustomerCreated),
    CustomerUpdated(CustomerUpdated),
    CustomerDeactivated(CustomerDeactivated),
    CustomerUnchanged(CustomerUnchanged),
    CustomerEmailKeyClaimed(CustomerEmailKeyClaimed),
}

impl Event {
    pub const fn customer(&self) -> &CustomerFacts {
        match self {
            Self::CustomerCreated(CustomerCreated { customer, .. })
            | Self::CustomerUpdated(CustomerUpdated { customer, .. })
            | Self::CustomerDeactivated(CustomerDeactivated { customer })
            | Self::CustomerUnchanged(CustomerUnchanged { customer })
            | Self::CustomerEmailKeyClaimed(CustomerEmailKeyClaimed { customer, .. }) => customer,
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
            canonical_key: None,
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
            &Event::CustomerCreated(CustomerCreated {
                customer: facts(1),
                claimed: claim(2, 1),
                claimed_canonical: None,
            }),
            &format!(
                r#"{{"CustomerCreated":{{"customer":{},"claimed":{{"email_key":"02020202020202020202020202020202","version":1}}}}}}"#,
                facts_json(true, 1)
            ),
        );
    }

    #[test]
    fn stored_format_of_customer_updated_is_stable() {
        let updated = |claimed, freed| {
            let (claimed_canonical, freed_canonical) = (None, None);
            Event::CustomerUpdated(CustomerUpdated {
                customer: facts(2),
                claimed,
                freed,
                claimed_canonical,
                freed_canonical,
            })
        };
        is_stored_as(
            &updated(Some(claim(2, 3)), Some(claim(5, 4))),
            &format!(
                r#"{{"CustomerUpdated":{{"customer":{},"claimed":{{"email_key":"02020202020202020202020202020202","version":3}},"freed":{{"email_key":"05050505050505050505050505050505","version":4}}}}}}"#,
                facts_json(true, 2)
            ),
        );
        is_stored_as(
            &updated(None, None),
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

    #[test]
    fn stored_format_of_canonical_spellings_is_stable() {
        const TWO: &str = r#"{"email_key":"02020202020202020202020202020202","version":1}"#;
        const SIX: &str = r#"{"email_key":"06060606060606060606060606060606","version":1}"#;
        const SEVEN: &str = r#"{"email_key":"07070707070707070707070707070707","version":2}"#;
        let customer = CustomerFacts { canonical_key: Some(Key::from_bytes([6; 16])), ..facts(1) };
        let json = facts_json(true, 1)
            .replace(r#","active""#, r#","canonical_key":"06060606060606060606060606060606","active""#);
        let (claimed, claimed_canonical) = (claim(2, 1), Some(claim(6, 1)));
        is_stored_as(
            &Event::CustomerCreated(CustomerCreated { customer: customer.clone(), claimed, claimed_canonical }),
            &format!(r#"{{"CustomerCreated":{{"customer":{json},"claimed":{TWO},"claimed_canonical":{SIX}}}}}"#),
        );
        is_stored_as(
            &Event::CustomerUpdated(CustomerUpdated {
                customer: customer.clone(),
                claimed: Some(claim(2, 1)),
                freed: None,
                claimed_canonical: Some(claim(6, 1)),
                freed_canonical: Some(claim(7, 2)),
            }),
            &format!(
                r#"{{"CustomerUpdated":{{"customer":{json},"claimed":{TWO},"freed":null,"claimed_canonical":{SIX},"freed_canonical":{SEVEN}}}}}"#
            ),
        );
        is_stored_as(
            &Event::CustomerEmailKeyClaimed(CustomerEmailKeyClaimed { customer, claimed: claim(6, 1) }),
            &format!(r#"{{"CustomerEmailKeyClaimed":{{"customer":{json},"claimed":{SIX}}}}}"#),
        );
    }
}
