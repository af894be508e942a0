//! How a record lies in its row: `offset`, `head` (everything but the value), `value` (as appended, readable in any shell).
//!
//! Few columns, because each column of each row costs an allocation when it is read.
//!
//! `head`, all numbers little-endian: time in milliseconds (8 bytes); the key's length (4 bytes, all ones for none) and
//! bytes; then, to its end, each header: the name's length (4 bytes), name, the value's length (4 bytes), value.

use bytes::Bytes;

use crate::{NewRecord, Record, RecordHeader, names};

const NO_KEY: u32 = u32::MAX;

/// The head's bytes make no sense: the file was damaged, or another program wrote it.
#[derive(Debug, thiserror::Error)]
#[error("the head of record {offset} can't be decoded")]
pub(super) struct BadHead {
    pub offset: u64,
}

/// How many bytes the record takes, about.
pub(super) fn size(record: &NewRecord) -> usize {
    payload(&record.key, &record.headers, &record.value)
}

/// How many bytes keeping the record in memory takes, about.
pub(super) fn size_in_memory(record: &Record) -> usize {
    size_of::<Record>()
        + record.headers.len() * size_of::<RecordHeader>()
        + payload(&record.key, &record.headers, &record.value)
}

fn payload(key: &Option<Bytes>, headers: &[RecordHeader], value: &Bytes) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    key.as_ref().map_or(0, Bytes::len) + headers + value.len()
}

/// The `head` of a record. Its parts are below 4 GiB, because [`size`] was looked at before.
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
    let length = u32::try_from(bytes.len()).expect("records above 16 MiB are refused when they are appended");
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(bytes);
}

/// The record of a row. Key and header values share the head's memory.
pub(super) fn decode(offset: u64, mut head: Bytes, value: Bytes) -> Result<Record, BadHead> {
    parse(&mut head, offset, value).ok_or(BadHead { offset })
}

fn parse(head: &mut Bytes, offset: u64, value: Bytes) -> Option<Record> {
    let time_ms = i64::from_le_bytes(take(head, 8)?.as_ref().try_into().ok()?);
    let key = match take_length(head)? {
        NO_KEY => None,
        length => Some(take(head, length as usize)?),
    };
    // Journal records have one.
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
