//! The public events of the customers service.
//!
//! ## Storage format: these names and fields are a contract
//! See [`orderlog_core::public`].

use orderlog_core::{decider::Decider, public_events, schema::Schema};
use serde::{Deserialize, Serialize};

use super::Customers;
use crate::values::CustomerId;

public_events! {
    /// The public events of the customers service.
    pub enum Published by Customers::JOURNAL {
        /// A customer was created.
        Created(CustomerChanged) = "customer.created", customer_id;
        /// A customer was changed or deactivated.
        Updated(CustomerChanged) = "customer.updated", customer_id;
    }
}

/// `customer.created` and `customer.updated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct CustomerChanged {
    /// The customer's id. Names and addresses stay in the customers service.
    pub customer_id: CustomerId,
    /// Whether the customer may place orders.
    pub active: bool,
    pub version: u64,
}
