//! Who asks, and what they may: callers, scopes, keys.
//!
//! Everything here is values and files; `server/gate.rs` looks at requests. Deliberately absent: passwords, sessions, and a
//! user data base. People sign in somewhere else.

mod caller;
mod keys;
mod ring;
mod scope;

pub use caller::{Caller, OPERATOR};
pub use keys::{KeyFile, KeyFileError, KeyRecord, NewKey, Token};
pub use ring::KeyRing;
pub use scope::{OPERATIONS, Rule, Scope, ToCustomers, rule_of, scopes_of};
