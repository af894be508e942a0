//! Marks: fingerprints that prove that a position belongs to this log. A position has a mark of the record before it, and of records
//! that resulted from the records below it.
//!
//! The first mark alone is not enough. A restored log may only lack what a background task derived from a record: an event that
//! the relay had published, or a reaction that the reactor had appended. So a position also depends on those.

use std::collections::BTreeSet;

use blake3::Hasher;
use bytes::Bytes;
use futures_util::future::join_all;
use orderlog_core::{
    header::{HEADER, Header},
    key::RecordId,
};
use orderlog_eventlog::{EventLog, Mark, Partition, Position, ReadError, Record, RecordHeader};

/// The number of attempts to fetch a record before the log is reported as unreadable.
const N_TRIES: usize = 3;

/// Returns the fingerprint of a journal record: part of its id.
pub fn print_of_id(id: RecordId) -> u64 {
    // The half of a UUIDv7 that is random.
    id.0.as_u64_pair().1
}

/// Returns the fingerprint of a record: of its id in a journal, of its bytes elsewhere. An event's id would not do, since it derives
/// from a place in the journal, where another event may be now.
pub fn print(key: Option<&Bytes>, headers: &[RecordHeader], value: &[u8]) -> u64 {
    let header = headers.iter().find(|(name, _)| name == HEADER);
    if let Some(Ok(header)) = header.map(|(_, bytes)| Header::decode(bytes)) {
        return print_of_id(header.id);
    }
    let mut hasher = Hasher::new();
    let named = headers.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_ref()]);
    for part in key.map(AsRef::as_ref).into_iter().chain(named).chain([value]) {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

/// Returns the fingerprint of a record read from the log.
pub fn print_of(record: &Record) -> u64 {
    print(record.key.as_ref(), &record.headers, &record.value)
}

/// Returns the mark of a record read from the log.
pub fn of(partition: &Partition, record: &Record) -> Mark {
    Mark { partition: partition.clone(), offset: record.offset, print: print_of(record) }
}

/// Whether the log contains, for each of these positions, every record that the position has marks of. All marks are looked up
/// together, because a new holder of a lease waits for this.
pub async fn stand(log: &dyn EventLog, positions: &[Position]) -> Result<Vec<bool>, ReadError> {
    let marks: BTreeSet<&Mark> = positions.iter().flat_map(|position| &position.marks).collect();
    let standing =
        join_all(marks.iter().map(|mark| stands(log, mark))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let missing: BTreeSet<&Mark> =
        marks.into_iter().zip(standing).filter(|(_, stands)| !stands).map(|(mark, _)| mark).collect();
    Ok(positions.iter().map(|position| !position.marks.iter().any(|mark| missing.contains(mark))).collect())
}

/// Whether the log contains this record.
pub async fn stands(log: &dyn EventLog, mark: &Mark) -> Result<bool, ReadError> {
    let mut n_left = N_TRIES;
    loop {
        n_left -= 1;
        match log.fetch(&mark.partition, &[mark.offset]).await {
            Ok(records) => return Ok(records.first().is_some_and(|record| of(&mark.partition, record) == *mark)),
            Err(ReadError::OutOfRange { .. } | ReadError::UnknownTopic { .. }) => return Ok(false),
            Err(ReadError::Unavailable { .. }) if n_left > 0 => {}
            Err(error @ (ReadError::Unavailable { .. } | ReadError::Damaged { .. })) => return Err(error),
        }
    }
}

/// Returns the mark of a partition's last record; `None` if the partition is empty or its last offset holds no record.
pub async fn of_last(log: &dyn EventLog, partition: &Partition) -> Result<Option<Mark>, ReadError> {
    let end = log.ends(std::slice::from_ref(partition)).await?.first().copied().unwrap_or(0);
    let Some(last) = end.checked_sub(1) else { return Ok(None) };
    match log.fetch(partition, &[last]).await {
        Ok(records) => Ok(records.first().map(|record| of(partition, record))),
        Err(ReadError::OutOfRange { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use orderlog_core::{
        header::{Expect, Origin},
        key::Key,
    };
    use orderlog_eventlog::{NewRecord, TopicKind, TopicSpec, simulated::SimulatedLog};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_journals_record_is_known_by_its_id_and_an_event_by_its_bytes() {
        let id = RecordId(Uuid::now_v7());
        let header = Header {
            id,
            time_ms: 1,
            writer: Uuid::nil(),
            kind: "order_placed".into(),
            expects: vec![Expect { key: Key::GENESIS, last: None }],
            command: None,
            origin: Origin::default(),
        };
        let of_journal: RecordHeader = (HEADER.into(), header.encode().into());
        assert_eq!(print(None, &[of_journal], b"{}"), print_of_id(id));
        assert_ne!(print_of_id(id), print_of_id(RecordId(Uuid::now_v7())));

        let named = |value: &'static str| -> RecordHeader { ("ce_id".into(), Bytes::from_static(value.as_bytes())) };
        let key = Bytes::from_static(b"key");
        let event = print(Some(&key), &[named("1")], b"{}");
        assert_eq!(event, print(Some(&key), &[named("1")], b"{}"));
        for other in [
            print(Some(&key), &[named("1")], b"{ }"),
            print(Some(&key), &[named("2")], b"{}"),
            print(None, &[named("1")], b"{}"),
        ] {
            assert_ne!(event, other);
        }
    }

    #[tokio::test]
    async fn a_record_is_looked_up_three_times_before_the_log_counts_as_unreadable() {
        let (log, journal) = (SimulatedLog::new(), Partition::journal("orders"));
        log.prepare(&[TopicSpec { name: "orders".into(), kind: TopicKind::Journal }]).await.unwrap();
        assert_eq!(of_last(log.as_ref(), &journal).await.unwrap(), None);
        for value in ["first", "second"] {
            let (topic, value) = (journal.topic.clone(), Bytes::from_static(value.as_bytes()));
            log.append_raw(NewRecord { topic, partition: Some(0), key: None, headers: Vec::new(), value });
        }
        let second = of_last(log.as_ref(), &journal).await.unwrap().unwrap();
        assert_eq!(second, Mark { partition: journal, offset: 1, print: print(None, &[], b"second") });

        log.fail_next_fetches(2);
        assert!(stands(log.as_ref(), &second).await.unwrap());
        log.fail_next_fetches(3);
        let unread = stands(log.as_ref(), &second).await;
        assert!(matches!(unread, Err(ReadError::Unavailable { .. })), "{unread:?}");
        assert!(stands(log.as_ref(), &second).await.unwrap());
    }
}
