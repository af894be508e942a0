//! The scopes of operations on notifications.

use orderlog_http::auth::Scope;

/// See notifications.
pub const READ: Scope = Scope::new("notifications:read");
/// Notify, and mark notifications as read.
pub const WRITE: Scope = Scope::new("notifications:write");

/// All of these.
pub const ALL: &[Scope] = &[READ, WRITE];
