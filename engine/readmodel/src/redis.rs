//! The address and credentials of a read model in Redis. Services that have one make the connection.

use std::fmt;

#[derive(Clone, Default)]
pub struct RedisAddress {
    /// `redis://host:port/db`, or `rediss://` for TLS.
    pub url: String,
    /// The user in Redis' ACL. `None` is the default user.
    pub user: Option<String>,
    pub password: Option<String>,
    /// CA certificates in PEM format that Redis' certificate must chain to. `None` uses the system's trust store.
    pub ca_pem: Option<Vec<u8>>,
}

impl From<String> for RedisAddress {
    fn from(url: String) -> Self {
        Self { url, ..Self::default() }
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may contain a password too.
        f.debug_struct("RedisAddress").field("user", &self.user).finish_non_exhaustive()
    }
}
