//! TLS by rustls: how this process shows who it is, and whom it believes others to be.
//!
//! Certificates and keys are PEM files. Deliberately absent: certificates of callers (they have keys), and anything that gets
//! certificates: whatever renews them puts new files in place of the old ones, and they are read again.

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

/// How often at most the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("the {what} in {} can't be read", file.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    /// A file has something else in it.
    #[error("there is no {what} in {}: it must be PEM ({why})", file.display())]
    Missing {
        /// What should be in it.
        what: &'static str,
        file: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// They can't be used together.
    #[error("the certificate in {} and the key in {} can't be used", cert.display(), key.display())]
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        /// Why: they belong to different keys, for one.
        source: rustls::Error,
    },
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
}

/// What a server shows of itself.
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
    /// The certificate, with those that it stands on, and its key.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn open(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let marks = [mark(&cert), mark(&key)];
        let acceptor = read(&cert, &key)?;
        Ok(Self { cert, key, known: Mutex::new(Known { looked: Instant::now(), marks, acceptor }) })
    }

    /// For the next connection: as the files are now, if they are good.
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
            // One of both may come a moment later: it is tried again.
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

/// Have all of this process that speaks TLS do so by ring.
pub fn prepare() {
    // Whoever was first has installed the same one.
    drop(CryptoProvider::install_default(ring::default_provider()));
}

/// A file of certificates, as it is.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn pem(file: &Path) -> Result<Vec<u8>, TlsError> {
    certificates(file)?;
    bytes("certificate", file)
}

/// All certificates in a file; at least one.
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

/// What HTTP clients of this program have in common, for these URLs. `https://` is believed if its certificate stands on one in
/// `ca`; without that file, on one that the system trusts.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn client<'a>(
    ca: Option<&Path>,
    urls: impl IntoIterator<Item = &'a str>,
) -> Result<reqwest::ClientBuilder, TlsError> {
    prepare();
    let builder = reqwest::Client::builder().no_proxy();
    let is_plain = urls.into_iter().all(|url| !url.starts_with("https://"));
    match ca {
        // Systems without any certificates have no client else.
        _ if is_plain => Ok(builder.tls_certs_only([])),
        None => Ok(builder),
        Some(ca) => {
            let trusted: Result<Vec<_>, _> =
                certificates(ca)?.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
            Ok(builder.tls_certs_only(trusted?))
        }
    }
}
