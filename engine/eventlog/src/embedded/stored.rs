//! The stored form of a record. The columns are `offset`, `head` (everything but the value), `value` (as appended, so that it is
//! readable in a SQLite shell) and `sum`. There are few columns because reading each one takes time.
//!
//! `head`, with all numbers little-endian: the time in milliseconds (8 bytes); the key's length (4 bytes, `u32::MAX` for no key)
//! and bytes; then each header: the name's length (4 bytes), name, the value's length (4 bytes), value.
//!
//! `sum` (see [`sum`]) detects damage but not tampering, since it has no secret key. Older versions wrote no sum, but can read and
//! write files that have the column. Their rows contain `null` there and are not checked.

use bytes::Bytes;
use rusqlite::types::ValueRef;

use crate::{NewRecord, Record, RecordHeader, names};

const NO_KEY: u32 = u32::MAX;

/// A row differs from what was written: the file is damaged, or another program changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRow {
    #[error("its head can't be decoded")]
    Head,
    /// The offset, head or value does not match the sum.
    #[error("its time, key, headers or value were changed: the checksum is another one")]
    Sum,
    /// The sum is neither an integer nor null.
    #[error("its checksum is no number")]
    NoSum,
}

/// Returns the checksum of a row: the first 8 bytes, as a big-endian integer, of the BLAKE3 hash over the offset and the head's
/// length (8 bytes each, big-endian), the head and the value.
pub(super) fn sum(offset: u64, head: &[u8], value: &[u8]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_be_bytes()).update(&(head.len() as u64).to_be_bytes()).update(head).update(value);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    i64::from_be_bytes(first)
}

/// Checks a row against its sum. A row without one passes.
pub(super) fn check(offset: u64, head: &[u8], value: &[u8], stored: ValueRef<'_>) -> Result<(), BadRow> {
    match stored {
        ValueRef::Null => Ok(()),
        ValueRef::Integer(stored) if stored == sum(offset, head, value) => Ok(()),
        ValueRef::Integer(_) => Err(BadRow::Sum),
        ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => Err(BadRow::NoSum),
    }
}

/// The approximate size of the record in the file, in bytes.
pub(super) fn size(record: &NewRecord) -> usize {
    payload(&record.key, &record.headers, &record.value)
}

/// The approximate size of the record in memory, in bytes.
pub(super) fn size_in_memory(record: &Record) -> usize {
    size_of::<Record>()
        + record.headers.len() * size_of::<RecordHeader>()
        + payload(&record.key, &record.headers, &record.value)
}

fn payload(key: &Option<Bytes>, headers: &[RecordHeader], value: &Bytes) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    key.as_ref().map_or(0, Bytes::len) + headers + value.len()
}

/// Encodes the `head` of a record. Its parts are below 4 GiB, because [`NewRecord::fits`] was checked before.
pub(super) fn encode_head(record: &Record) -> Vec<u8> {
    let mut head =
        Vec::with_capacity(12 + record.headers.len() * 8 + payload(&record.key, &record.headers, &Bytes::new()));
    head.extend_from_slice(&record.time_ms.to_le_bytes());
    match &record.key {
        Some(key) => push(&mut head, key),
        None => head.extend_from_slice(&NO_KEY.to_le_bytes()),
    }
    for (name, value) in &record.headers {
        push(&mut head, name.as_bytes());
        push(&mut head, value);
    }
    head
}

fn push(head: &mut Vec<u8>, bytes: &[u8]) {
    let length =
        u32::try_from(bytes.len()).expect("records larger than a log takes are refused when they are appended");
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(bytes);
}

/// Decodes the record of a row. The key and header values share the head's memory.
pub(super) fn decode(offset: u64, mut head: Bytes, value: Bytes) -> Result<Record, BadRow> {
    parse(&mut head, offset, value).ok_or(BadRow::Head)
}

fn parse(head: &mut Bytes, offset: u64, value: Bytes) -> Option<Record> {
    let time_ms = i64::from_le_bytes(take(head, 8)?.as_ref().try_into().ok()?);
    let key = match take_length(head)? {
        NO_KEY => None,
        length => Some(take(head, length as usize)?),
    };
    // Journal records have one header.
    let mut headers = Vec::with_capacity(1);
    while !head.is_empty() {
        let length = take_length(head)?;
        let name = take(head, length as usize)?;
        let name = names::usual(std::str::from_utf8(&name).ok()?);
        let length = take_length(head)?;
        headers.push((name, take(head, length as usize)?));
    }
    Some(Record { offset, time_ms, key, headers, value })
}

fn take_length(head: &mut Bytes) -> Option<u32> {
    Some(u32::from_le_bytes(take(head, 4)?.as_ref().try_into().ok()?))
}

fn take(head: &mut Bytes, length: usize) -> Option<Bytes> {
    (head.len() >= length).then(|| head.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            offset: 7,
            time_ms: 258,
            key: Some(Bytes::from_static(b"k")),
            headers: vec![("a".into(), Bytes::from_static(b"xy")), ("a".into(), Bytes::new())],
            value: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn the_stored_head_is_stable() {
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'k'];
        expected.extend([1, 0, 0, 0, b'a', 2, 0, 0, 0, b'x', b'y', 1, 0, 0, 0, b'a', 0, 0, 0, 0]);
        assert_eq!(encode_head(&record()), expected);
    }

    #[test]
    fn the_sum_is_stable() {
        assert_eq!(sum(7, &encode_head(&record()), b"{}"), 2_407_114_097_394_361_374);
    }

    #[test]
    fn any_changed_byte_changes_the_sum() {
        let (head, value) = (encode_head(&record()), b"{}".to_vec());
        let stored = ValueRef::Integer(sum(7, &head, &value));
        assert_eq!(check(7, &head, &value, stored), Ok(()));
        assert_eq!(check(8, &head, &value, stored), Err(BadRow::Sum));
        for at in 0..head.len() {
            let mut changed = head.clone();
            changed[at] ^= 1;
            assert_eq!(check(7, &changed, &value, stored), Err(BadRow::Sum), "{at}");
        }
        assert_eq!(check(7, &head, b"{ ", stored), Err(BadRow::Sum));
        let (longer, shorter) = ([&head[..], b"{"].concat(), &value[1..]);
        assert_eq!(check(7, &longer, shorter, stored), Err(BadRow::Sum), "a byte moved from the value to the head");
        assert_eq!(check(7, &head, &value, ValueRef::Null), Ok(()), "written by a version without sums");
        assert_eq!(check(7, &head, &value, ValueRef::Text(b"0")), Err(BadRow::NoSum));
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let without_key = Record { key: None, headers: Vec::new(), ..record() };
        for record in [record(), without_key] {
            assert_eq!(decode(7, encode_head(&record).into(), record.value.clone()).unwrap(), record);
        }
    }

    #[test]
    fn a_head_cut_short_is_an_error() {
        let head = encode_head(&record());
        for length in [0, 7, 9, 12, 15, head.len() - 1] {
            assert!(decode(7, Bytes::copy_from_slice(&head[..length]), Bytes::new()).is_err(), "{length}");
        }
    }
}
