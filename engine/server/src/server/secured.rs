//! Builds the gate of a process, and rejects insecure settings at the start.

use std::{io, net::SocketAddr, path::PathBuf};

use orderlog_core::words;
use orderlog_http::auth::{IssuerError, KeyFileError, KeyRing, NewKey, Scopes, Token, When};

use super::{
    gate::{Gate, Open},
    hosts::Hosts,
};
use crate::config::{Insecure, Options};

/// Why a process is not secure enough to start.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// Other machines could connect, but no keys or tokens distinguish callers.
    #[error(
        "{addr} is reached by other machines, and there are no keys in {}: make one with `{} key create`, take tokens \
         (--oidc-issuer), listen on a loopback address, or say --insecure=no-keys to let everybody do everything",
        keys.display(), words::program()
    )]
    NoKeys {
        addr: SocketAddr,
        /// The key file that was looked for.
        keys: PathBuf,
    },
    /// Keys would be sent unencrypted.
    #[error(
        "{addr} is reached by other machines, and keys would go there unencrypted: give a certificate (--tls-cert, --tls-key), \
         listen on a loopback address behind something that adds TLS, or say --insecure=no-tls if the network between is your own"
    )]
    NoTls {
        /// The listening address.
        addr: SocketAddr,
    },
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The issuer's keys can't be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// An attacker on the network could replace the issuer's keys.
    #[error(
        "the issuer's keys (--oidc-jwks) would come unencrypted, so that anybody on the way could give others: use https://, a file, or \
         say --insecure=no-tls if the network between is your own"
    )]
    Forgeable,
    /// The key for calling the other services.
    #[error("the key for the other services can't be read")]
    PeerKey(#[source] io::Error),
}

/// The name of the key that `--operator-key-file` creates.
const OPERATOR_KEY: &str = "operator";

/// Builds the gate of a process that listens on `addr`.
pub fn gate(addr: SocketAddr, options: &Options, scopes: &Scopes) -> Result<Gate, SecureError> {
    let security = &options.security;
    let keys = security.key_file(&options.storage.data, scopes.clone());
    let path = keys.path().to_owned();
    let ring = KeyRing::open(keys)?;
    if security.oidc.is_forgeable() && !security.goes_without(Insecure::NoTls) {
        return Err(SecureError::Forgeable);
    }
    let tokens = security.tokens(scopes.clone())?;
    let open = if addr.ip().is_loopback() {
        Open::Local
    } else if security.goes_without(Insecure::NoKeys) {
        Open::Everybody
    } else {
        Open::Nobody
    };
    let are_told_apart = ring.is_there() || tokens.is_some() || security.operator_key_file.is_some();
    if open == Open::Nobody && !are_told_apart {
        return Err(SecureError::NoKeys { addr, keys: path });
    }
    if !addr.ip().is_loopback() && security.tls_cert.is_none() && !security.goes_without(Insecure::NoTls) {
        return Err(SecureError::NoTls { addr });
    }
    if open == Open::Everybody && !are_told_apart {
        tracing::warn!(%addr, "there are no keys: everybody who reaches {addr} can do everything");
    }
    let peer = security.peer_key().map_err(SecureError::PeerKey)?;
    let demo = options.demo.is_some().then(Token::of_process);
    let counts_own = options.limits.rate_limit.is_some();
    let (process, hosts) = (Token::of_process(), Hosts::of(options));
    Ok(Gate { ring, tokens, process, demo, peer, open, hosts, counts_own })
}

/// Creates the key that `--operator-key-file` asks for, if there are no keys yet. Before the gate is built, which would be open
/// without it.
///
/// # Errors
/// [`KeyFileError`] if it can't be created.
pub fn create_operator_key(options: &Options, scopes: &Scopes) -> Result<(), KeyFileError> {
    let Some(file) = &options.security.operator_key_file else { return Ok(()) };
    let keys = options.security.key_file(&options.storage.data, scopes.clone());
    let all = scopes.meant_by("*").expect("operators have scopes");
    let new = NewKey { name: OPERATOR_KEY.to_owned(), scopes: all, owner: None, expires: None };
    if keys.create_in(new, |_| true, file, When::NoKeysYet)?.is_some() {
        tracing::info!("there were no keys: one with every scope is now in {}", file.display());
    }
    Ok(())
}
