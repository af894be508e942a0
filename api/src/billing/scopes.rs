//! The scopes of operations on invoices.

use orderlog_http::auth::Scope;

/// See invoices.
pub const READ: Scope = Scope::new("billing:read");
/// Record payments.
pub const WRITE: Scope = Scope::new("billing:write");
/// Refund payments.
pub const REFUND: Scope = Scope::new("billing:refund");

/// All of these.
pub const ALL: &[Scope] = &[READ, WRITE, REFUND];
