//! Where Redis is, and as whom it is asked.

use std::fmt;

use ::redis::{Client, IntoConnectionInfo, RedisResult, TlsCertificates};

/// Where Redis is, and as whom it is asked.
#[derive(Clone, Default)]
pub struct RedisAddress {
    /// `redis://host:port/db`, or `rediss://` for TLS.
    pub url: String,
    /// The user, as Redis' ACL names it; without one the default user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// The certificates on which that of Redis must stand, as PEM; without them one that the system trusts.
    pub ca_pem: Option<Vec<u8>>,
}

impl RedisAddress {
    pub(super) fn client(&self) -> RedisResult<Client> {
        let info = self.url.as_str().into_connection_info()?;
        let mut settings = info.redis_settings().clone();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = info.set_redis_settings(settings);
        match &self.ca_pem {
            Some(ca) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) }),
            None => Client::open(info),
        }
    }
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
