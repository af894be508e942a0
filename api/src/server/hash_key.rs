//! The deployment's hash key: given, kept in a file, or made at the first start.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use orderlog_domain::key::HashKey;
use uuid::Uuid;

use crate::config::{DEVELOPMENT_HASH_KEY, LogUrl, Storage};

/// Where it is kept in the data folder of an embedded log.
const FILE: &str = "hash.key";

/// Why there is no hash key.
#[derive(Debug, thiserror::Error)]
pub enum HashKeyError {
    /// Its file can't be read or made.
    #[error("the hash key in {} can't be used", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// An empty secret is none.
    #[error("the hash key is empty")]
    Empty,
}

/// The hash key of this deployment, if there is one: none is made.
///
/// # Errors
/// [`HashKeyError`] if there is one that can't be used.
pub fn given(storage: &Storage) -> Result<Option<HashKey>, HashKeyError> {
    let is_made = storage.log == LogUrl::Embedded && storage.hash_key.is_none() && storage.hash_key_file.is_none();
    if is_made && !storage.data.join(FILE).exists() { Ok(None) } else { find(storage).map(Some) }
}

/// The hash key of this deployment; on the embedded log one is made if there is none.
///
/// # Errors
/// [`HashKeyError`] if it can't be used.
pub fn find(storage: &Storage) -> Result<HashKey, HashKeyError> {
    let secret = match (&storage.hash_key, &storage.hash_key_file, &storage.log) {
        (Some(secret), _, _) => secret.clone(),
        (None, Some(file), _) => read(file)?,
        (None, None, LogUrl::Embedded) => kept(&storage.data.join(FILE))?,
        (None, None, LogUrl::Kafka(_)) => {
            tracing::warn!(
                "no hash key is set: using the one for development, which everybody knows; set --hash-key before there is \
                 anything to protect, it can't be changed later"
            );
            DEVELOPMENT_HASH_KEY.to_owned()
        }
    };
    match secret.trim() {
        "" => Err(HashKeyError::Empty),
        secret => Ok(HashKey::from_secret(secret)),
    }
}

fn read(file: &Path) -> Result<String, HashKeyError> {
    fs::read_to_string(file).map_err(|source| HashKeyError::File { file: file.into(), source })
}

/// The secret in `file`, which is made if it is missing. Nobody else does so meanwhile: the log in the same folder is
/// locked already.
fn kept(file: &Path) -> Result<String, HashKeyError> {
    let failed = |source| HashKeyError::File { file: file.into(), source };
    if file.try_exists().map_err(failed)? {
        return read(file);
    }
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    // Under another name first: half a key, left by a crash, would look like a whole one.
    let fresh = file.with_extension("key.new");
    let mut open = OpenOptions::new();
    let mut made = open.write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(failed)?;
    made.write_all(secret.as_bytes()).and_then(|()| made.sync_all()).map_err(failed)?;
    fs::rename(&fresh, file).map_err(failed)?;
    if let Some(dir) = file.parent() {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_hash_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hash.key");
        let secret = kept(&file).unwrap();
        assert_eq!(secret.len(), 64);
        assert_eq!(kept(&file).unwrap(), secret);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
