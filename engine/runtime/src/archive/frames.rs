//! The encoding of records in files and in transfers from a running server.
//!
//! ## Storage format: change nothing here without a new format number
//! Big-endian: offset (8), time in milliseconds (8), the key's length (4, all ones if there is no key) and bytes, the number of headers
//! (4), each as the name's length (4), name, the value's length (4) and value; then the record's value, to the end.
//!
//! In a transfer from a server, a length of all ones marks the next record as damaged: its offset (8), the length of the reason (4) and
//! the reason follow. Nothing comes after that.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use orderlog_eventlog::Record;

/// The maximum length of a record. Logs reject records far below that, so a greater length means damage.
pub const MAX_BYTES: u32 = 64 * 1024 * 1024;

const NO_KEY: u32 = u32::MAX;
/// Takes the place of a record's length.
const DAMAGE: u32 = u32::MAX;

/// Appends the record's length and bytes to `out`.
pub fn push(out: &mut BytesMut, record: &Record) {
    let start = out.len();
    out.put_u32(0);
    out.put_u64(record.offset);
    out.put_i64(record.time_ms);
    match &record.key {
        Some(key) => push_long(out, key),
        None => out.put_u32(NO_KEY),
    }
    out.put_u32(short(record.headers.len()));
    for (name, value) in &record.headers {
        push_long(out, name.as_bytes());
        push_long(out, value);
    }
    out.put_slice(&record.value);
    let length = short(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a marker that the record at `offset` is damaged.
pub fn push_damage(out: &mut BytesMut, offset: u64, reason: &str) {
    out.put_u32(DAMAGE);
    out.put_u64(offset);
    push_long(out, reason.as_bytes());
}

fn push_long(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(short(bytes.len()));
    out.put_slice(bytes);
}

fn short(length: usize) -> u32 {
    u32::try_from(length).expect("no log takes records of 4 GiB")
}

/// Decodes a record, without its leading length; `None` if the bytes are not a record.
pub fn parse(mut bytes: Bytes) -> Option<Record> {
    let offset = bytes.try_get_u64().ok()?;
    let time_ms = bytes.try_get_i64().ok()?;
    let key = match bytes.try_get_u32().ok()? {
        NO_KEY => None,
        length => Some(take(&mut bytes, length as usize)?),
    };
    let n_headers = bytes.try_get_u32().ok()?;
    let mut headers = Vec::new();
    for _ in 0..n_headers {
        let length = bytes.try_get_u32().ok()?;
        let name = take(&mut bytes, length as usize)?;
        let name = Cow::Owned(std::str::from_utf8(&name).ok()?.to_owned());
        let length = bytes.try_get_u32().ok()?;
        headers.push((name, take(&mut bytes, length as usize)?));
    }
    Some(Record { offset, time_ms, key, headers, value: bytes })
}

/// Takes the next record from `bytes`. Takes nothing if `bytes` ends within the record.
pub fn take_record(bytes: &mut BytesMut) -> Result<Option<Record>, FrameError> {
    let Some(length) = bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length)) else { return Ok(None) };
    if length == DAMAGE {
        return damage(&bytes[4..]).map_or(Ok(None), Err);
    }
    if length > MAX_BYTES {
        return Err(FrameError::Bad);
    }
    let length = length as usize;
    if bytes.len() < 4 + length {
        bytes.reserve(4 + length - bytes.len());
        return Ok(None);
    }
    bytes.advance(4);
    parse(bytes.split_to(length).freeze()).map(Some).ok_or(FrameError::Bad)
}

/// Decodes the marker of [`push_damage`]; `None` if it is incomplete.
fn damage(mut bytes: &[u8]) -> Option<FrameError> {
    let offset = bytes.try_get_u64().ok()?;
    let length = bytes.try_get_u32().ok()?;
    let reason = bytes.get(..length as usize)?;
    Some(FrameError::Damaged { offset, reason: String::from_utf8_lossy(reason).into_owned() })
}

/// Why there is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes are not a record.
    #[error("these bytes are no record")]
    Bad,
    /// The record is damaged in the log.
    #[error("the record at offset {offset} is damaged: {reason}")]
    Damaged { offset: u64, reason: String },
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
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
    fn the_stored_format_is_stable() {
        let mut bytes = BytesMut::new();
        push(&mut bytes, &record());
        let mut expected =
            vec![0, 0, 0, 47, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, b'k', 0, 0, 0, 2];
        expected.extend([0, 0, 0, 1, b'a', 0, 0, 0, 2, b'x', b'y', 0, 0, 0, 1, b'a', 0, 0, 0, 0, b'{', b'}']);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let bare = Record { key: None, headers: Vec::new(), value: Bytes::new(), ..record() };
        let mut bytes = BytesMut::new();
        for record in [record(), bare.clone()] {
            push(&mut bytes, &record);
        }
        assert_eq!(take_record(&mut bytes), Ok(Some(record())));
        assert_eq!(take_record(&mut bytes), Ok(Some(bare)));
        assert_eq!(take_record(&mut bytes), Ok(None));
    }

    #[test]
    fn damage_is_handed_on_behind_the_records_before_it() {
        let mut bytes = BytesMut::new();
        push(&mut bytes, &record());
        push_damage(&mut bytes, 8, "it is missing");
        let mut cut = BytesMut::from(&bytes[..bytes.len() - 1]);
        assert_eq!(take_record(&mut bytes), Ok(Some(record())));
        let damaged = FrameError::Damaged { offset: 8, reason: "it is missing".to_owned() };
        assert_eq!(take_record(&mut bytes), Err(damaged));
        assert_eq!(take_record(&mut cut), Ok(Some(record())));
        assert_eq!(take_record(&mut cut), Ok(None), "the rest may still come");
    }

    #[test]
    fn what_is_cut_short_is_waited_for_and_what_is_too_long_is_refused() {
        let mut whole = BytesMut::new();
        push(&mut whole, &record());
        for length in 0..whole.len() {
            assert_eq!(take_record(&mut BytesMut::from(&whole[..length])), Ok(None), "{length}");
        }
        assert_eq!(take_record(&mut BytesMut::from(&[254; 8][..])), Err(FrameError::Bad));
        for length in 0..45 {
            assert_eq!(parse(Bytes::copy_from_slice(&whole[4..4 + length])), None, "{length}");
        }
    }
}
