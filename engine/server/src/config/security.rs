//! Security options: keys, tokens, TLS, host names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use orderlog_http::{
    auth::{IssuerError, KeyFile, KeySource, Scopes, Token, Tokens},
    tls::{Identity, TlsError},
};

use super::{CALLERS, OTHERS, oidc::Oidc, secret::Untold};

/// What is not demanded, though others than this machine are listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Insecure {
    /// Anyone may do anything, as long as there are no keys.
    NoKeys,
    /// Keys and responses are sent in plain text: for when something else adds TLS.
    NoTls,
}

/// Whom to believe where something is asked over `https://`.
#[derive(Args, Clone, Debug, Default)]
pub struct Trust {
    /// CA certificates for verifying others over https://, as PEM. Default: those that the system trusts
    #[arg(long, help_heading = CALLERS, env = "ORDERLOG_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Who may ask, and over what.
#[derive(Args, Clone, Debug, Default)]
pub struct Security {
    /// The key file, made by `key create`; reloaded when it changes. Default: keys.json in the data folder
    #[arg(long, help_heading = CALLERS, env = "ORDERLOG_KEYS", value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// Create a key for operators, with every scope, at the first start, if there are no keys yet, and write it to this
    /// file, which only the user of the process can read
    #[arg(long, help_heading = CALLERS, env = "ORDERLOG_OPERATOR_KEY_FILE", value_name = "FILE")]
    pub operator_key_file: Option<PathBuf>,

    /// Allow listening to other machines without keys, without TLS, or both; refused otherwise
    #[arg(
        long, help_heading = CALLERS,
        env = "ORDERLOG_INSECURE",
        value_name = "WHAT",
        value_enum,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "no-keys,no-tls"
    )]
    pub insecure: Vec<Insecure>,

    /// Another host name to accept for this server, such as shop.example: from pages of that host, and from anyone
    /// where no key is needed. May be repeated. Always accepted: localhost, IP addresses, the hosts of
    /// --advertised-url and the URLs of services
    #[arg(long = "allowed-host", help_heading = CALLERS, env = "ORDERLOG_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',', value_parser = host_name)]
    pub allowed_hosts: Vec<String>,

    /// This server's certificate and its chain, as PEM; the server then speaks TLS only. Reloaded when it changes
    #[arg(long, help_heading = CALLERS, env = "ORDERLOG_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of that certificate, as PEM
    #[arg(long, help_heading = CALLERS, env = "ORDERLOG_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Whom to believe.
    #[command(flatten)]
    pub trust: Trust,

    /// Whose tokens are taken.
    #[command(flatten)]
    pub oidc: Oidc,

    /// The key for calling the other services; needed if they run in other processes and require one
    #[arg(
        long,
        help_heading = OTHERS,
        env = "ORDERLOG_PEER_KEY",
        value_name = "SECRET",
        hide_env_values = true,
        value_parser = Untold(token),
        conflicts_with = "peer_key_file"
    )]
    pub peer_key: Option<Token>,

    /// A file that contains the key
    #[arg(long, help_heading = OTHERS, env = "ORDERLOG_PEER_KEY_FILE", value_name = "FILE")]
    pub peer_key_file: Option<PathBuf>,
}

fn token(text: &str) -> Result<Token, String> {
    // Without the value: it may be another secret.
    text.trim().parse().map_err(|()| format!("it is no key: keys begin with `{}`", Token::PREFIX))
}

/// Normalizes a host name: lower case, without a trailing dot.
///
/// # Errors
/// If it is not a host name, for example because it has a port or a scheme.
pub fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() <= 253 && name.split('.').all(fits) {
        return Ok(name.to_ascii_lowercase());
    }
    Err("it is not the name of a host, such as shop.example, without scheme and port".to_owned())
}

/// Reads the key in a file.
pub fn token_in(file: &Path) -> io::Result<Token> {
    token(&fs::read_to_string(file)?).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

impl Security {
    /// The key file of the process on this data folder; `scopes` are those that its keys may have.
    pub fn key_file(&self, data: &Path, scopes: Scopes) -> KeyFile {
        KeyFile::new(self.keys.clone().unwrap_or_else(|| data.join("keys.json")), scopes)
    }

    /// Whether `--insecure` allows this.
    pub fn goes_without(&self, what: Insecure) -> bool {
        self.insecure.contains(&what)
    }

    /// The certificate and key of this server, if it uses TLS.
    pub fn identity(&self) -> Result<Option<Identity>, TlsError> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        files.map(|(cert, key)| Identity::open(cert, key)).transpose()
    }

    /// The verifier of the issuer's tokens, if an issuer is configured.
    pub fn tokens(&self, scopes: Scopes) -> Result<Option<Tokens>, IssuerError> {
        let Oidc { oidc_issuer, oidc_audience, oidc_jwks, oidc_customer_claim } = self.oidc.clone();
        let (Some(issuer), Some(audience), Some(jwks)) = (oidc_issuer, oidc_audience, oidc_jwks) else {
            return Ok(None);
        };
        let keys = KeySource::open(&jwks, self.trust.ca.as_deref())?;
        Ok(Some(Tokens::new(keys, issuer, audience, oidc_customer_claim, scopes)))
    }

    /// The key for calling other services, if there is one.
    pub fn peer_key(&self) -> io::Result<Option<Token>> {
        match &self.peer_key_file {
            Some(file) => token_in(file).map(Some),
            None => Ok(self.peer_key.clone()),
        }
    }
}
