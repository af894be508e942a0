//! OpenID Connect: whose tokens are accepted.

use clap::Args;
use orderlog_http::auth::is_url;

use super::{OIDC, secret::Untold};

/// A file or a URL. A misspelled URL is rejected, since it would be taken for a file.
fn place(text: &str) -> Result<String, String> {
    if is_url(text) || !text.contains("://") {
        Ok(text.to_owned())
    } else {
        Err("it must be a file, or begin with https:// or http://".to_owned())
    }
}

/// Whose tokens are taken.
#[derive(Args, Clone, Debug, Default)]
pub struct Oidc {
    /// Accept tokens (JWT) of this issuer as well as keys; their claim `iss` must have this value
    #[arg(long, help_heading = OIDC, env = "ORDERLOG_OIDC_ISSUER", value_name = "URL", requires_all = ["oidc_audience", "oidc_jwks"])]
    pub oidc_issuer: Option<String>,

    /// The value that their claim `aud` must be or contain
    #[arg(long, help_heading = OIDC, env = "ORDERLOG_OIDC_AUDIENCE", value_name = "NAME", requires = "oidc_issuer")]
    pub oidc_audience: Option<String>,

    /// The issuer's keys (a JWKS): a file, reloaded when it changes, or a URL, fetched again every five minutes and
    /// when a token names a new key
    #[arg(long, help_heading = OIDC, env = "ORDERLOG_OIDC_JWKS", value_name = "FILE|URL", requires = "oidc_issuer", hide_env_values = true, value_parser = Untold(place))]
    pub oidc_jwks: Option<String>,

    /// The claim with the id of the customer that a caller acts as. A token without it is not bound to a customer, and
    /// only its scopes limit it. Without this option, that holds for all tokens
    #[arg(long, help_heading = OIDC, env = "ORDERLOG_OIDC_CUSTOMER_CLAIM", value_name = "NAME", requires = "oidc_issuer")]
    pub oidc_customer_claim: Option<String>,
}

impl Oidc {
    /// Whether an attacker on the network could replace the issuer's keys.
    pub fn is_forgeable(&self) -> bool {
        let Some(place) = self.oidc_jwks.as_deref().filter(|place| is_url(place)) else { return false };
        let Ok(url) = reqwest::Url::parse(place) else { return true };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        url.scheme() != "https" && !is_here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_an_issuer_come_over_tls_or_from_this_machine() {
        let is_forgeable = |place: &str| Oidc { oidc_jwks: Some(place.to_owned()), ..Oidc::default() }.is_forgeable();
        for safe in [
            "https://id.example/jwks",
            "http://127.0.0.1:1/jwks",
            "http://localhost/",
            "http://[::1]:80/x",
            "http://[::ffff:127.0.0.1]:80/x",
            "jwks.json",
        ] {
            assert!(!is_forgeable(safe), "{safe}");
        }
        for other in [
            "http://id.example/jwks",
            "http://localhost.example:80/",
            "http://localhost@id.example/",
            "http://127.0.0.1:80@id.example/",
            "http://",
        ] {
            assert!(is_forgeable(other), "{other}");
        }
    }
}
