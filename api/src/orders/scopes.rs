//! The scopes of operations on orders.

use orderlog_http::auth::Scope;

pub const READ: Scope = Scope::new("orders:read");
/// Place, cancel and fulfil orders.
pub const WRITE: Scope = Scope::new("orders:write");
/// Set the prices of the order that is placed.
pub const PRICE: Scope = Scope::new("orders:price");
