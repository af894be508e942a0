//! Which events of a journal a program can read: those it has a type for.
//!
//! During a rollout two versions share one journal, and the older one knows fewer kinds of events. A test that needs an
//! older program makes this one behave like it: the kinds it lists become unreadable.

use serde::de::DeserializeOwned;

use crate::decoding::{self, DecodeError};

/// Kinds of events to treat as unknown. Empty except in such tests.
pub type Unknown = &'static [&'static str];

/// Decodes a record's value as an event of this kind.
///
/// # Errors
/// [`DecodeError`] if the kind is unknown or the value does not match.
pub fn decode<E: DeserializeOwned>(kind: &str, value: &[u8], unknown: Unknown) -> Result<E, DecodeError> {
    if unknown.contains(&kind) {
        return Err(DecodeError::unknown_variant());
    }
    decoding::from_slice(value)
}
