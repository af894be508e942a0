//! The scopes of operations on customers.

use orderlog_http::auth::Scope;

pub const READ: Scope = Scope::new("customers:read");
/// Create and change customers.
pub const WRITE: Scope = Scope::new("customers:write");
