//! The rule by which a journal decides which records count.

use crate::{
    header::Expect,
    key::{Key, RecordId},
};

/// Whether a record is accepted: walking the journal from its start, it is iff each key's last accepted record is the one it
/// expects, and no copy of it was void before.
///
/// No clock, no payload and no version number takes part. Versions would not do: a pipelined record that counts on its
/// predecessor's outcome would be accepted on top of a stranger's record with the same count. Nor would forgetting void ids:
/// a record that overtook its predecessor is void, and a late copy of it would come alive when the predecessor lands.
pub fn accepts(id: RecordId, expects: &[Expect], last: impl Fn(&Key) -> Option<RecordId>) -> bool {
    last(&id.as_key()).is_none() && expects.iter().all(|expect| last(&expect.key) == expect.last)
}
