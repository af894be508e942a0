//! Authentication and authorization: callers, scopes, keys and tokens.
//!
//! This module only has values and files; `server/gate.rs` handles requests. There are no passwords, sessions or user database:
//! people sign in with an identity provider and bring a token.

mod caller;
mod issuer;
mod keys;
mod ring;
mod scope;
mod signatures;
mod tokens;

pub use caller::{Caller, OPERATOR};
pub use issuer::{IssuerError, KeySource, is_url};
pub use keys::{KeyFile, KeyFileError, KeyRecord, NewKey, Token, When};
pub use ring::KeyRing;
pub use scope::{Scope, Scopes};
pub use tokens::{TokenError, Tokens};
