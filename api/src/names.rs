//! The services by name, and as groups of operations.

use std::fmt;

use poem_openapi::Tags;

use crate::{
    billing, customers, inventory, notifications, orders,
    problem::{self, Code},
    values,
};

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum ServiceName {
    /// Who customers are.
    Customers,
    /// What they order.
    Orders,
    /// What there is.
    Inventory,
    /// What is paid.
    Billing,
    /// What people are told.
    Notifications,
}

impl ServiceName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Customers, Self::Orders, Self::Inventory, Self::Billing, Self::Notifications];

    /// The name, which is also that of the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Billing => "billing",
            Self::Notifications => "notifications",
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The services as groups of operations.
#[derive(Tags)]
pub enum Tag {
    /// Who customers are, and whether they may place orders.
    #[oai(rename = "customers")]
    Customers,
    /// What customers order, whether it can be supplied, and whether it is paid.
    #[oai(rename = "orders")]
    Orders,
    /// What there is of each SKU, and what is set aside.
    #[oai(rename = "inventory")]
    Inventory,
    /// What is due, paid and refunded for each order.
    #[oai(rename = "billing")]
    Billing,
    /// What people are told, and whether they have read it.
    #[oai(rename = "notifications")]
    Notifications,
}

/// The codes of all problems: those of the HTTP layer, of each service, and of values that services share.
pub fn codes() -> impl Iterator<Item = Code> {
    let of_services = [
        customers::codes::ALL,
        orders::codes::ALL,
        inventory::codes::ALL,
        billing::codes::ALL,
        notifications::codes::ALL,
    ];
    [problem::codes::ALL].into_iter().chain(of_services).chain([values::codes::ALL]).flatten().copied()
}
