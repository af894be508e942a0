//! The packed header of a journal record: everything that arbitration, tracing and idempotency need. It is separate from
//! the payload, so that an undecodable payload can't change which record won.
//!
//! ## Storage format: change nothing here without a new format number
//! Big-endian. `format u8, id [16], time_ms i64, writer [16], type (u8 length, UTF-8), expects (u8 count, then for each:
//! key [16], has_last u8, last [16] if has_last), flags u8`, followed by one field per flag: `1 command (idempotency key
//! [16], fingerprint [16]), 2 cause (event id [16]), 4 correlation [16], 8 trace (u8 length, ASCII)`. Trailing bytes are an
//! error.

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    decider::Millis,
    key::{Key, RecordId},
};

/// The only format so far.
pub const FORMAT: u8 = 1;

/// The name of the record header in the log.
pub const HEADER: &str = "orderlog";
/// The name of the header that an import adds to a foreign record.
pub const FOREIGN: &str = "orderlog-foreign";
/// The name of the only header of a record that an import writes where the exported journal had no record.
pub const GAP: &str = "orderlog-gap";

const HAS_COMMAND: u8 = 1;
const HAS_CAUSE: u8 = 2;
const HAS_CORRELATION: u8 = 4;
const HAS_TRACE: u8 = 8;

/// The state of one key as the record's decision saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    pub key: Key,
    /// The last accepted record that named the key, if any.
    pub last: Option<RecordId>,
}

/// The command that a record answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandStamp {
    /// The hash of its idempotency key. Also in the record's `expects`, with `last: None`.
    pub key: Key,
    /// Distinguishes it from another command with the same key.
    pub fingerprint: [u8; 16],
}

/// Why a record was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The public event that this record answers, if any.
    pub cause: Option<Uuid>,
    /// The first event of the causal chain. `None` if this record begins it.
    pub correlation: Option<Uuid>,
    /// W3C `traceparent` of the request.
    pub trace: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minted for this decision.
    pub id: RecordId,
    /// By the writer's clock. Informational, and used by `as_of`; no decision depends on it.
    pub time_ms: Millis,
    /// The instance that wrote it.
    pub writer: Uuid,
    /// The event's name, such as `order_placed`.
    pub kind: String,
    /// The keys the decision read. 1 to 255, without duplicates.
    pub expects: Vec<Expect>,
    /// The command, if it has an idempotency key.
    pub command: Option<CommandStamp>,
    pub origin: Origin,
}

/// The header of a journal record, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    Header(&'a Bytes),
    /// None: another program wrote the record. It is void.
    Foreign,
    /// None: an import wrote the record to keep the offsets after it. It is not part of the journal.
    Gap,
    /// None, in a log that only orderlog writes to: the record is damaged.
    Missing,
}

impl<'a> Stored<'a> {
    /// `header` returns the value of a record's header by name. `admits_foreign` is whether other programs can write to the log.
    pub fn of(header: impl Fn(&str) -> Option<&'a Bytes>, admits_foreign: bool) -> Self {
        match header(HEADER) {
            Some(bytes) => Self::Header(bytes),
            None if header(GAP).is_some() => Self::Gap,
            None if admits_foreign || header(FOREIGN).is_some() => Self::Foreign,
            None => Self::Missing,
        }
    }

    /// Decodes the header; `None` for a record that orderlog did not write, which is valid but never counts.
    ///
    /// # Errors
    /// [`HeaderError`] if the header can't be decoded, or is missing where it must not be.
    pub fn decode(self) -> Result<Option<Header>, HeaderError> {
        match self {
            Self::Header(bytes) => Header::decode(bytes).map(Some),
            Self::Foreign | Self::Gap => Ok(None),
            Self::Missing => Err(HeaderError::Malformed("it has none")),
        }
    }
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Written by a newer program. Skipping it would produce a different history, so the service stops until it is
    /// upgraded.
    #[error("the record has format {0}, this program knows only format {FORMAT}: upgrade before reading on")]
    UnknownFormat(u8),
    /// Not a header: the record is damaged, or another program uses orderlog's header name.
    #[error("the record's header can't be read: {0}")]
    Malformed(&'static str),
}

impl Header {
    /// The first key that the record names.
    pub fn about(&self) -> Key {
        self.expects.first().map_or(Key::GENESIS, |expect| expect.key)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + 33 * self.expects.len() + self.kind.len());
        out.push(FORMAT);
        out.extend_from_slice(self.id.0.as_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(self.writer.as_bytes());
        push_short(&mut out, self.kind.as_bytes());
        out.push(u8::try_from(self.expects.len()).expect("a record names at most 255 keys: requests are bounded"));
        for expect in &self.expects {
            out.extend_from_slice(expect.key.as_bytes());
            out.push(u8::from(expect.last.is_some()));
            if let Some(last) = expect.last {
                out.extend_from_slice(last.0.as_bytes());
            }
        }
        self.encode_options(&mut out);
        out
    }

    fn encode_options(&self, out: &mut Vec<u8>) {
        let Origin { cause, correlation, trace } = &self.origin;
        let flags = [
            (self.command.is_some(), HAS_COMMAND),
            (cause.is_some(), HAS_CAUSE),
            (correlation.is_some(), HAS_CORRELATION),
            (trace.is_some(), HAS_TRACE),
        ];
        out.push(flags.iter().filter(|(has, _)| *has).map(|(_, flag)| flag).sum());
        if let Some(command) = &self.command {
            out.extend_from_slice(command.key.as_bytes());
            out.extend_from_slice(&command.fingerprint);
        }
        for id in [cause, correlation].into_iter().flatten() {
            out.extend_from_slice(id.as_bytes());
        }
        if let Some(trace) = trace {
            push_short(out, trace.as_bytes());
        }
    }

    /// Decodes a stored header.
    ///
    /// # Errors
    /// [`HeaderError`] if the format is unknown or the bytes are malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut rest = Rest(bytes);
        match rest.byte()? {
            FORMAT => {}
            other => return Err(HeaderError::UnknownFormat(other)),
        }
        let id = RecordId(Uuid::from_bytes(rest.array()?));
        let time_ms = Millis::from_be_bytes(rest.array()?);
        let writer = Uuid::from_bytes(rest.array()?);
        let kind = rest.short_text()?;
        let n_expects = rest.byte()?;
        let mut expects = Vec::with_capacity(usize::from(n_expects));
        for _ in 0..n_expects {
            let key = Key::from_bytes(rest.array()?);
            let last = if rest.byte()? == 0 { None } else { Some(RecordId(Uuid::from_bytes(rest.array()?))) };
            expects.push(Expect { key, last });
        }
        if expects.is_empty() {
            return Err(HeaderError::Malformed("it names no key"));
        }
        let flags = rest.byte()?;
        let command = if flags & HAS_COMMAND == 0 {
            None
        } else {
            Some(CommandStamp { key: Key::from_bytes(rest.array()?), fingerprint: rest.array()? })
        };
        let mut id_if = |flag| if flags & flag == 0 { Ok(None) } else { rest.array().map(Uuid::from_bytes).map(Some) };
        let (cause, correlation) = (id_if(HAS_CAUSE)?, id_if(HAS_CORRELATION)?);
        let trace = if flags & HAS_TRACE == 0 { None } else { Some(rest.short_text()?) };
        if !rest.0.is_empty() {
            return Err(HeaderError::Malformed("bytes are left over"));
        }
        Ok(Self { id, time_ms, writer, kind, expects, command, origin: Origin { cause, correlation, trace } })
    }
}

fn push_short(out: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(255)];
    out.push(u8::try_from(text.len()).expect("cut to 255"));
    out.extend_from_slice(text);
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8], HeaderError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(HeaderError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, HeaderError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    fn short_text(&mut self) -> Result<String, HeaderError> {
        let length = usize::from(self.byte()?);
        let text =
            std::str::from_utf8(self.take(length)?).map_err(|_| HeaderError::Malformed("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full() -> Header {
        let id = |n: u8| Uuid::from_bytes([n; 16]);
        Header {
            id: RecordId(id(1)),
            time_ms: 0x0102_0304,
            writer: id(2),
            kind: "order_placed".into(),
            expects: vec![
                Expect { key: Key::from_bytes([3; 16]), last: None },
                Expect { key: Key::from_bytes([4; 16]), last: Some(RecordId(id(5))) },
            ],
            command: Some(CommandStamp { key: Key::from_bytes([3; 16]), fingerprint: [6; 16] }),
            origin: Origin { cause: Some(id(7)), correlation: Some(id(8)), trace: Some("00-ab".into()) },
        }
    }

    #[test]
    fn a_header_comes_back_as_it_was() {
        let bare = Header { command: None, origin: Origin::default(), ..full() };
        for header in [full(), bare] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn the_stored_format_is_stable() {
        let hex: String = full().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = concat!(
            "01",
            "01010101010101010101010101010101",
            "0000000001020304",
            "02020202020202020202020202020202",
            "0c",
            "6f726465725f706c61636564",
            "02",
            "03030303030303030303030303030303",
            "00",
            "04040404040404040404040404040404",
            "01",
            "05050505050505050505050505050505",
            "0f",
            "03030303030303030303030303030303",
            "06060606060606060606060606060606",
            "07070707070707070707070707070707",
            "08080808080808080808080808080808",
            "05",
            "30302d6162"
        );
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_newer_format_is_told_from_rubbish() {
        let mut newer = full().encode();
        newer[0] = 2;
        assert_eq!(Header::decode(&newer), Err(HeaderError::UnknownFormat(2)));
        let bytes = full().encode();
        for end in 0..bytes.len() {
            assert!(matches!(Header::decode(&bytes[..end]), Err(HeaderError::Malformed(_))), "cut at {end}");
        }
    }

    #[test]
    fn a_record_without_a_header_is_foreign_only_where_others_can_write_or_an_import_marked_it() {
        let (bytes, none) = (Bytes::from(full().encode()), Bytes::new());
        let stored = |names: &[&str], admits_foreign| {
            let header = |name: &str| names.contains(&name).then_some(if name == HEADER { &bytes } else { &none });
            Stored::of(header, admits_foreign)
        };
        assert_eq!(stored(&[], false), Stored::Missing);
        assert!(Stored::Missing.decode().is_err());
        assert_eq!(stored(&[], true), Stored::Foreign);
        for admits_foreign in [false, true] {
            assert_eq!(stored(&[FOREIGN], admits_foreign), Stored::Foreign);
            assert_eq!(stored(&[GAP], admits_foreign), Stored::Gap);
            // A header that is there counts, whatever stands beside it.
            assert_eq!(stored(&[FOREIGN, GAP, HEADER], admits_foreign).decode(), Ok(Some(full())));
        }
        assert!(Stored::Header(&none).decode().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&bytes);
            let _ = Header::decode(&[&[FORMAT], bytes.as_slice()].concat());
        }
    }
}
