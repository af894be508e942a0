//! What callers may do: one scope per group of operations, and the table that says which operation needs which.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident $name:literal),+ $(,)?) => {
        /// What a caller may do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Scope {
            $($(#[$doc])* #[serde(rename = $name)] $scope),+
        }

        impl Scope {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$scope),+];

            /// As keys and tokens name it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$scope => $name),+
                }
            }
        }
    };
}

scopes!(
    /// See customers.
    CustomersRead "customers:read",
    /// Create and change customers.
    CustomersWrite "customers:write",
    /// See orders.
    OrdersRead "orders:read",
    /// Place, cancel and fulfil orders.
    OrdersWrite "orders:write",
    /// Name the prices of the order that is placed.
    OrdersPrice "orders:price",
    /// See stock, its movements, and reservations.
    StockRead "stock:read",
    /// Receive and correct stock, set thresholds.
    StockAdjust "stock:adjust",
    /// Reserve stock, and release it.
    StockReserve "stock:reserve",
    /// See invoices.
    BillingRead "billing:read",
    /// Record payments.
    BillingWrite "billing:write",
    /// Give money back.
    BillingRefund "billing:refund",
    /// See notifications.
    NotificationsRead "notifications:read",
    /// Notify, and mark notifications as read.
    NotificationsWrite "notifications:write",
    /// See how rows stand, and read the log.
    AdminRead "admin:read",
    /// Rebuild rows, and copy them.
    AdminRebuild "admin:rebuild",
);

impl Scope {
    /// Whether `*` and `orders:*` stand for this scope, too. A program that does not know a scope rejects a whole file of keys
    /// with it, so a new one is written only for who asks for it by name.
    const fn is_in_groups(self) -> bool {
        !matches!(self, Self::OrdersPrice)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|scope| scope.as_str()).collect();
            format!("there is no scope `{text}`; there are: {}", all.join(", "))
        })
    }
}

/// The scopes that `text` stands for: one, all of a group (`orders:*`), or all (`*`). Those of today: what is added later is
/// not among them, nor is a scope that older programs do not know.
///
/// # Errors
/// Which there are.
pub fn scopes_of(text: &str) -> Result<BTreeSet<Scope>, String> {
    let Some(group) = text.strip_suffix('*') else { return text.parse().map(|scope| BTreeSet::from([scope])) };
    let is_meant = |scope: &Scope| scope.is_in_groups() && scope.as_str().starts_with(group);
    let found: BTreeSet<Scope> = Scope::ALL.iter().copied().filter(is_meant).collect();
    // `o*` is a slip of the pen.
    if found.is_empty() || !(group.is_empty() || group.ends_with(':')) {
        text.parse().map(|scope| [scope].into())
    } else {
        Ok(found)
    }
}

/// What an operation is to a caller that is bound to a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToCustomers {
    /// They may, on what is theirs; the rest is not there for them.
    Own,
    /// They may, and see what everybody sees.
    Shared,
    /// It is not for them, whatever their scopes.
    Refused,
}

/// What an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operation's id in the OpenAPI document.
    pub operation_id: &'static str,
    /// The scope.
    pub scope: Scope,
    /// Whether customers may.
    pub to_customers: ToCustomers,
}

const fn rule(operation_id: &'static str, scope: Scope, to_customers: ToCustomers) -> Rule {
    Rule { operation_id, scope, to_customers }
}

/// What each operation needs. The published `security` is written from this, the gate goes by it, and a test wants to see
/// every operation here.
pub const OPERATIONS: &[Rule] = &[
    rule("create_customer", Scope::CustomersWrite, ToCustomers::Refused),
    rule("update_customer", Scope::CustomersWrite, ToCustomers::Own),
    rule("deactivate_customer", Scope::CustomersWrite, ToCustomers::Own),
    rule("get_customer", Scope::CustomersRead, ToCustomers::Own),
    rule("list_customers", Scope::CustomersRead, ToCustomers::Own),
    rule("list_customer_orders", Scope::OrdersRead, ToCustomers::Own),
    rule("place_order", Scope::OrdersWrite, ToCustomers::Own),
    rule("cancel_order", Scope::OrdersWrite, ToCustomers::Own),
    rule("fulfil_order", Scope::OrdersWrite, ToCustomers::Refused),
    rule("get_order", Scope::OrdersRead, ToCustomers::Own),
    rule("list_orders", Scope::OrdersRead, ToCustomers::Own),
    rule("get_order_history", Scope::OrdersRead, ToCustomers::Own),
    rule("receive_stock", Scope::StockAdjust, ToCustomers::Refused),
    rule("adjust_stock", Scope::StockAdjust, ToCustomers::Refused),
    rule("set_low_stock_threshold", Scope::StockAdjust, ToCustomers::Refused),
    rule("reserve_stock", Scope::StockReserve, ToCustomers::Refused),
    rule("release_reservation", Scope::StockReserve, ToCustomers::Refused),
    // Names of reservations are their callers' own, and movements name the orders of others.
    rule("get_reservation", Scope::StockRead, ToCustomers::Refused),
    rule("list_stock_movements", Scope::StockRead, ToCustomers::Refused),
    rule("get_stock", Scope::StockRead, ToCustomers::Shared),
    rule("list_stock", Scope::StockRead, ToCustomers::Shared),
    rule("record_payment", Scope::BillingWrite, ToCustomers::Refused),
    rule("refund_order", Scope::BillingRefund, ToCustomers::Refused),
    rule("get_invoice", Scope::BillingRead, ToCustomers::Own),
    rule("list_invoices", Scope::BillingRead, ToCustomers::Own),
    rule("notify", Scope::NotificationsWrite, ToCustomers::Refused),
    rule("read_notification", Scope::NotificationsWrite, ToCustomers::Own),
    rule("list_notifications", Scope::NotificationsRead, ToCustomers::Own),
    rule("stream_notifications", Scope::NotificationsRead, ToCustomers::Own),
];

/// What an operation needs, if it is in the table.
pub fn rule_of(operation_id: &str) -> Option<&'static Rule> {
    OPERATIONS.iter().find(|rule| rule.operation_id == operation_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named_one_by_one_or_by_group() {
        assert_eq!(scopes_of("stock:read"), Ok([Scope::StockRead].into()));
        assert_eq!(scopes_of("orders:*"), Ok([Scope::OrdersRead, Scope::OrdersWrite].into()));
        for wrong in ["", "orders", "o*", "orders*", "shipping:*", "orders:delete", "orders:p*"] {
            assert!(scopes_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scope_that_older_programs_do_not_know_is_only_given_by_name() {
        let all = scopes_of("*").unwrap();
        assert_eq!(all.len(), Scope::ALL.len() - 1);
        assert!(!all.contains(&Scope::OrdersPrice));
        assert_eq!(scopes_of("orders:price"), Ok([Scope::OrdersPrice].into()));
    }
}
