//! Keys that go into a file of their own instead of being printed.
//!
//! The key is first written to `FILE.new`, then its hash to the key file, and only then `FILE.new` becomes `FILE`: a file with a key
//! that is not valid never appears. If a process dies between the last two steps, the next one that wants the same key finishes them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{KeyFile, KeyFileError, KeyRecord, NewKey, Token, sync_folder_of};
use crate::auth::Scope;

/// When to create a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// Only if there is no key file yet. One without keys counts: revoking the last key must not bring back an older one.
    NoKeysYet,
}

impl KeyFile {
    /// Creates a key and writes it to `out`, which only its owner can read and which must not exist. Returns `None` if it is not the
    /// time to create one.
    ///
    /// # Errors
    /// [`KeyFileError`]; then `out` is as it was.
    pub fn create_in(
        &self,
        new: NewKey,
        is_for_bound: impl Fn(Scope) -> bool,
        out: &Path,
        when: When,
    ) -> Result<Option<KeyRecord>, KeyFileError> {
        new.check(is_for_bound)?;
        let failed = |source| KeyFileError::Out { file: out.to_owned(), source };
        let lock = self.lock()?;
        let (keys, fresh) = (self.read()?, fresh(out));
        let unfinished = unfinished(keys.as_deref().unwrap_or_default(), &fresh, &new.name).map_err(failed)?;
        if unfinished.is_none() && when == When::NoKeysYet && keys.is_some() {
            return Ok(None);
        }
        if out.symlink_metadata().is_ok() {
            return Err(KeyFileError::Taken(out.to_owned()));
        }
        let record = match unfinished {
            Some(record) => record,
            None => self.add(&lock, new, |token| write(&fresh, token)).map_err(|error| match error {
                KeyFileError::NotShown(source) => failed(source),
                error => error,
            })?,
        };
        fs::rename(&fresh, out).and_then(|()| sync_folder_of(out)).map_err(failed)?;
        Ok(Some(record))
    }
}

/// The valid key that an earlier call did not finish.
fn unfinished(keys: &[KeyRecord], fresh: &Path, name: &str) -> io::Result<Option<KeyRecord>> {
    let text = match fs::read_to_string(fresh) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let Ok(token) = text.trim().parse::<Token>() else { return Ok(None) };
    Ok(keys.iter().find(|key| key.is(&token) && key.name == name).cloned())
}

fn fresh(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Replaces what an interrupted call left, and never follows a link.
fn write(fresh: &Path, token: &Token) -> io::Result<()> {
    match fs::remove_file(fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    file.write_all(format!("{}\n", token.expose()).as_bytes())?;
    file.sync_all()?;
    sync_folder_of(fresh)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::scope::tests::{READ, scopes};

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn keys(&self) -> KeyFile {
            KeyFile::new(self.path("keys.json"), scopes())
        }

        fn create(&self, name: &str, when: When) -> Result<Option<KeyRecord>, KeyFileError> {
            let new = NewKey { name: name.to_owned(), scopes: [READ].into(), owner: None, expires: None };
            self.keys().create_in(new, |_| true, &self.path("a.key"), when)
        }

        /// The key in the file, if it is valid.
        fn valid(&self) -> Option<KeyRecord> {
            let token: Token = fs::read_to_string(self.path("a.key")).ok()?.trim().parse().ok()?;
            self.keys().read().unwrap().into_iter().flatten().find(|key| key.is(&token))
        }

        fn n_keys(&self) -> usize {
            self.keys().read().unwrap().map_or(0, |keys| keys.len())
        }
    }

    #[test]
    fn a_first_key_is_created_once_and_never_again() {
        let place = Place::new();
        let created = place.create("operator", When::NoKeysYet).unwrap();
        assert_eq!((place.valid(), place.n_keys()), (created.clone(), 1));
        assert_eq!(fs::metadata(place.path("a.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(place.create("operator", When::NoKeysYet).unwrap(), None);
        fs::remove_file(place.path("a.key")).unwrap();
        assert_eq!(place.create("operator", When::NoKeysYet).unwrap(), None, "its owner keeps it elsewhere");
        place.keys().revoke(&created.unwrap().id).unwrap();
        assert_eq!(place.create("operator", When::NoKeysYet).unwrap(), None, "revoking the last key opens nothing");
        assert_eq!(place.n_keys(), 0);
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten_and_no_key_is_created() {
        let place = Place::new();
        fs::write(place.path("a.key"), "mine").unwrap();
        for when in [When::Always, When::NoKeysYet] {
            assert!(matches!(place.create("operator", when), Err(KeyFileError::Taken(_))));
        }
        fs::remove_file(place.path("a.key")).unwrap();
        std::os::unix::fs::symlink(place.path("nowhere"), place.path("a.key")).unwrap();
        assert!(matches!(place.create("operator", When::Always), Err(KeyFileError::Taken(_))));
        assert_eq!(place.n_keys(), 0);
        let elsewhere = place.path("no such folder").join("a.key");
        let new = NewKey { name: "a".to_owned(), scopes: [READ].into(), owner: None, expires: None };
        assert!(matches!(
            place.keys().create_in(new, |_| true, &elsewhere, When::Always),
            Err(KeyFileError::Out { .. })
        ));
        assert_eq!(place.n_keys(), 0);
    }

    #[test]
    fn a_key_whose_creation_was_interrupted_is_finished_if_it_is_valid_and_replaced_if_not() {
        let place = Place::new();
        place.create("operator", When::NoKeysYet).unwrap();
        // Killed before the last step.
        fs::rename(place.path("a.key"), place.path("a.key.new")).unwrap();
        let finished = place.create("operator", When::NoKeysYet).unwrap();
        assert_eq!((place.valid(), place.n_keys()), (finished, 1));

        // Killed before the key became valid; what is there may also be a link, or half of a key.
        let place = Place::new();
        for left in ["olk_0123456789ab_0123", "ol"] {
            fs::write(place.path("a.key.new"), left).unwrap();
            let created = place.create(left, When::Always).unwrap();
            assert_eq!(place.valid(), created);
            fs::remove_file(place.path("a.key")).unwrap();
        }
        fs::write(place.path("other"), "mine").unwrap();
        std::os::unix::fs::symlink(place.path("other"), place.path("a.key.new")).unwrap();
        place.create("b", When::Always).unwrap();
        assert_eq!(fs::read_to_string(place.path("other")).unwrap(), "mine");
    }

    #[test]
    fn many_processes_create_one_first_key() {
        let place = Place::new();
        let created = std::thread::scope(|scope| {
            let creating = [(); 8].map(|()| scope.spawn(|| place.create("operator", When::NoKeysYet).unwrap()));
            creating.into_iter().filter_map(|it| it.join().unwrap()).count()
        });
        assert_eq!((created, place.n_keys()), (1, 1));
        assert!(place.valid().is_some());
    }
}
