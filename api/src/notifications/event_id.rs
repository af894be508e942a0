//! Event ids in a stream of notifications: `notifications@1042.3f9ab2c41d5e6f70` names the record that made the
//! notification, by its offset and a print of its id. A log that was restored from an older copy and has grown again
//! has another record there.

use std::{fmt, str::FromStr};

use orderlog_core::key::RecordId;
use orderlog_domain::notifications::Notifications;
use orderlog_http::{freshness::Position, names::ServiceName};
use orderlog_runtime::marks;
use poem::{Request, http::HeaderValue};
use poem_openapi::registry::MetaSchema;

const JOURNAL: ServiceName = ServiceName::of::<Notifications>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The offset of the record, which is the notification's sequence.
    pub sequence: u64,
    /// Distinguishes the record from another one at the same offset. `None` for a bare number, as earlier versions sent
    /// them.
    pub print: Option<u64>,
}

impl EventId {
    /// The event id of this record.
    pub fn new(sequence: u64, record: Option<RecordId>) -> Self {
        Self { sequence, print: record.map(marks::print_of_id) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = Position { journal: JOURNAL, offset: self.sequence };
        match self.print {
            Some(print) => write!(f, "{position}.{print:016x}"),
            None => write!(f, "{position}"),
        }
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self { sequence, print: None });
        }
        let (position, print) = match text.split_once('.') {
            Some((position, print)) => (position, Some(u64::from_str_radix(print, 16).map_err(drop)?)),
            None => (text, None),
        };
        let position = Position::read(position, &[JOURNAL]).ok_or(())?;
        Ok(Self { sequence: position.offset, print })
    }
}

/// `Last-Event-ID`. Even if it is invalid a stream begins, because browsers do not reconnect after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastEventId {
    /// The caller has received no event yet.
    None,
    /// The last event that the caller received.
    Some(EventId),
    /// Not an id of this journal.
    Foreign,
}

impl LastEventId {
    fn read(header: Option<&[u8]>) -> Self {
        match header {
            None | Some([]) => Self::None,
            Some(id) => std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).map_or(Self::Foreign, Self::Some),
        }
    }
}

orderlog_http::request_parameter!(LastEventId, Header, MetaSchema::new("string"), |request: &Request| {
    Ok(LastEventId::read(request.headers().get("Last-Event-ID").map(HeaderValue::as_bytes)))
});

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_id_names_its_journal_and_record_and_comes_back() {
        let record = RecordId(Uuid::from_u128(0x0123_4567_89ab_cdef_3f9a_b2c4_1d5e_6f70));
        let id = EventId::new(1042, Some(record));
        assert_eq!(id.to_string(), "notifications@1042.3f9ab2c41d5e6f70");
        let read = |text: &str| LastEventId::read(Some(text.as_bytes()));
        assert_eq!(read(&id.to_string()), LastEventId::Some(id));
        for bare in ["1042", "notifications@1042"] {
            assert_eq!(read(bare), LastEventId::Some(EventId { sequence: 1042, print: None }));
        }
        assert_eq!(read("18446744073709551615"), LastEventId::Some(EventId { sequence: u64::MAX, print: None }));
    }

    #[test]
    fn whatever_is_no_id_of_this_journal_is_foreign() {
        assert_eq!(LastEventId::read(None), LastEventId::None);
        assert_eq!(LastEventId::read(Some(b"")), LastEventId::None);
        for foreign in [
            "x",
            "-1",
            "18446744073709551616",
            "orders@7",
            "notifications@",
            "notifications@7.",
            "notifications@7.xyz",
            "\u{e4}",
        ] {
            assert_eq!(LastEventId::read(Some(foreign.as_bytes())), LastEventId::Foreign, "{foreign}");
        }
        assert_eq!(LastEventId::read(Some(&[0xff])), LastEventId::Foreign);
    }
}
