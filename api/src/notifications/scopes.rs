//! The scopes of operations on notifications.

use orderlog_http::auth::Scope;

pub const READ: Scope = Scope::new("notifications:read");
/// Notify, and mark notifications as read.
pub const WRITE: Scope = Scope::new("notifications:write");
