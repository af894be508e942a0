//! TLS with rustls: the certificate of this process, and the certificates that it trusts.
//!
//! Certificates and keys are PEM files. Client certificates are not supported, since callers have keys. Certificates are not obtained
//! here: an external tool replaces the files, and they are reloaded.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    },
};

use crate::watched::{Mark, mark};

/// The minimum interval between two checks of the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the {what} in {} can't be read", file.display())]
    Unreadable {
        /// The expected contents.
        what: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    #[error("there is no {what} in {}: it must be PEM ({why})", file.display())]
    Missing {
        /// The expected contents.
        what: &'static str,
        file: PathBuf,
        /// The parser's error.
        why: String,
    },
    #[error("the certificate in {} and the key in {} can't be used", cert.display(), key.display())]
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        /// The cause, for example that they belong to different keys.
        source: rustls::Error,
    },
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
}

/// A server's certificate and key.
pub struct Identity {
    cert: PathBuf,
    key: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    looked: Instant,
    marks: [Mark; 2],
    acceptor: TlsAcceptor,
}

impl Identity {
    /// Loads the certificate chain and its key.
    pub fn open(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let marks = [mark(&cert), mark(&key)];
        let acceptor = read(&cert, &key)?;
        Ok(Self { cert, key, known: Mutex::new(Known { looked: Instant::now(), marks, acceptor }) })
    }

    /// Returns the acceptor for the next connection, reloading the files if they have changed and are valid.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() >= LOOK_EVERY {
            known.looked = Instant::now();
            self.look(&mut known);
        }
        known.acceptor.clone()
    }

    fn look(&self, known: &mut Known) {
        let marks = [mark(&self.cert), mark(&self.key)];
        if marks == known.marks {
            return;
        }
        match read(&self.cert, &self.key) {
            Ok(acceptor) => {
                tracing::info!("the certificate in {} has changed and was read again", self.cert.display());
                (known.acceptor, known.marks) = (acceptor, marks);
            }
            // The other file may be replaced a moment later, so this is retried.
            Err(error) => {
                let why = anyhow::Error::from(error);
                tracing::warn!("a new certificate can't be used, and that of before is used on: {why:#}");
            }
        }
    }
}

fn read(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes("key", key)?).map_err(|error| missing("key", key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, secret));
    let mut config =
        config.map_err(|source| TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Makes all TLS in this process use ring.
pub fn prepare() {
    // An earlier call has installed the same provider.
    drop(CryptoProvider::install_default(ring::default_provider()));
}

/// Reads a file of certificates unchanged.
pub fn pem(file: &Path) -> Result<Vec<u8>, TlsError> {
    certificates(file)?;
    bytes("certificate", file)
}

/// Parses all certificates in a file; at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = bytes("certificate", file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| missing("certificate", file, &error))?;
    if all.is_empty() { Err(missing("certificate", file, &pem::Error::NoItemsFound)) } else { Ok(all) }
}

fn bytes(what: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Unreadable { what, file: file.to_owned(), source })
}

fn missing(what: &'static str, file: &Path, error: &pem::Error) -> TlsError {
    TlsError::Missing { what, file: file.to_owned(), why: error.to_string() }
}

/// Returns the common configuration of this program's HTTP clients, for these URLs. `https://` servers are trusted if their certificate
/// is signed by one in `ca`; without that file, by one that the system trusts.
pub fn client<'a>(
    ca: Option<&Path>,
    urls: impl IntoIterator<Item = &'a str>,
) -> Result<reqwest::ClientBuilder, TlsError> {
    prepare();
    let builder = reqwest::Client::builder().no_proxy();
    let is_plain = urls.into_iter().all(|url| !url.starts_with("https://"));
    match ca {
        // Otherwise systems without any certificates could not create a client.
        _ if is_plain => Ok(builder.tls_certs_only([])),
        None => Ok(builder),
        Some(ca) => {
            let trusted: Result<Vec<_>, _> =
                certificates(ca)?.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
            Ok(builder.tls_certs_only(trusted?))
        }
    }
}
