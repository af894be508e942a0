//! A topic: its SQL statements, its newest records in memory, and its end.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, Statement, types::Type};
use tokio::sync::watch;

use super::stored;
use crate::{Record, TopicKind};

/// How many bytes of the newest records are kept in memory. Readers that are further behind read the file.
const TAIL_BYTES: usize = 8 * 1024 * 1024;
/// How many of the newest records are kept in memory.
const TAIL_RECORDS: usize = 65_536;

/// A topic of the log. Its table is called `topic_<id>`, because topic names are case-sensitive and table names are not.
pub(super) struct Topic {
    pub name: Arc<str>,
    pub kind: TopicKind,
    pub insert: Box<str>,
    /// Selects rows from an offset, up to a limit.
    pub select: Box<str>,
    /// Selects the size of all rows.
    pub size: Box<str>,
    tail: Mutex<Tail>,
    end: watch::Sender<u64>,
}

impl Topic {
    pub(super) fn new(id: i64, name: Arc<str>, kind: TopicKind, end: u64) -> Self {
        Self {
            name,
            kind,
            insert: format!("insert into topic_{id} (offset, head, value, sum) values (?, ?, ?, ?)").into(),
            select: format!(
                "select offset, head, value, sum from topic_{id} where offset >= ? order by offset limit ?"
            )
            .into(),
            size: format!("select coalesce(sum(length(head) + length(value)), 0) from topic_{id}").into(),
            tail: Mutex::new(Tail::default()),
            end: watch::Sender::new(end),
        }
    }

    /// Changes the topic for a file of an older version, whose table has no sums.
    pub(super) fn without_sums(self) -> Self {
        Self { select: self.select.replacen("sum", "null", 1).into(), ..self }
    }

    /// One past the last durable record.
    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    pub(super) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Makes durable records visible to readers. They must start at the end.
    pub(super) fn publish(&self, records: Vec<Record>) {
        let Some(last) = records.last() else { return };
        let end = last.offset + 1;
        self.lock_tail().push(Segment::new(records));
        // Last, so that a reader that sees the new end finds the records.
        self.end.send_replace(end);
    }

    /// Returns records from this offset if it is in memory. Excludes records at or after the end: [`publish`](Self::publish) adds
    /// them a moment before it moves the end, and a reader that saw them would be beyond it.
    pub(super) fn recent(&self, from: u64, limit: usize) -> Option<Vec<Record>> {
        let limit = limit.min(usize::try_from(self.end().saturating_sub(from)).unwrap_or(usize::MAX));
        let segments = self.lock_tail().segments_from(from, limit);
        // Clone after releasing the lock, because the writer waits for it.
        let first = segments.first()?;
        let skip = usize::try_from(from - first.first_offset()).expect("a segment fits into memory");
        let mut records = Vec::with_capacity(limit.min(segments.iter().map(|s| s.records.len()).sum::<usize>() - skip));
        records.extend(segments.iter().flat_map(|s| s.records.iter()).skip(skip).take(limit).cloned());
        Some(records)
    }

    /// Returns whether this offset is in memory.
    pub(super) fn is_recent(&self, offset: u64) -> bool {
        !self.lock_tail().segments_from(offset, 1).is_empty()
    }

    fn lock_tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest records, without gaps.
#[derive(Default)]
struct Tail {
    segments: VecDeque<Segment>,
    records: usize,
    bytes: usize,
}

/// The records of one commit, shared with readers.
#[derive(Clone)]
struct Segment {
    records: Arc<Vec<Record>>,
    bytes: usize,
}

impl Segment {
    fn new(records: Vec<Record>) -> Self {
        let bytes = records.iter().map(stored::size_in_memory).sum();
        Self { records: Arc::new(records), bytes }
    }

    fn first_offset(&self) -> u64 {
        self.records[0].offset
    }

    fn end(&self) -> u64 {
        self.first_offset() + self.records.len() as u64
    }
}

impl Tail {
    fn push(&mut self, segment: Segment) {
        self.records += segment.records.len();
        self.bytes += segment.bytes;
        self.segments.push_back(segment);
        while self.bytes > TAIL_BYTES || self.records > TAIL_RECORDS {
            let Some(oldest) = self.segments.pop_front() else { break };
            self.records -= oldest.records.len();
            self.bytes -= oldest.bytes;
        }
    }

    /// Returns the segments that contain the `limit` records from `from`, or none if `from` is not in memory.
    fn segments_from(&self, from: u64, limit: usize) -> Vec<Segment> {
        let start = self.segments.partition_point(|segment| segment.end() <= from);
        if self.segments.get(start).is_none_or(|segment| segment.first_offset() > from) {
            return Vec::new();
        }
        let until = from.saturating_add(limit as u64);
        self.segments.range(start..).take_while(|segment| segment.first_offset() < until).cloned().collect()
    }
}

pub(super) fn create_table(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let text = format!(
        "create table topic_{id} \
         (offset integer primary key, head blob not null, value blob not null, sum integer) strict"
    );
    connection.execute_batch(&text)
}

/// Adds the `sum` column to the table of topic `id` if it is missing. Older versions can still read and write the table.
pub(super) fn add_sums(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    if has_sums(connection, id)? {
        return Ok(());
    }
    connection.execute_batch(&format!("alter table topic_{id} add column sum integer"))
}

/// Returns whether the table of topic `id` has the `sum` column.
pub(super) fn has_sums(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    connection.column_exists(None, format!("topic_{id}").as_str(), "sum")
}

/// Inserts `record` with the topic's insert statement.
pub(super) fn insert(statement: &mut Statement<'_>, record: &Record) -> rusqlite::Result<()> {
    let head = stored::encode_head(record);
    let sum = stored::sum(record.offset, &head, &record.value);
    statement.execute((record.offset.cast_signed(), head, record.value.as_ref(), sum)).map(drop)
}

/// Inserts an empty row after the last one. The caller rolls it back.
pub(super) fn try_insert(connection: &Connection, topic: &Topic) -> rusqlite::Result<()> {
    let nothing: &[u8] = &[];
    connection.prepare_cached(&topic.insert)?.execute((topic.end().cast_signed(), nothing, nothing, 0)).map(drop)
}

/// Returns one past the last offset in the table of topic `id`.
pub(super) fn stored_end(connection: &Connection, id: i64) -> rusqlite::Result<u64> {
    let text = format!("select coalesce(max(offset) + 1, 0) from topic_{id}");
    let end: i64 = connection.query_row(&text, [], |row| row.get(0))?;
    u64::try_from(end).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, end))
}

pub(super) fn kind_name(kind: TopicKind) -> &'static str {
    match kind {
        TopicKind::Journal => "journal",
        TopicKind::Public => "public",
    }
}

/// Parses the name of a kind in the table of topics.
pub(super) fn kind_from(name: &str) -> rusqlite::Result<TopicKind> {
    match name {
        "journal" => Ok(TopicKind::Journal),
        "public" => Ok(TopicKind::Public),
        unknown => {
            let reason = format!("no kind of topic is called {unknown}").into();
            Err(rusqlite::Error::FromSqlConversionFailure(2, Type::Text, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn records(offsets: std::ops::Range<u64>, bytes: usize) -> Vec<Record> {
        let value = Bytes::from(vec![0; bytes]);
        offsets
            .map(|offset| Record { offset, time_ms: 0, key: None, headers: Vec::new(), value: value.clone() })
            .collect()
    }

    fn recent(topic: &Topic, from: u64, limit: usize) -> Option<Vec<u64>> {
        topic.recent(from, limit).map(|records| records.iter().map(|record| record.offset).collect())
    }

    #[test]
    fn recent_records_are_found_across_commits() {
        let topic = Topic::new(1, "t".into(), TopicKind::Journal, 5);
        assert_eq!(recent(&topic, 5, 10), None);
        topic.publish(records(5..6, 1));
        topic.publish(records(6..10, 1));
        topic.publish(records(10..11, 1));
        assert_eq!(recent(&topic, 4, 10), None);
        assert_eq!(recent(&topic, 5, 10), Some((5..11).collect()));
        assert_eq!(recent(&topic, 7, 2), Some(vec![7, 8]));
        assert_eq!(recent(&topic, 9, 2), Some(vec![9, 10]));
        assert_eq!(recent(&topic, 11, 10), None);
        assert_eq!(topic.end(), 11);
    }

    #[test]
    fn a_commit_is_not_read_before_the_end_has_moved() {
        let topic = Topic::new(1, "t".into(), TopicKind::Journal, 0);
        topic.publish(records(0..3, 1));
        topic.lock_tail().push(Segment::new(records(3..5, 1)));
        assert_eq!(recent(&topic, 1, 10), Some(vec![1, 2]));
        topic.end.send_replace(5);
        assert_eq!(recent(&topic, 1, 10), Some(vec![1, 2, 3, 4]));
    }

    #[test]
    fn memory_for_recent_records_is_bounded() {
        let topic = Topic::new(1, "t".into(), TopicKind::Journal, 0);
        for commit in 0..64 {
            topic.publish(records(commit..commit + 1, 1024 * 1024));
        }
        assert_eq!(recent(&topic, 63, 10), Some(vec![63]));
        assert!(!topic.is_recent(32));
        topic.publish(records(64..64 + 2 * TAIL_RECORDS as u64, 0));
        assert!(!topic.is_recent(64 + TAIL_RECORDS as u64));
    }
}
