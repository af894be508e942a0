//! An e-mail address with the keys that reserve it for one customer.

use orderlog_core::key::{HashKey, Key};

use crate::values::Email;

/// An e-mail address with its keys.
///
/// Earlier versions compared addresses in lower case and claimed only the key of that spelling. It is still claimed, since
/// events name it. If the canonical spelling differs, its key is claimed too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address, as its owner wrote it.
    pub email: Email,
    /// The keyed hash of the address in lower case.
    pub email_key: Key,
    /// The keyed hash of the canonical spelling. `None` if that is the one in lower case.
    pub canonical_key: Option<Key>,
}

impl Address {
    /// Computes the keys with the deployment's secret.
    pub fn new(email: Email, hash_key: &HashKey) -> Self {
        let (folded, canonical) = (email.folded(), email.canonical());
        let key = |spelling: &str| hash_key.unique("email", spelling);
        let canonical_key = (canonical != folded).then(|| key(&canonical));
        Self { email_key: key(&folded), canonical_key, email }
    }

    /// All keys, without duplicates.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        std::iter::once(self.email_key).chain(self.canonical_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::new(Email::new(text).unwrap(), &HashKey::from_secret("s"))
    }

    #[test]
    fn the_keys_of_addresses_are_stable() {
        let ascii = address("Ada@Example.com");
        assert_eq!(
            (String::from(ascii.email_key).as_str(), ascii.canonical_key),
            ("6b28d8d86d8c76cc6f5820b40aba108f", None)
        );
        let composed = address("Ren\u{e9}e@b\u{fc}cher.example");
        let decomposed = address("rene\u{301}e@xn--bcher-kva.example");
        assert_ne!(composed.email_key, decomposed.email_key);
        assert_eq!(composed.canonical_key, decomposed.canonical_key);
        let spelled = HashKey::from_secret("s").unique("email", "ren\u{e9}e@xn--bcher-kva.example");
        assert_eq!(composed.canonical_key, Some(spelled));
        assert_eq!(address("a@b\u{fc}cher.example").canonical_key, Some(address("a@xn--bcher-kva.example").email_key));
    }
}
