//! What can be asked of the customers service, and why it may be refused.
//!
//! Absent: an update that gives nothing. It is no command; the edge refuses it.

use super::state::Customer;
use crate::{
    decider::Ref,
    fingerprint,
    key::Key,
    values::{CustomerId, Email, Name},
};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Welcome a customer.
    Create {
        /// Minted for this command.
        customer_id: CustomerId,
        /// What to call them.
        name: Name,
        /// Their address, as they wrote it.
        email: Email,
        /// The keyed hash of the folded address.
        email_key: Key,
    },
    /// Change what is given, keep the rest. Also of an inactive customer: one must be able to correct an address.
    Update {
        /// Who.
        customer_id: CustomerId,
        /// The new name.
        name: Option<Name>,
        /// The new address, and the keyed hash of its folded form.
        email: Option<(Email, Key)>,
    },
    /// No more orders from this customer.
    Deactivate {
        /// Who.
        customer_id: CustomerId,
    },
}

impl Command {
    /// The aggregate that it is about, if that exists before.
    pub fn target(&self) -> Option<Ref> {
        match self {
            Self::Create { .. } => None,
            Self::Update { customer_id, .. } | Self::Deactivate { customer_id } => {
                Some(Customer::aggregate(*customer_id))
            }
        }
    }

    /// What tells two parsed commands apart, without the id that was minted for this one. It holds personal data: it is to
    /// be hashed under the deployment's key, never shown.
    pub fn fingerprint_text(&self) -> String {
        match self {
            Self::Create { customer_id: _, name, email, email_key: _ } => fingerprint::text(&("create", name, email)),
            Self::Update { customer_id, name, email } => {
                let email = email.as_ref().map(|(email, _)| email);
                fingerprint::text(&("update", customer_id, name, email))
            }
            Self::Deactivate { customer_id } => fingerprint::text(&("deactivate", customer_id)),
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
}
