//! What callers may do: one scope per group of operations.

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
