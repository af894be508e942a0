//! The keys of the token issuer (a JWKS, RFC 7517), from a file or a URL, reloaded when they change.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use orderlog_core::decoding;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    tls::{self, TlsError},
    watched::{Mark, mark},
};

/// The minimum interval between two checks of the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The maximum age of keys from a URL before they are refreshed.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// The minimum interval between two requests to the URL. Invented key names in tokens must not cause a request each.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// The same, while no keys are known.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The time limit of a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// The maximum length of a response in bytes.
const N_BYTES_MAX: usize = 1_048_576;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("the issuer's keys in {} can't be read", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{place} holds no keys of an issuer (a JWKS): {why}")]
    Unreadable { place: String, why: String },
    #[error("the issuer does not tell its keys: {0}")]
    Silent(String),
    #[error(transparent)]
    Client(#[from] TlsError),
}

/// A key, with the algorithms that it may be used with.
#[derive(Clone)]
pub struct IssuerKey {
    pub key: DecodingKey,
    pub algorithms: Vec<Algorithm>,
}

/// An issuer's keys at one time.
#[derive(Clone, Default)]
pub struct IssuerKeys {
    named: HashMap<String, IssuerKey>,
    /// Set if there is only one key. Tokens then need not name it.
    only: Option<IssuerKey>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl IssuerKeys {
    /// Parses a JWKS. Skips keys that cannot be used here, such as encryption keys and unknown kinds.
    ///
    /// # Errors
    /// If the text is not a JWKS, or contains no usable key.
    fn read(text: &[u8]) -> Result<Self, String> {
        let Jwks { keys } = decoding::from_slice(text).map_err(|error| error.to_string())?;
        let jwks = keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let usable: Vec<_> = jwks.filter_map(|jwk| Some((jwk.common.key_id.clone(), usable(&jwk)?))).collect();
        let only = match &usable[..] {
            [] => return Err("there is no key to check signatures with".to_owned()),
            [(_, only)] => Some(only.clone()),
            _ => None,
        };
        Ok(Self { named: usable.into_iter().filter_map(|(name, key)| Some((name?, key))).collect(), only })
    }

    /// Returns the key with this name, or without a name the only key.
    pub fn find(&self, name: Option<&str>) -> Option<&IssuerKey> {
        match name {
            Some(name) => self.named.get(name),
            None => self.only.as_ref(),
        }
    }
}

fn usable(jwk: &Jwk) -> Option<IssuerKey> {
    let is_to_sign = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
    let is_to_check = jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    if !is_to_sign || !is_to_check {
        return None;
    }
    // By the kind of key, never by what a token claims: otherwise a public key could be used as a shared secret.
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => {
            use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
            &[RS256, RS384, RS512, PS256, PS384, PS512]
        }
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => return None,
    };
    let algorithms = match jwk.common.key_algorithm {
        Some(one) => {
            of_kind.iter().copied().filter(|it| Algorithm::try_from(one).is_ok_and(|one| one == *it)).collect()
        }
        None => of_kind.to_vec(),
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (!algorithms.is_empty()).then_some(IssuerKey { key, algorithms })
}

/// An issuer's keys in a running process.
pub struct KeySource {
    known: Mutex<Known>,
    source: Source,
}

/// Where an issuer's keys are loaded from.
enum Source {
    File(PathBuf),
    Url(Arc<Endpoint>),
}

/// A URL and its HTTP client. The lock is held during a request, so that all waiting callers share one.
struct Endpoint {
    url: String,
    client: reqwest::Client,
    asking: tokio::sync::Mutex<()>,
}

struct Known {
    /// When they were last loaded or requested; `None` if never.
    looked: Option<Instant>,
    mark: Mark,
    keys: Option<Arc<IssuerKeys>>,
}

/// Whether the known keys can be used.
enum Worth {
    Good(Arc<IssuerKeys>),
    /// They can be used, but should be refreshed.
    Old(Arc<IssuerKeys>),
    /// They must be requested first.
    None,
    /// They were requested a moment ago without success.
    Silent,
}

impl KeySource {
    /// Opens the keys at `place`, a file or an `http://` or `https://` URL. A file must exist; a URL is requested with the first token.
    pub fn open(place: &str, ca: Option<&Path>) -> Result<Arc<Self>, IssuerError> {
        let (source, known) = if is_url(place) {
            // A response must not redirect us elsewhere.
            let client = tls::client(ca, [place])?.timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
            let client = client.build().map_err(TlsError::from)?;
            let asked = Endpoint { url: place.to_owned(), client, asking: tokio::sync::Mutex::default() };
            (Source::Url(Arc::new(asked)), Known { looked: None, mark: None, keys: None })
        } else {
            let file = PathBuf::from(place);
            let (mark, keys) = (mark(&file), Some(Arc::new(in_file(&file)?)));
            (Source::File(file), Known { looked: Some(Instant::now()), mark, keys })
        };
        Ok(Arc::new(Self { known: Mutex::new(known), source }))
    }

    /// Returns the keys, including the one with this name if the issuer has it by now.
    ///
    /// # Errors
    /// If no keys were ever loaded.
    pub async fn keys(self: &Arc<Self>, name: Option<&str>) -> Result<Arc<IssuerKeys>, IssuerError> {
        match &self.source {
            Source::File(file) => Ok(self.in_file(file)),
            Source::Url(asked) => self.at_url(asked, name).await,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_file(&self, file: &Path) -> Arc<IssuerKeys> {
        let mut known = self.known();
        if known.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            known.looked = Some(Instant::now());
            let now = mark(file);
            if now != known.mark {
                match in_file(file) {
                    Ok(keys) => {
                        tracing::info!("the issuer's keys have changed and were read again");
                        (known.keys, known.mark) = (Some(Arc::new(keys)), now);
                    }
                    // Retried the next time.
                    Err(error) => {
                        let why = anyhow::Error::from(error);
                        tracing::error!("the issuer's keys have changed, and those of before are used on: {why:#}");
                    }
                }
            }
        }
        known.keys.clone().unwrap_or_default()
    }

    async fn at_url(
        self: &Arc<Self>,
        asked: &Arc<Endpoint>,
        name: Option<&str>,
    ) -> Result<Arc<IssuerKeys>, IssuerError> {
        match self.worth(name) {
            Worth::Good(keys) => return Ok(keys),
            // While there are keys, no request waits for an issuer that is slow or down.
            Worth::Old(keys) => {
                let (source, asked) = (Arc::clone(self), Arc::clone(asked));
                tokio::spawn(async move {
                    if let Ok(_asking) = asked.asking.try_lock() {
                        drop(source.ask(&asked).await);
                    }
                });
                return Ok(keys);
            }
            Worth::None | Worth::Silent => {}
        }
        let _asking = asked.asking.lock().await;
        // Another task may have requested them meanwhile.
        match self.worth(name) {
            Worth::Good(keys) | Worth::Old(keys) => Ok(keys),
            Worth::Silent => Err(IssuerError::Silent("it was asked a moment ago, in vain".to_owned())),
            Worth::None => self.ask(asked).await,
        }
    }

    async fn ask(&self, asked: &Endpoint) -> Result<Arc<IssuerKeys>, IssuerError> {
        let fetched = fetch(&asked.client, &asked.url).await;
        let mut known = self.known();
        known.looked = Some(Instant::now());
        match (fetched, &known.keys) {
            (Ok(keys), _) => Ok(Arc::clone(known.keys.insert(Arc::new(keys)))),
            (Err(error), Some(keys)) => {
                tracing::warn!("the issuer's keys of before are used on: {error}");
                Ok(Arc::clone(keys))
            }
            (Err(error), None) => {
                tracing::error!("tokens can't be checked: {error}");
                Err(error)
            }
        }
    }

    fn worth(&self, name: Option<&str>) -> Worth {
        let known = self.known();
        let Some(age) = known.looked.map(|looked| looked.elapsed()) else { return Worth::None };
        match known.keys.clone() {
            None if age < RETRY_EVERY => Worth::Silent,
            None => Worth::None,
            Some(keys) if age < FETCH_AT_MOST_EVERY => Worth::Good(keys),
            Some(keys) if keys.find(name).is_none() => Worth::None,
            Some(keys) if age < FETCH_EVERY => Worth::Good(keys),
            Some(keys) => Worth::Old(keys),
        }
    }
}

/// Whether a place is a URL rather than a file.
pub fn is_url(place: &str) -> bool {
    place.starts_with("https://") || place.starts_with("http://")
}

fn in_file(file: &Path) -> Result<IssuerKeys, IssuerError> {
    let text = fs::read(file).map_err(|source| IssuerError::File { file: file.to_owned(), source })?;
    IssuerKeys::read(&text).map_err(|why| IssuerError::Unreadable { place: file.display().to_string(), why })
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<IssuerKeys, IssuerError> {
    // Without the URL, which may contain credentials.
    let silent = |error: reqwest::Error| IssuerError::Silent(error.without_url().to_string());
    let mut answer = client.get(url).send().await.map_err(silent)?;
    if !answer.status().is_success() {
        return Err(IssuerError::Silent(format!("it answers {}", answer.status())));
    }
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(silent)? {
        text.extend_from_slice(&part);
        if text.len() > N_BYTES_MAX {
            return Err(IssuerError::Silent(format!("its answer has more than {N_BYTES_MAX} bytes")));
        }
    }
    IssuerKeys::read(&text).map_err(|why| IssuerError::Unreadable { place: "the issuer's answer".to_owned(), why })
}
