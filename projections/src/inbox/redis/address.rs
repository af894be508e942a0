//! Connects to Redis.

use ::redis::{Client, IntoConnectionInfo, RedisResult, TlsCertificates};
use orderlog_readmodel::RedisAddress;

/// Creates a client of this Redis, without connecting.
pub(super) fn client(address: &RedisAddress) -> RedisResult<Client> {
    let info = address.url.as_str().into_connection_info()?;
    let mut settings = info.redis_settings().clone();
    if let Some(user) = &address.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &address.password {
        settings = settings.set_password(password);
    }
    let info = info.set_redis_settings(settings);
    match &address.ca_pem {
        Some(ca) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) }),
        None => Client::open(info),
    }
}
