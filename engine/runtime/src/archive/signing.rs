//! Signatures of exports: ed25519 over the bytes of `manifest.json`, in which the digests of all journals are.
//!
//! Keys are PEM files as OpenSSL writes them, and the signature's file has its 64 bytes and nothing else, so that an export can be
//! verified without orderlog: `openssl pkeyutl -verify -pubin -inkey verify.pem -rawin -in manifest.json -sigfile manifest.json.sig`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};

use super::Broken;

/// The signature's file, beside the manifest.
pub(super) const SIGNATURE: &str = "manifest.json.sig";

/// How each public key of ed25519 begins in DER (RFC 8410); the key's 32 bytes follow.
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a file has no key for signatures.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read.
    #[error("the key {} can't be read: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    /// Another kind of key, encrypted, or none.
    #[error(
        "{} is no private key of ed25519 as PEM without a password: `openssl genpkey -algorithm ed25519 -out sign.pem` makes one",
        file.display()
    )]
    NoSigningKey { file: PathBuf },
    /// Another kind of key, the private one, or none.
    #[error(
        "{} is no public key of ed25519 as PEM: `openssl pkey -in sign.pem -pubout -out verify.pem` writes that of a private key",
        file.display()
    )]
    NoVerifyingKey { file: PathBuf },
}

fn read(file: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(file).map_err(|source| KeyError::File { file: file.to_owned(), source })
}

/// A private key, which signs exports.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key in a file, as `openssl genpkey -algorithm ed25519` writes it: PKCS#8 in PEM.
    ///
    /// # Errors
    /// [`KeyError`] if there is none.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(&read(file)?).ok();
        // Unchecked: OpenSSL leaves the public key out, so there is nothing to check the private one against.
        let pair = der.and_then(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).ok());
        pair.map(Self).ok_or_else(|| KeyError::NoSigningKey { file: file.to_owned() })
    }

    /// The content of [`SIGNATURE`].
    pub(super) fn sign(&self, manifest: &[u8]) -> Vec<u8> {
        self.0.sign(manifest).as_ref().to_vec()
    }
}

/// A public key, by which exports are verified.
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// The key in a file, as `openssl pkey -pubout` writes it: SubjectPublicKeyInfo in PEM.
    ///
    /// # Errors
    /// [`KeyError`] if there is none.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&read(file)?).ok();
        let key = der.and_then(|der| der.strip_prefix(&PUBLIC)?.try_into().ok());
        key.map(Self).ok_or_else(|| KeyError::NoVerifyingKey { file: file.to_owned() })
    }
}

/// What is known of an export's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    No,
    /// There is one, and no key was given.
    NotVerified,
    /// It is that of the key.
    Verified,
}

/// Holds the signature in `dir` against the manifest's bytes, if there is a key to do so.
pub(super) fn verify(dir: &Path, manifest: &[u8], key: Option<&VerifyingKey>) -> Result<Signed, Broken> {
    let file = dir.join(SIGNATURE);
    let Some(VerifyingKey(key)) = key else {
        return Ok(if file.exists() { Signed::NotVerified } else { Signed::No });
    };
    let signature = match fs::read(&file) {
        Ok(signature) => signature,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Broken::Unsigned { dir: dir.to_owned() });
        }
        Err(source) => return Err(Broken::File { file, source }),
    };
    match UnparsedPublicKey::new(&ED25519, key).verify(manifest, &signature) {
        Ok(()) => Ok(Signed::Verified),
        Err(_) => Err(Broken::Signature { file }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` (OpenSSL 3.0); for this test only.
    const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINxitpYAB8rSlltzRHhKSsSDBcmRgiXX3yIyKUAKkjVK\n-----END PRIVATE KEY-----\n";
    const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA6NnBWM1G/cZaHvwAsVIMwRRjm2AcRLqb5KvJsk/kCH4=\n-----END PUBLIC KEY-----\n";
    const OTHER_PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAgOlK6/vrWZu7Vi+MFh9WEKYFo+5WR2Pt0yGK/r4tqys=\n-----END PUBLIC KEY-----\n";
    /// A key of X25519, which agrees on secrets and signs nothing.
    const X25519_PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIJB4BmXTYDmlkNi0/nP4yxrh5xj8fBsQ/8gwzotDhE1+\n-----END PRIVATE KEY-----\n";

    fn file(dir: &Path, content: &str) -> PathBuf {
        let file = dir.join("key.pem");
        fs::write(&file, content).expect("a file");
        file
    }

    fn signing(dir: &Path, content: &str) -> Result<SigningKey, KeyError> {
        SigningKey::read(&file(dir, content))
    }

    fn verifying(dir: &Path, content: &str) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::read(&file(dir, content))
    }

    #[test]
    fn a_signature_is_verified_by_the_public_key_of_its_private_key_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        let signature = signing(dir, PRIVATE_PEM).expect("a key of OpenSSL").sign(b"manifest");
        let verifying = |pem| verifying(dir, pem).expect("a key of OpenSSL");
        let (key, other) = (verifying(PUBLIC_PEM), verifying(OTHER_PUBLIC_PEM));

        assert!(matches!(verify(dir, b"manifest", Some(&key)), Err(Broken::Unsigned { .. })));
        assert!(matches!(verify(dir, b"manifest", None), Ok(Signed::No)));
        fs::write(dir.join(SIGNATURE), &signature).expect("a file");
        assert!(matches!(verify(dir, b"manifest", Some(&key)), Ok(Signed::Verified)));
        assert!(matches!(verify(dir, b"manifest", None), Ok(Signed::NotVerified)));
        assert!(matches!(verify(dir, b"Manifest", Some(&key)), Err(Broken::Signature { .. })));
        assert!(matches!(verify(dir, b"manifest", Some(&other)), Err(Broken::Signature { .. })));
        for wrong in [&signature[1..], &[&signature[..], b"\n"].concat(), b""] {
            fs::write(dir.join(SIGNATURE), wrong).expect("a file");
            assert!(matches!(verify(dir, b"manifest", Some(&key)), Err(Broken::Signature { .. })));
        }
    }

    #[test]
    fn a_file_without_such_a_key_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        for wrong in [PUBLIC_PEM, X25519_PEM, "", "no PEM", &PRIVATE_PEM[..80], &PRIVATE_PEM.replace("MC4", "MC5")] {
            let refused = signing(dir, wrong).err().expect("no private key");
            assert!(matches!(&refused, KeyError::NoSigningKey { .. }), "{wrong}: {refused}");
            assert!(refused.to_string().contains("key.pem is no private key of ed25519"), "{refused}");
        }
        for wrong in [PRIVATE_PEM, X25519_PEM, "", "no PEM", &PUBLIC_PEM[..60], &PUBLIC_PEM.replace("K2VwA", "K2VuA")] {
            let refused = verifying(dir, wrong).err().expect("no public key");
            assert!(matches!(&refused, KeyError::NoVerifyingKey { .. }), "{wrong}: {refused}");
        }
        assert!(matches!(SigningKey::read(&dir.join("missing.pem")), Err(KeyError::File { .. })));
    }
}
