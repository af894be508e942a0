//! The keys of whoever issues tokens (a JWKS, RFC 7517), from a file or a URL, and read again when they change.

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

/// How often at most the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How old keys from a URL may be.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// How often at most the URL is asked, for whatever reason. Whoever invents names of keys must not make us ask for each.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// The same, while there are none yet.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may be.
const N_BYTES_MAX: usize = 1_048_576;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The file can't be read.
    #[error("the issuer's keys in {} can't be read", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{place} holds no keys of an issuer (a JWKS): {why}")]
    Unreadable { place: String, why: String },
    /// The URL does not answer as it should.
    #[error("the issuer does not tell its keys: {0}")]
    Silent(String),
    /// There is no client to ask it with.
    #[error(transparent)]
    Client(#[from] TlsError),
}

/// A key, and what may be signed with it.
#[derive(Clone)]
pub struct IssuerKey {
    pub key: DecodingKey,
    /// The ways to sign.
    pub algorithms: Vec<Algorithm>,
}

/// An issuer's keys at one time.
#[derive(Clone, Default)]
pub struct IssuerKeys {
    named: HashMap<String, IssuerKey>,
    /// The only key, where there is no more than one: then tokens need not name it.
    only: Option<IssuerKey>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl IssuerKeys {
    /// Those in a JWKS. What is of no use here is left out: keys to encrypt with, kinds that this program does not know.
    ///
    /// # Errors
    /// It is no JWKS, or none of its keys is of use.
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

    /// The key of this name; without one the only key.
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
    // By the kind of key, never by what a token says: else a public key could pass as a shared secret.
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

/// An issuer's keys as a running process knows them.
pub struct KeySource {
    known: Mutex<Known>,
    source: Source,
}

/// Where an issuer's keys are.
enum Source {
    File(PathBuf),
    Url(Arc<Endpoint>),
}

/// A URL, and a client to ask it with. The lock is held meanwhile: it is asked once for all who wait.
struct Endpoint {
    url: String,
    client: reqwest::Client,
    asking: tokio::sync::Mutex<()>,
}

struct Known {
    /// When they were last looked for; none if that has never been.
    looked: Option<Instant>,
    mark: Mark,
    keys: Option<Arc<IssuerKeys>>,
}

/// What the keys that are known are worth.
enum Worth {
    Good(Arc<IssuerKeys>),
    /// They are good for this time; newer ones should be fetched.
    Old(Arc<IssuerKeys>),
    /// The issuer must be asked first.
    None,
    /// It was asked a moment ago, in vain.
    Silent,
}

impl KeySource {
    /// Those at `place`, a file or an `http://` or `https://` URL. A file must be there; a URL is asked when the first token comes.
    ///
    /// # Errors
    /// [`IssuerError`], saying what is wrong with the file.
    pub fn open(place: &str, ca: Option<&Path>) -> Result<Arc<Self>, IssuerError> {
        let (source, known) = if is_url(place) {
            // Whoever answers for the issuer must not send us elsewhere.
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

    /// The keys, with that of this name if the issuer has it by now.
    ///
    /// # Errors
    /// They were never had.
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
                    // Tried again the next time.
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
            // Nobody waits for an issuer that is slow, or away, while there are keys.
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
        // Somebody else may have asked meanwhile.
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
    // Without the URL: it may hold credentials.
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
