//! Signatures of tokens, by ring, which TLS stands on already. The library for tokens leaves them to whom one likes.
//!
//! Deliberately absent: signing, and everything with a shared secret: who could check such a token could make one.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind, new_error},
    signature::{self, Verifier},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

static BY_RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| match way_of(*algorithm) {
        Some(way) => Ok(Box::new(Checking { algorithm: *algorithm, way, key: key.clone() })),
        None => Err(unsupported()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Have ring check the signatures of tokens in this process.
pub fn prepare() {
    // Whoever was first has installed the same one.
    let _ = BY_RING.install_default();
}

fn unsupported() -> Error {
    new_error(ErrorKind::UnsupportedAlgorithm)
}

/// How a signature is checked.
#[derive(Clone, Copy)]
enum Way {
    /// By a modulus and an exponent.
    Rsa(&'static RsaParameters),
    /// By the bytes of a key.
    Plain(&'static dyn VerificationAlgorithm),
}

/// How those of this algorithm are checked; none if they are not taken.
fn way_of(algorithm: Algorithm) -> Option<Way> {
    match algorithm {
        Algorithm::RS256 => Some(Way::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
        Algorithm::RS384 => Some(Way::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
        Algorithm::RS512 => Some(Way::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
        Algorithm::PS256 => Some(Way::Rsa(&RSA_PSS_2048_8192_SHA256)),
        Algorithm::PS384 => Some(Way::Rsa(&RSA_PSS_2048_8192_SHA384)),
        Algorithm::PS512 => Some(Way::Rsa(&RSA_PSS_2048_8192_SHA512)),
        Algorithm::ES256 => Some(Way::Plain(&ECDSA_P256_SHA256_FIXED)),
        Algorithm::ES384 => Some(Way::Plain(&ECDSA_P384_SHA384_FIXED)),
        Algorithm::EdDSA => Some(Way::Plain(&ED25519)),
        // Those with a shared secret, and whatever may be added.
        _ => None,
    }
}

struct Checking {
    algorithm: Algorithm,
    way: Way,
    key: DecodingKey,
}

impl Verifier<Vec<u8>> for Checking {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match (self.way, self.key.kind()) {
            (Way::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Way::Plain(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(algorithm, key).verify(message, signature)
            }
            // A key of another kind.
            (Way::Rsa(_), DecodingKeyKind::SecretOrDer(_))
            | (Way::Plain(_), DecodingKeyKind::RsaModulusExponent { .. }) => return Err(signature::Error::new()),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Checking {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
