//! Where a read model in Redis is kept, and as whom it is asked. The connection is made by those who keep one.

use std::fmt;

/// Where Redis is, and as whom it is asked.
#[derive(Clone, Default)]
pub struct RedisAddress {
    /// `redis://host:port/db`, or `rediss://` for TLS.
    pub url: String,
    /// The user, as Redis' ACL names it; without one the default user.
    pub user: Option<String>,
    pub password: Option<String>,
    /// The certificates on which that of Redis must stand, as PEM; without them one that the system trusts.
    pub ca_pem: Option<Vec<u8>>,
}

impl From<String> for RedisAddress {
    fn from(url: String) -> Self {
        Self { url, ..Self::default() }
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password too.
        f.debug_struct("RedisAddress").field("user", &self.user).finish_non_exhaustive()
    }
}
