//! Who asks, and what they may: callers, scopes, keys, tokens.
//!
//! Everything here is values and files; `server/gate.rs` looks at requests. Deliberately absent: passwords, sessions, and a
//! user data base. People sign in somewhere else, and come with a token from there.

mod caller;
mod issuer;
mod keys;
mod ring;
mod scope;
mod signatures;
mod tokens;

pub use caller::{Caller, OPERATOR};
pub use issuer::{IssuerError, KeySource, is_url};
pub use keys::{KeyFile, KeyFileError, KeyRecord, NewKey, Token};
pub use ring::KeyRing;
pub use scope::{Scope, Scopes};
pub use tokens::{TokenError, Tokens};
