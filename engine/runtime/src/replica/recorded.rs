//! Journal records decoded as events.

use orderlog_core::{
    decider::Decider,
    decoding::DecodeError,
    header::{Header, Stored},
    known::{self, Unknown},
    machine::{DISCARD, GENESIS},
};

/// An event of a journal record, with its header.
#[derive(Clone, Debug)]
pub struct Recorded<D: Decider> {
    pub offset: u64,
    pub header: Header,
    pub event: D::Event,
}

/// Why a journal record is not an event of the service.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    #[error(transparent)]
    Header(#[from] orderlog_core::header::HeaderError),
    #[error("its payload is no event of this service")]
    Payload(#[from] DecodeError),
}

impl<D: Decider> Recorded<D> {
    /// Decodes an accepted `record`; `None` for the genesis, a discard of another record, and a gap.
    pub fn decode(record: &orderlog_eventlog::Record) -> Result<Option<Self>, RecordedError> {
        Self::decode_without(record, &[])
    }

    /// Like [`Recorded::decode`], by a program that does not know the event kinds in `unknown`.
    pub fn decode_without(record: &orderlog_eventlog::Record, unknown: Unknown) -> Result<Option<Self>, RecordedError> {
        // Foreign records are void, so they are only expected where an import marked them.
        let Some(header) = Stored::of(|name| record.header(name), false).decode()? else { return Ok(None) };
        if [GENESIS, DISCARD].contains(&header.kind.as_str()) {
            return Ok(None);
        }
        let event = known::decode(&header.kind, &record.value, unknown)?;
        Ok(Some(Self { offset: record.offset, event, header }))
    }
}
