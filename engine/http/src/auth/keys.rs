//! API keys, and the file with their hashes.
//!
//! A key is `olk_<id>_<secret>`, and its secret has 244 random bits. A plain, fast hash is therefore sufficient: the secret cannot
//! be guessed, and a slow password hash would only slow down every request. The file does not allow its readers to authenticate.

mod in_file;

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use chrono::{DateTime, Utc};
use orderlog_core::{decoding, words};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    caller::Caller,
    scope::{Scope, Scopes},
};

pub use in_file::When;

/// The format of the file. Other formats are rejected.
const FORMAT: u32 = 1;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("the keys in {} can't be used", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{} holds no keys: {why}", file.display())]
    Unreadable {
        file: PathBuf,
        /// What is wrong with its contents.
        why: String,
    },
    #[error("there is no key {0}")]
    Unknown(String),
    /// The name is invalid. Names must be short and fit into logs.
    #[error("a key's name has 1 to 64 characters out of A-Z, a-z, 0-9, `.`, `_` and `-`")]
    Name,
    #[error("a key needs at least one scope")]
    NoScope,
    /// No operation with this scope accepts callers bound to an owner.
    #[error("{0} is not for callers that are bound to one {owner}", owner = words::owner())]
    NotForBound(Scope),
    /// The key could not be shown. It is not saved, since the first key closes an open server.
    #[error("the key can't be printed, so none was made")]
    NotShown(#[source] io::Error),
    /// The file for a new key cannot be written.
    #[error("the key can't be written to {}", file.display())]
    Out { file: PathBuf, source: io::Error },
    /// The file for a new key exists.
    #[error("{} exists and is not overwritten: remove it if its key is no longer needed, or name another file", .0.display())]
    Taken(PathBuf),
}

/// A key as sent by its caller. It is shown once, and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
    hash: blake3::Hash,
}

impl Token {
    /// The prefix of every key, by which secret scanners detect leaked keys.
    pub const PREFIX: &'static str = "olk_";

    fn new(id: String, secret: String) -> Self {
        // Hashed once, since each request compares it with several keys.
        let hash = blake3::hash(written(&id, &secret).as_bytes());
        Self { id, secret, hash }
    }

    fn random(id: String) -> Self {
        Self::new(id, format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// Creates a token that is not in the key file, by which a process recognizes itself.
    pub fn of_process() -> Self {
        Self::random("process".to_owned())
    }

    /// Returns the hash, which is stored instead of the key. Comparing two hashes takes constant time.
    pub fn hash(&self) -> blake3::Hash {
        self.hash
    }

    /// Returns the id that the token claims.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the whole key, to send it or to show it once.
    pub fn expose(&self) -> String {
        written(&self.id, &self.secret)
    }
}

fn written(id: &str, secret: &str) -> String {
    format!("{}{id}_{secret}", Token::PREFIX)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, secret) = text.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('_')).ok_or(())?;
        Ok(Self::new(id.to_owned(), secret.to_owned()))
    }
}

/// A stored key. In the file its scopes are names, which this version may not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord<S = Scope> {
    /// Identifies the key, for example to revoke it.
    pub id: String,
    /// The caller's name. Two keys with the same name are the same caller, so that one can replace the other.
    pub name: String,
    pub scopes: Vec<S>,
    /// The owner that the caller is bound to.
    #[serde(default, rename = "customer", skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    pub created: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
    /// The BLAKE3 hash of the key, in hexadecimal.
    pub hash: String,
}

impl KeyRecord {
    /// Whether this is the record of `token`.
    pub fn is(&self, token: &Token) -> bool {
        blake3::Hash::from_hex(&self.hash).is_ok_and(|hash| hash == token.hash())
    }

    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Returns the caller that this key authenticates.
    pub fn caller(&self) -> Caller {
        // The id includes the owner, so that a response for one owner is never replayed to another.
        let id = match self.owner {
            Some(owner) => format!("key:{}:{owner}", self.name),
            None => format!("key:{}", self.name),
        };
        Caller::new(id, self.scopes.iter().copied(), self.owner)
    }
}

impl KeyRecord<String> {
    /// Converts the record, if this version knows its scopes.
    fn known(self, scopes: &Scopes) -> Result<KeyRecord, String> {
        let Self { id, name, scopes: named, owner, created, expires, hash } = self;
        let scopes = scopes.in_order(named.iter().map(String::as_str)).map_err(|why| format!("key {id}: {why}"))?;
        Ok(KeyRecord { id, name, scopes, owner, created, expires, hash })
    }
}

/// A key to be created.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// The owner that the caller is bound to.
    pub owner: Option<Uuid>,
    pub expires: Option<DateTime<Utc>>,
}

impl NewKey {
    fn check(&self, is_for_bound: impl Fn(Scope) -> bool) -> Result<(), KeyFileError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(fits) {
            return Err(KeyFileError::Name);
        }
        if self.scopes.is_empty() {
            return Err(KeyFileError::NoScope);
        }
        match self.scopes.iter().find(|scope| self.owner.is_some() && !is_for_bound(**scope)) {
            Some(scope) => Err(KeyFileError::NotForBound(*scope)),
            None => Ok(()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents<S> {
    format: u32,
    keys: Vec<KeyRecord<S>>,
}

/// The key file. Changes take a lock on a file beside it, and replace the whole file.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    scopes: Scopes,
}

impl KeyFile {
    /// The file at this path, which need not exist. A file with other scopes is rejected.
    pub const fn new(path: PathBuf, scopes: Scopes) -> Self {
        Self { path, scopes }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns all keys, including expired ones; `None` if there is no file.
    pub fn read(&self) -> Result<Option<Vec<KeyRecord>>, KeyFileError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let unreadable = |why: String| KeyFileError::Unreadable { file: self.path.clone(), why };
        let Contents::<String> { format, keys } =
            decoding::from_slice(text.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
        if format != FORMAT {
            return Err(unreadable(format!("its format is {format}, this program knows {FORMAT}")));
        }
        let known = keys.into_iter().map(|key| key.known(&self.scopes)).collect::<Result<_, _>>();
        known.map(Some).map_err(unreadable)
    }

    /// Creates a key, passes it to `show`, and saves its hash if that succeeds. A key bound to an owner may only have scopes for which
    /// `is_for_bound` returns true.
    ///
    /// # Errors
    /// [`KeyFileError`]; then no key was created.
    pub fn create(
        &self,
        new: NewKey,
        is_for_bound: impl Fn(Scope) -> bool,
        show: impl FnOnce(&Token) -> io::Result<()>,
    ) -> Result<KeyRecord, KeyFileError> {
        new.check(is_for_bound)?;
        self.add(&self.lock()?, new, show)
    }

    fn add(
        &self,
        _lock: &File,
        new: NewKey,
        show: impl FnOnce(&Token) -> io::Result<()>,
    ) -> Result<KeyRecord, KeyFileError> {
        let mut keys = self.read()?.unwrap_or_default();
        let token = Token::random(Uuid::new_v4().simple().to_string()[..12].to_owned());
        let NewKey { name, scopes, owner, expires } = new;
        let scopes = self.scopes.ordered(&scopes);
        let hash = token.hash().to_hex().to_string();
        let record = KeyRecord { id: token.id.clone(), name, scopes, owner, created: Utc::now(), expires, hash };
        keys.push(record.clone());
        // Shown between writing and renaming: whatever fails, no key is saved without having been shown.
        let fresh = self.write(keys)?;
        if let Err(error) = show(&token) {
            drop(fs::remove_file(fresh));
            return Err(KeyFileError::NotShown(error));
        }
        self.keep(&fresh)?;
        Ok(record)
    }

    /// Revokes a key. All processes reject it within about a second.
    ///
    /// # Errors
    /// [`KeyFileError::Unknown`], or that the file cannot be changed.
    pub fn revoke(&self, id: &str) -> Result<KeyRecord, KeyFileError> {
        let _lock = self.lock()?;
        let mut keys = self.read()?.unwrap_or_default();
        let place = keys.iter().position(|key| key.id == id);
        let revoked = keys.remove(place.ok_or_else(|| KeyFileError::Unknown(id.to_owned()))?);
        let fresh = self.write(keys)?;
        self.keep(&fresh)?;
        Ok(revoked)
    }

    fn failed(&self, source: io::Error) -> KeyFileError {
        KeyFileError::File { file: self.path.clone(), source }
    }

    /// Locks the file. The lock is released when the returned file is closed.
    fn lock(&self) -> Result<File, KeyFileError> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).map_err(|error| self.failed(error))?;
        }
        let mut open = OpenOptions::new();
        let file = open.write(true).create(true).truncate(false).mode(0o600).open(self.path.with_extension("lock"));
        let file = file.map_err(|error| self.failed(error))?;
        file.lock().map_err(|error| self.failed(error))?;
        Ok(file)
    }

    /// Writes a new file beside the current one.
    fn write(&self, keys: Vec<KeyRecord>) -> Result<PathBuf, KeyFileError> {
        let text = format!("{:#}\n", serde_json::json!(Contents { format: FORMAT, keys }));
        let fresh = self.path.with_extension("new");
        let written = (|| {
            let mut open = OpenOptions::new();
            let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })();
        written.map(|()| fresh).map_err(|error| self.failed(error))
    }

    /// Replaces the current file with the new one.
    fn keep(&self, fresh: &Path) -> Result<(), KeyFileError> {
        fs::rename(fresh, &self.path).and_then(|()| sync_folder_of(&self.path)).map_err(|error| self.failed(error))
    }
}

/// Makes a new or renamed file survive a power cut.
fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
impl KeyFile {
    /// Creates a key that is shown to the test.
    pub fn created(&self, new: NewKey) -> (Token, KeyRecord) {
        let mut shown = None;
        let record = self.create(
            new,
            |_| true,
            |token| {
                shown = Some(token.clone());
                Ok(())
            },
        );
        (shown.unwrap(), record.unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::tests::{READ, WRITE, scopes};

    fn new(name: &str, scopes: &[Scope], owner: Option<Uuid>) -> NewKey {
        NewKey { name: name.to_owned(), scopes: scopes.iter().copied().collect(), owner, expires: None }
    }

    #[test]
    fn a_key_is_kept_as_a_hash_and_can_be_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.json"), scopes());
        assert!(file.read().unwrap().is_none());
        let (token, record) = file.created(new("shop", &[READ], None));
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(&token.secret) && text.contains(&record.hash), "{text}");
        let same: Token = token.expose().parse().unwrap();
        let kept = file.read().unwrap().unwrap();
        assert!(kept[0].is(&same) && same.id() == record.id);
        assert!(!kept[0].is(&Token::random(record.id.clone())));
        file.revoke(&record.id).unwrap();
        assert_eq!(file.read().unwrap().unwrap(), []);
        assert!(matches!(file.revoke(&record.id), Err(KeyFileError::Unknown(_))));
    }

    #[test]
    fn a_key_is_not_made_if_it_could_not_be_meant() {
        let file = KeyFile::new("/nowhere/keys.json".into(), scopes());
        let owner = Some(Uuid::from_u128(1));
        let is_for_bound = |scope| scope == READ;
        let refused = |new| file.create(new, is_for_bound, |_| panic!("there is nothing to show")).unwrap_err();
        assert!(matches!(refused(new("", &[READ], None)), KeyFileError::Name));
        assert!(matches!(refused(new("shop", &[], None)), KeyFileError::NoScope));
        let error = refused(new("app", &[READ, WRITE], owner));
        assert!(matches!(error, KeyFileError::NotForBound(scope) if scope == WRITE));
    }

    #[test]
    fn a_file_with_a_scope_that_is_not_known_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        KeyFile::new(path.clone(), scopes()).created(new("shop", &[WRITE, READ], None));
        let older = KeyFile::new(path, Scopes::new([WRITE]));
        let told = older.read().unwrap_err().to_string();
        assert!(told.contains("there is no scope `things:read`"), "{told}");
        assert!(older.revoke("x").is_err(), "and is not written anew without it");
    }

    #[test]
    fn a_key_that_cannot_be_shown_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.json"), scopes());
        let refused =
            |name| file.create(new(name, &[READ], None), |_| true, |_| Err(io::ErrorKind::StorageFull.into()));
        assert!(matches!(refused("a"), Err(KeyFileError::NotShown(_))));
        assert!(file.read().unwrap().is_none(), "a server without keys still has none");
        file.created(new("b", &[READ], None));
        assert!(refused("c").is_err());
        assert_eq!(file.read().unwrap().unwrap().iter().map(|key| key.name.clone()).collect::<Vec<_>>(), ["b"]);
        assert!(!file.path().with_extension("new").exists());
    }

    #[test]
    fn a_token_never_shows_its_secret_by_accident() {
        let token = Token::of_process();
        assert!(!format!("{token:?}").contains(&token.secret));
    }
}
