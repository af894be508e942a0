//! What a program can read of a journal: every kind of event that it has a type for.
//!
//! A rollout has two programs on one journal, of which the older one knows fewer kinds. A test that needs an older program
//! has this one pass for it: it names kinds that are then as unreadable as to a program that has never heard of them.

use serde::de::DeserializeOwned;

use crate::decoding::{self, DecodeError};

/// Kinds of events, as journals name them, that a program has to take for unknown; none, but in such a test.
pub type Unknown = &'static [&'static str];

/// The event of this kind that a record's value is.
///
/// # Errors
/// Why it can't be read.
pub fn decode<E: DeserializeOwned>(kind: &str, value: &[u8], unknown: Unknown) -> Result<E, DecodeError> {
    if unknown.contains(&kind) {
        return Err(DecodeError::unknown_variant());
    }
    decoding::from_slice(value)
}
