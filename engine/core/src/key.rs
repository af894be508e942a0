//! Keys and record ids, the terms of the arbitration rule.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::planted::Bug;

/// Something that only one record at a time may change or claim: an aggregate, or a value that must be unique.
///
/// 16 bytes. An aggregate with a UUID uses it as its key; an aggregate with a name uses an unkeyed hash of it. Personal or
/// secret values (e-mail addresses, idempotency keys) are hashed with the deployment's [`HashKey`]: a plain hash of an
/// e-mail address can be reversed by guessing, and the log can't forget it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key([u8; 16]);

impl Key {
    /// The key that a journal's first record claims.
    pub const GENESIS: Self = Self([0; 16]);

    /// The key with exactly these bytes, as stored.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key of the aggregate with this id.
    pub fn of(id: impl Into<Uuid>) -> Self {
        Self(*id.into().as_bytes())
    }

    /// The key of the aggregate with this kind and name. Names are unique per kind.
    pub fn named(kind: &str, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind.as_bytes()).update(&[0]).update(name.as_bytes());
        Self(truncated(hasher.finalize()))
    }

    /// The bytes, as stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", Uuid::from_bytes(self.0).simple())
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        Uuid::from_bytes(key.0).simple().to_string()
    }
}

impl TryFrom<String> for Key {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Uuid::try_parse(&text).map(|id| Self(*id.as_bytes()))
    }
}

/// The id of one record in a journal: a UUIDv7, minted anew for every decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub Uuid);

impl RecordId {
    /// The id as a key. A void record's id is kept among the heads, so that it stays void permanently.
    pub fn as_key(self) -> Key {
        Key(*self.0.as_bytes())
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The deployment's secret for hashing personal and secret values into keys. All instances of a service share it. It can't
/// be changed once the journal has begun: the journal's first record holds its fingerprint.
#[derive(Clone)]
pub struct HashKey([u8; 32]);

impl HashKey {
    /// Derives the key from a secret text of any length.
    pub fn from_secret(secret: &str) -> Self {
        Self(blake3::derive_key("orderlog 2026 hash key", secret.as_bytes()))
    }

    /// Identifies the hash key without revealing it.
    pub fn fingerprint(&self) -> String {
        Uuid::from_bytes(self.digest(&["fingerprint"])).simple().to_string()
    }

    /// The key of a value that must be unique in its namespace, such as an e-mail address.
    pub fn unique(&self, namespace: &str, value: &str) -> Key {
        Key(self.digest(&["unique", namespace, value]))
    }

    /// The key of a caller's idempotency key for one operation.
    pub fn idempotency(&self, caller: &str, operation: &str, key: &str) -> Key {
        let caller = if Bug::ShareKeys.is_loose() { "" } else { caller };
        Key(self.digest(&["idempotency", caller, operation, key]))
    }

    /// Identifies a parsed command. Differently written requests for the same command have the same fingerprint.
    pub fn command_fingerprint(&self, command: &str) -> [u8; 16] {
        self.digest(&["command", command])
    }

    fn digest(&self, parts: &[&str]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        truncated(hasher.finalize())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

fn truncated(hash: blake3::Hash) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_namespaces_differ() {
        let secret = HashKey::from_secret("s");
        assert_ne!(secret.unique("email", "a"), secret.unique("emai", "la"));
        assert_ne!(secret.unique("email", "a"), HashKey::from_secret("t").unique("email", "a"));
        assert_ne!(Key::named("sku", "a"), Key::named("reservation", "a"));
    }

    #[test]
    fn stored_keys_are_stable() {
        assert_eq!(String::from(Key::named("sku", "widget")), "eea53db84512cc7ce937c1d3af59f2de");
        let secret = HashKey::from_secret("s");
        assert_eq!(String::from(secret.unique("email", "ada@example.com")), "6b28d8d86d8c76cc6f5820b40aba108f");
        assert_eq!(
            String::from(secret.idempotency("anonymous", "POST /orders", "k")),
            "d72749889f80feb3dbb0173a8ae837bb"
        );
        assert_eq!(
            String::from(Key(secret.command_fingerprint(r#"["cancel","o"]"#))),
            "9da0ce7c77697dfb87a1bedc5f3f3edc"
        );
        assert_eq!(secret.fingerprint(), "a65b3eda6208f791cbba0fb3582b37d0");
    }
}
