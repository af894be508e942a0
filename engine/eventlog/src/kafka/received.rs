//! Copies received records into one shared buffer per batch. An allocation per key, header and value would cost more than all
//! other steps of reading.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::{Record, names};

/// Limits the buffer of a batch, because any record of it keeps the whole buffer alive.
const FULL_BYTES: usize = 256 * 1024;
const FULL_RECORDS: usize = 1024;

/// The next batch of one partition.
#[derive(Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    records: Vec<Parts>,
}

/// A record whose bytes are still in the buffer.
struct Parts {
    offset: u64,
    time_ms: i64,
    key: Option<Range<usize>>,
    headers: Vec<(Cow<'static, str>, Range<usize>)>,
    value: Range<usize>,
}

impl Received {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES || self.records.len() >= FULL_RECORDS
    }

    pub(super) fn push(&mut self, offset: u64, message: &BorrowedMessage<'_>) {
        let key = message.key().map(|key| self.copy(key));
        let value = self.copy(message.payload().unwrap_or_default());
        let headers = message.headers().map(|headers| {
            let copied =
                headers.iter().map(|header| (names::usual(header.key), self.copy(header.value.unwrap_or_default())));
            copied.collect()
        });
        let time_ms = message.timestamp().to_millis().unwrap_or_default();
        self.records.push(Parts { offset, time_ms, key, headers: headers.unwrap_or_default(), value });
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Returns the records so far, and starts a new batch.
    pub(super) fn take(&mut self) -> Vec<Record> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let records = self.records.drain(..).map(|parts| Record {
            offset: parts.offset,
            time_ms: parts.time_ms,
            key: parts.key.map(|range| bytes.slice(range)),
            headers: parts.headers.into_iter().map(|(name, range)| (name, bytes.slice(range))).collect(),
            value: bytes.slice(parts.value),
        });
        records.collect()
    }
}
