//! Names of record headers, of which there are only a few different ones.

use std::borrow::Cow;

/// Header names that need no allocation: those of CloudEvents, and the one used in our journals.
const USUAL: &[&str] = &[
    "orderlog",
    "content-type",
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_subject",
    "ce_time",
    "ce_dataschema",
    "ce_sequence",
    "ce_correlationid",
    "ce_causationid",
    "ce_traceparent",
];

/// Returns the name, without an allocation if it is a usual one.
pub(crate) fn usual(name: &str) -> Cow<'static, str> {
    USUAL
        .iter()
        .find(|usual| **usual == name)
        .map_or_else(|| Cow::Owned(name.to_owned()), |usual| Cow::Borrowed(*usual))
}
