//! The deployment's hash key: configured, stored in the data folder, or generated for a new log.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use orderlog_core::{key::HashKey, machine::Genesis};
use orderlog_runtime::identity::{self, IdentityError};
use uuid::Uuid;

use crate::config::{DEVELOPMENT_HASH_KEY, LogUrl, Storage};

/// The key's file in the data folder of an embedded log.
const FILE: &str = "hash.key";

/// Why there is no usable hash key for this log.
#[derive(Debug, thiserror::Error)]
pub enum HashKeyError {
    #[error("the hash key in {} can't be used", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("the hash key in {place} is empty: put the deployment's secret there")]
    Empty {
        /// The option or file.
        place: String,
    },
    /// On Kafka none is generated, since all processes need the same one.
    #[error(
        "no hash key is set: pass the deployment's secret to every process by --hash-key-file or ORDERLOG_HASH_KEY; to try things \
         out, --development-hash-key selects the built-in key, which everybody knows"
    )]
    NotSet,
    /// The log was begun with a key that is no longer here.
    #[error(
        "the log in {} was begun with the hash key of fingerprint {wanted}, and {} is missing: put that file back from a backup, or \
         pass its secret by --hash-key-file; no other secret finds the e-mail addresses and idempotency keys again",
        dir.display(),
        dir.join(FILE).display()
    )]
    Missing {
        dir: PathBuf,
        /// The fingerprint in the journals.
        wanted: String,
    },
    /// Two secrets are given, and the log does not yet determine which one counts.
    #[error(
        "the configured hash key is not the one in {}: leave out the option to use the file, or move the file away",
        file.display()
    )]
    Ambiguous {
        /// The file in the data folder.
        file: PathBuf,
    },
    /// The log was begun with another key.
    #[error("{source}. Nothing was changed: {repair}")]
    Other { source: IdentityError, repair: String },
}

/// The hash key of this deployment, if there is one; none is generated.
pub fn given(storage: &Storage) -> Result<Option<HashKey>, HashKeyError> {
    Ok(secret(storage)?.as_deref().map(HashKey::from_secret))
}

/// Stores the given hash key in the data folder of an embedded log, so that later commands find it. Returns the file;
/// `None` if no key is given, or on Kafka, where each process has its own folder.
pub fn keep(storage: &Storage) -> Result<Option<PathBuf>, HashKeyError> {
    let (Some(secret), Some(file)) = (secret(storage)?, kept_in(storage)) else { return Ok(None) };
    if read(&file).ok().as_ref() != Some(&secret) {
        write(&file, &secret).map_err(|source| unusable(&file, source))?;
    }
    Ok(Some(file))
}

/// Rejects a configured key that differs from the one in the data folder, for a log that does not determine which one
/// counts.
pub fn refuse_another(storage: &Storage, hash_key: &HashKey) -> Result<(), HashKeyError> {
    let is_another = |file: &PathBuf| fingerprint_in(file).is_some_and(|kept| kept != hash_key.fingerprint());
    match kept_in(storage).filter(is_another) {
        Some(file) => Err(HashKeyError::Ambiguous { file }),
        None => Ok(()),
    }
}

fn secret(storage: &Storage) -> Result<Option<String>, HashKeyError> {
    match (&storage.hash_key, &storage.hash_key_file) {
        (Some(secret), _) => checked(secret, || "--hash-key".to_owned()).map(Some),
        (None, Some(file)) => read(file).map(Some),
        (None, None) if storage.development_hash_key => Ok(Some(DEVELOPMENT_HASH_KEY.to_owned())),
        (None, None) => match kept_in(storage) {
            Some(file) if file.try_exists().map_err(|source| unusable(&file, source))? => read(&file).map(Some),
            Some(_) | None => Ok(None),
        },
    }
}

/// Rejects a configuration that can't have a hash key, before anything is opened or created.
pub fn check(storage: &Storage) -> Result<(), HashKeyError> {
    match (given(storage)?, &storage.log) {
        (None, LogUrl::Kafka(_)) => Err(HashKeyError::NotSet),
        (Some(_), _) | (None, LogUrl::Embedded) => Ok(()),
    }
}

/// The hash key of the log whose journals begin with `begun`. Generates one on an embedded log where no journal has
/// begun; no other process may have that log open.
///
/// # Errors
/// [`HashKeyError`] if it is not the key with which the journals were begun, or can't be used.
pub fn find(storage: &Storage, begun: &[Genesis]) -> Result<HashKey, HashKeyError> {
    match (given(storage)?, begun.first(), kept_in(storage)) {
        (Some(hash_key), Some(_), _) => match identity::check(begun, &hash_key) {
            Ok(()) => Ok(hash_key),
            Err(source) => Err(HashKeyError::Other { repair: repair(storage, begun), source }),
        },
        (Some(hash_key), None, _) => refuse_another(storage, &hash_key).map(|()| hash_key),
        (None, Some(Genesis { hash_key, .. }), Some(_)) => {
            Err(HashKeyError::Missing { dir: storage.data.clone(), wanted: hash_key.clone() })
        }
        (None, None, Some(file)) => make(&file),
        (None, _, None) => Err(HashKeyError::NotSet),
    }
}

/// The key's file in the data folder; `None` on Kafka, where each process has its own folder.
fn kept_in(storage: &Storage) -> Option<PathBuf> {
    (storage.log == LogUrl::Embedded).then(|| storage.data.join(FILE))
}

/// The fingerprint of the key in `file`, if there is a usable one.
fn fingerprint_in(file: &Path) -> Option<String> {
    read(file).ok().map(|secret| HashKey::from_secret(&secret).fingerprint())
}

/// The remedy if the configured key is not that of the journals.
fn repair(storage: &Storage, begun: &[Genesis]) -> String {
    let fits = |secret: &str| identity::check(begun, &HashKey::from_secret(secret)).is_ok();
    if let Some(file) = kept_in(storage).filter(|file| read(file).is_ok_and(|secret| fits(&secret))) {
        return format!("{} has the right one, so leave out --hash-key and --hash-key-file", file.display());
    }
    if fits(DEVELOPMENT_HASH_KEY) {
        return "it is the built-in one, so pass --development-hash-key instead".to_owned();
    }
    "pass the secret that the deployment was begun with, by --hash-key-file or as hash.key in the data folder of an embedded log"
        .to_owned()
}

fn checked(secret: &str, place: impl FnOnce() -> String) -> Result<String, HashKeyError> {
    match secret.trim() {
        "" => Err(HashKeyError::Empty { place: place() }),
        secret => Ok(secret.to_owned()),
    }
}

fn read(file: &Path) -> Result<String, HashKeyError> {
    let secret = fs::read_to_string(file).map_err(|source| unusable(file, source))?;
    checked(&secret, || file.display().to_string())
}

fn unusable(file: &Path, source: io::Error) -> HashKeyError {
    HashKeyError::File { file: file.to_owned(), source }
}

fn make(file: &Path) -> Result<HashKey, HashKeyError> {
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    write(file, &secret).map_err(|source| unusable(file, source))?;
    Ok(HashKey::from_secret(&secret))
}

/// Writes `secret` durably to `file`, readable by its owner only.
fn write(file: &Path, secret: &str) -> io::Result<()> {
    // Under a temporary name first: a partial key left by a crash would look complete.
    let fresh = file.with_extension("key.new");
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    made.write_all(secret.as_bytes())?;
    made.sync_all()?;
    fs::rename(&fresh, file)?;
    match file.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
