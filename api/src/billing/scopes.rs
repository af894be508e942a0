//! The scopes of operations on invoices.

use orderlog_http::auth::Scope;

pub const READ: Scope = Scope::new("billing:read");
pub const WRITE: Scope = Scope::new("billing:write");
pub const REFUND: Scope = Scope::new("billing:refund");
