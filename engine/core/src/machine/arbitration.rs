//! The rule by which a journal decides which records count.

use crate::{
    header::Expect,
    key::{Key, RecordId},
};

/// Whether a record is accepted, walking the journal from its start: each key's last accepted record must be the one it
/// expects, and no earlier copy of it may have been void.
///
/// The rule reads no clock, payload or version number. With versions, a pipelined record that relies on its predecessor's
/// outcome could be accepted on top of another instance's record with the same count. Void ids must be remembered: a record
/// that overtook its predecessor is void, and a late copy would be accepted once the predecessor lands.
pub fn accepts(id: RecordId, expects: &[Expect], last: impl Fn(&Key) -> Option<RecordId>) -> bool {
    last(&id.as_key()).is_none() && expects.iter().all(|expect| last(&expect.key) == expect.last)
}
