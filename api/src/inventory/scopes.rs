//! The scopes of operations on stock.

use orderlog_http::auth::Scope;

/// See stock, its movements, and reservations.
pub const READ: Scope = Scope::new("stock:read");
/// Receive and correct stock, set thresholds.
pub const ADJUST: Scope = Scope::new("stock:adjust");
/// Reserve stock, and release it.
pub const RESERVE: Scope = Scope::new("stock:reserve");
