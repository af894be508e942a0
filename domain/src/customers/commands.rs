//! The commands of the customers service, and why they may be rejected.
//!
//! The edge rejects an update without changes, so there is no command for it.

use super::{address::Address, state::Customer};
use orderlog_core::decider::Ref;

use crate::{
    fingerprint,
    values::{CustomerId, Name},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Create {
        /// Minted for this command.
        customer_id: CustomerId,
        name: Name,
        address: Address,
    },
    /// Change the given fields and keep the others. Allowed for inactive customers, whose address may need correction.
    Update { customer_id: CustomerId, name: Option<Name>, address: Option<Address> },
    /// Stop the customer from placing orders.
    Deactivate { customer_id: CustomerId },
    /// Claim the canonical spelling of an address that an earlier version accepted. Not available to callers: the service
    /// issues it for each such customer before it becomes ready.
    ClaimEmailKey {
        customer_id: CustomerId,
        /// The customer's address when the command was issued.
        address: Address,
    },
}

impl Command {
    /// The existing aggregate that the command is about, if any.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Create { .. } => None,
            Self::Update { customer_id, .. }
            | Self::Deactivate { customer_id }
            | Self::ClaimEmailKey { customer_id, .. } => Some(Customer::aggregate(*customer_id)),
        }
    }

    /// Identifies a parsed command, without the id that was minted for it. Contains personal data: hash it with the
    /// deployment's key, never show it.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Create { customer_id: _, name, address } => fingerprint::text(&("create", name, &address.email)),
            Self::Update { customer_id, name, address } => {
                let email = address.as_ref().map(|address| &address.email);
                fingerprint::text(&("update", customer_id, name, email))
            }
            Self::Deactivate { customer_id } => fingerprint::text(&("deactivate", customer_id)),
            Self::ClaimEmailKey { customer_id, address } => {
                fingerprint::text(&("claim_email_key", customer_id, &address.email))
            }
        }
    }
}

/// Why a command was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another customer has this address. The message does not repeat it, since it may end up in a log.
    #[error("the e-mail address belongs to another customer")]
    EmailTaken,
    /// There is no such customer.
    #[error("there is no customer {customer_id}")]
    UnknownCustomer {
        /// The customer in the command.
        customer_id: CustomerId,
    },
    /// Another customer holds the canonical spelling of the address. An operator has to decide who keeps it.
    #[error("customer {held_by} holds another spelling of the e-mail address of customer {customer_id}")]
    EmailKeyTaken { customer_id: CustomerId, held_by: CustomerId },
    /// The customer already holds the canonical spelling, or has a different address now.
    #[error("customer {customer_id} needs no other claim to the e-mail address")]
    NothingToClaim { customer_id: CustomerId },
}
