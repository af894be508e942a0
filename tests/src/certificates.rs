//! Certificates, as somebody's own authority issues them.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If it can't be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A new certificate for this machine, and its key.
    ///
    /// # Panics
    /// If it can't be made.
    pub fn issue(&self) -> (String, String) {
        let own = KeyPair::generate().expect("a key");
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("names");
        // Another one than the authority's: to OpenSSL it had signed itself else.
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let cert = params.signed_by(&own, &self.0).expect("a certificate");
        (cert.pem(), own.serialize_pem())
    }

    /// The same, at these places.
    ///
    /// # Panics
    /// If they can't be written.
    pub fn issue_at(&self, cert: &Path, key: &Path) {
        let (own, secret) = self.issue();
        put(key, &secret);
        put(cert, &own);
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// As whatever renews certificates does it: a reader sees the old file or the new one.
///
/// # Panics
/// If it can't be written.
pub fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, file).expect("a file");
}
