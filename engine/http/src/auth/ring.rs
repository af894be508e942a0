//! The keys in a running process, reloaded when their file changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;

use super::{
    caller::Caller,
    keys::{KeyFile, KeyFileError, KeyRecord, Token},
};
use crate::watched::{Mark, mark};

/// The minimum interval between two checks of the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub struct KeyRing {
    file: KeyFile,
    known: Mutex<Known>,
}

struct Known {
    looked: Instant,
    mark: Mark,
    /// `None` until there is a file.
    keys: Option<Arc<HashMap<String, KeyRecord>>>,
}

impl KeyRing {
    /// Opens the key file, which need not exist.
    pub fn open(file: KeyFile) -> Result<Self, KeyFileError> {
        let (mark, keys) = (mark(file.path()), read(&file)?);
        Ok(Self { file, known: Mutex::new(Known { looked: Instant::now(), mark, keys }) })
    }

    /// Whether there is a key file, or was one since the process started. Requests without a key are then rejected.
    pub fn is_there(&self) -> bool {
        self.keys().is_some()
    }

    /// Returns the caller that this key authenticates; `None` if the key is unknown or has expired.
    pub fn caller(&self, token: &Token) -> Option<Caller> {
        let keys = self.keys()?;
        let record = keys.get(token.id()).filter(|record| record.is(token))?;
        (!record.has_expired(Utc::now())).then(|| record.caller())
    }

    fn keys(&self) -> Option<Arc<HashMap<String, KeyRecord>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() >= LOOK_EVERY {
            known.looked = Instant::now();
            self.look(&mut known);
        }
        known.keys.clone()
    }

    fn look(&self, known: &mut Known) {
        let now = mark(self.file.path());
        if now == known.mark {
            return;
        }
        match read(&self.file) {
            Ok(keys) => {
                // A deleted file revokes all keys, but does not open the server.
                known.keys = keys.or_else(|| known.keys.as_ref().map(|_| Arc::default()));
                let n_keys = known.keys.as_ref().map_or(0, |keys| keys.len());
                tracing::info!(n_keys, "the keys have changed and were read again");
                known.mark = now;
            }
            // Retried the next time.
            Err(error) => tracing::error!("the keys have changed, and those of before are used on: {error}"),
        }
    }
}

fn read(file: &KeyFile) -> Result<Option<Arc<HashMap<String, KeyRecord>>>, KeyFileError> {
    let keys = file.read()?;
    Ok(keys.map(|keys| Arc::new(keys.into_iter().map(|key| (key.id.clone(), key)).collect())))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::auth::{
        NewKey,
        scope::tests::{READ, scopes},
    };

    fn new(expires: Option<TimeDelta>) -> NewKey {
        let expires = expires.map(|it| Utc::now() + it);
        NewKey { name: "shop".to_owned(), scopes: [READ].into(), owner: None, expires }
    }

    #[test]
    fn keys_are_known_until_they_expire_or_are_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.json"), scopes());
        let ring = KeyRing::open(file.clone()).unwrap();
        assert!(!ring.is_there());
        let (token, record) = file.created(new(None));
        let (expired, _) = file.created(new(Some(TimeDelta::seconds(-1))));
        let ring = KeyRing::open(file.clone()).unwrap();
        assert_eq!(ring.caller(&token).unwrap().id(), "key:shop");
        assert_eq!(ring.caller(&expired), None);
        file.revoke(&record.id).unwrap();
        std::thread::sleep(LOOK_EVERY);
        assert_eq!(ring.caller(&token), None);
        std::fs::remove_file(file.path()).unwrap();
        std::thread::sleep(LOOK_EVERY);
        assert!(ring.is_there(), "the door stays closed");
    }
}
