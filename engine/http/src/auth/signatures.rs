//! Verifies signatures of tokens with ring, which TLS uses already. The token library leaves the choice open.
//!
//! Signing and shared secrets are not supported: whoever can verify a token with a shared secret could also forge one.

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

/// Makes this process verify signatures of tokens with ring.
pub fn prepare() {
    // An earlier call has installed the same provider.
    let _ = BY_RING.install_default();
}

fn unsupported() -> Error {
    new_error(ErrorKind::UnsupportedAlgorithm)
}

/// How to verify a signature.
#[derive(Clone, Copy)]
enum Way {
    /// With a modulus and an exponent.
    Rsa(&'static RsaParameters),
    /// With the bytes of a key.
    Plain(&'static dyn VerificationAlgorithm),
}

/// Returns how to verify signatures of this algorithm; `None` if it is not supported.
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
        // Algorithms with a shared secret, and any added later.
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
