//! What can be asked of the customers service, and why it may be refused.
//!
//! Absent: an update that gives nothing. It is no command; the edge refuses it.

use super::{address::Address, state::Customer};
use orderlog_core::decider::Ref;

use crate::{
    fingerprint,
    values::{CustomerId, Name},
};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Create {
        /// Minted for this command.
        customer_id: CustomerId,
        /// What to call them.
        name: Name,
        address: Address,
    },
    /// Change what is given, keep the rest. Also of an inactive customer: one must be able to correct an address.
    Update { customer_id: CustomerId, name: Option<Name>, address: Option<Address> },
    /// No more orders from this customer.
    Deactivate { customer_id: CustomerId },
    /// Claim the canonical spelling of an address that an earlier version accepted. No caller asks for it: the service does, for
    /// each such customer, before it is ready.
    ClaimEmailKey {
        customer_id: CustomerId,
        /// The address that the customer had when this was asked.
        address: Address,
    },
}

impl Command {
    /// The aggregate that it is about, if that exists before.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Create { .. } => None,
            Self::Update { customer_id, .. }
            | Self::Deactivate { customer_id }
            | Self::ClaimEmailKey { customer_id, .. } => Some(Customer::aggregate(*customer_id)),
        }
    }

    /// What tells two parsed commands apart, without the id that was minted for this one. It holds personal data: it is to
    /// be hashed under the deployment's key, never shown.
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

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another customer has this address. It is not repeated: the sentence may end up in a log.
    #[error("the e-mail address belongs to another customer")]
    EmailTaken,
    /// There is no such customer.
    #[error("there is no customer {customer_id}")]
    UnknownCustomer {
        /// Who was asked for.
        customer_id: CustomerId,
    },
    /// Another customer holds the canonical spelling of the address: an operator has to settle who keeps it.
    #[error("customer {held_by} holds another spelling of the e-mail address of customer {customer_id}")]
    EmailKeyTaken { customer_id: CustomerId, held_by: CustomerId },
    /// The customer holds the canonical spelling, or has another address by now.
    #[error("customer {customer_id} needs no other claim to the e-mail address")]
    NothingToClaim { customer_id: CustomerId },
}
