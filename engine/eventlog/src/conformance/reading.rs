//! Guarantees for reading.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, future::join_all};

use super::{Subject, append, in_time, journal, number, numbered, read_all, take, topic, unique};
use crate::{Partition, ReadError, Reading, TopicKind};

/// During concurrent appends, a reading from any offset returns every record from there on exactly once.
pub async fn history_then_tail_without_gap_or_duplicate(subject: Subject) {
    const HISTORY: u64 = 5000;
    const ALL: u64 = 8000;
    let journal = journal(&*subject.log, "seam").await;
    for first in (0..HISTORY).step_by(500) {
        append(&*subject.log, (first..first + 500).map(|n| numbered(&journal, n)).collect()).await;
    }
    let readers: Vec<_> = [0, 1, 1999, 2047, 2048, 4000, HISTORY - 1, HISTORY]
        .map(|from| {
            let (log, journal) = (Arc::clone(&subject.log), journal.clone());
            tokio::spawn(async move {
                let mut reading = log.read(vec![(journal, from)]);
                take(&mut reading, (ALL - from) as usize)
                    .await
                    .iter()
                    .map(|r| (r.offset, number(r)))
                    .collect::<Vec<_>>()
            })
        })
        .into_iter()
        .zip([0, 1, 1999, 2047, 2048, 4000, HISTORY - 1, HISTORY])
        .collect();
    let mut next = HISTORY;
    for size in [1, 2, 50, 7].into_iter().cycle() {
        let until = (next + size).min(ALL);
        append(&*subject.log, (next..until).map(|n| numbered(&journal, n)).collect()).await;
        next = until;
        if next == ALL {
            break;
        }
    }
    for (reader, from) in readers {
        let read = in_time("read it all", reader).await.expect("a reader ends well");
        assert_eq!(read, (from..ALL).map(|n| (n, n)).collect::<Vec<_>>(), "from {from}");
    }
}

/// Two readings of a partition return the same order, even if writers race.
pub async fn two_readers_see_the_same_order(subject: Subject) {
    let journal = journal(&*subject.log, "readers").await;
    let read = || {
        let (log, journal) = (Arc::clone(&subject.log), journal.clone());
        tokio::spawn(async move { read_all(&*log, &journal, 8 * 50).await })
    };
    let early = read();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (log, journal) = (Arc::clone(&subject.log), journal.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    append(&*log, vec![numbered(&journal, writer * 1000 + n)]).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends well");
    }
    let late = read();
    let (early, late) = (early.await.expect("a reader ends well"), late.await.expect("a reader ends well"));
    assert_eq!(early, late);
}

/// One reading covers several partitions, each from its own offset, history and tail.
pub async fn several_partitions_in_one_reading(subject: Subject) {
    let log = &*subject.log;
    let mut partitions = vec![journal(log, "one").await, journal(log, "two").await];
    let public = topic(log, "public", TopicKind::Public).await;
    partitions.extend(in_time("list partitions", log.partitions(&public)).await.expect("the topic exists"));
    let write = async |numbers: std::ops::Range<u64>| {
        for n in numbers {
            append(log, partitions.iter().map(|partition| numbered(partition, n)).collect()).await;
        }
    };
    write(0..20).await;
    // Partition i is read from offset i on.
    let mut reading = log.read(partitions.iter().cloned().zip(0..).collect());
    let mut found = HashMap::new();
    collect(&mut reading, &mut found, (0..partitions.len()).map(|skipped| 20 - skipped).sum()).await;
    write(20..30).await;
    collect(&mut reading, &mut found, partitions.len() * 10).await;

    for (partition, from) in partitions.iter().zip(0..) {
        assert_eq!(found.remove(partition), Some((from..30).collect::<Vec<_>>()), "{partition}");
    }
    assert!(found.is_empty(), "{found:?}");
}

async fn collect(reading: &mut Reading, found: &mut HashMap<Partition, Vec<u64>>, count: usize) {
    let mut seen = 0;
    while seen < count {
        let batch = in_time("read a batch", reading.next()).await.expect("a reading never ends by itself");
        let batch = batch.expect("a healthy log can be read");
        seen += batch.records.len();
        found.entry(batch.partition).or_default().extend(batch.records.iter().map(number));
    }
}

/// Fetching returns records in the requested order. An offset that does not exist is an error.
pub async fn fetch_returns_single_records(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "fetch").await;
    append(log, (0..10).map(|n| numbered(&journal, n)).collect()).await;

    let fetched = in_time("fetch", log.fetch(&journal, &[7, 0, 3, 7])).await.expect("all of them are there");
    assert_eq!(fetched.iter().map(|r| (r.offset, number(r))).collect::<Vec<_>>(), [(7, 7), (0, 0), (3, 3), (7, 7)]);
    assert_eq!(fetched[1], read_all(log, &journal, 1).await[0]);
    assert_eq!(in_time("fetch nothing", log.fetch(&journal, &[])).await, Ok(Vec::new()));
    let refused = in_time("fetch", log.fetch(&journal, &[3, 10])).await;
    assert!(matches!(refused, Err(ReadError::OutOfRange { wanted: 10, end: 10, .. })), "{refused:?}");
}

/// Fetches at the same time do not affect each other: each returns its own records, or the error of its own offset.
pub async fn fetches_at_the_same_time_are_answered_each_by_itself(subject: Subject) {
    const ALL: u64 = 2_000;
    let log = &*subject.log;
    let both = [journal(log, "fetch").await, journal(log, "fetch-too").await];
    for journal in &both {
        append(log, (0..ALL).map(|n| numbered(journal, n)).collect()).await;
    }
    let asked =
        both.iter().flat_map(|journal| [vec![0, ALL - 1], vec![7, ALL], vec![ALL / 2, 8]].map(|it| (journal, it)));
    let fetch = async |(journal, offsets): (&Partition, Vec<u64>)| {
        let found = in_time("fetch", log.fetch(journal, &offsets)).await;
        let numbers = found.map(|records| records.iter().map(number).collect::<Vec<_>>());
        if offsets.contains(&ALL) {
            assert!(matches!(numbers, Err(ReadError::OutOfRange { wanted: ALL, end: ALL, .. })), "{numbers:?}");
        } else {
            assert_eq!(numbers, Ok(offsets));
        }
    };
    join_all(asked.map(fetch)).await;
}

/// A handle that reads from storage returns the same records, including the newest.
pub async fn stored_records_are_those_that_were_appended(subject: Subject) {
    let journal = journal(&*subject.log, "stored").await;
    append(&*subject.log, (0..10).map(|n| numbered(&journal, n)).collect()).await;
    let stored = Arc::clone(&subject.log).stored();
    assert_eq!(read_all(&*stored, &journal, 10).await, read_all(&*subject.log, &journal, 10).await);
    assert_eq!(in_time("fetch", stored.fetch(&journal, &[9])).await, subject.log.fetch(&journal, &[9]).await);
}

/// A reading from the end waits for the next record. An offset beyond the end is an error, since it belongs to another log.
pub async fn an_offset_past_the_end_is_refused(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "range").await;
    append(log, (0..3).map(|n| numbered(&journal, n)).collect()).await;

    let mut beyond = log.read(vec![(journal.clone(), 4)]);
    let refused = in_time("read beyond the end", beyond.next()).await;
    let expected = ReadError::OutOfRange { partition: journal.clone(), wanted: 4, first: 0, end: 3 };
    assert_eq!(refused, Some(Err(expected)));
    assert_eq!(in_time("the end of a failed reading", beyond.next()).await, None);

    let mut at_end = log.read(vec![(journal.clone(), 3)]);
    append(log, vec![numbered(&journal, 3)]).await;
    assert_eq!(take(&mut at_end, 1).await.iter().map(number).collect::<Vec<_>>(), [3]);
}

/// Every request for a topic that does not exist fails with its name, and does not create it.
pub async fn an_unknown_topic_is_named(subject: Subject) {
    let log = &*subject.log;
    let missing = Partition::journal(unique("missing"));
    let unknown = ReadError::UnknownTopic { topic: Arc::clone(&missing.topic) };

    for _ in 0..2 {
        let partitions = in_time("list partitions", log.partitions(&missing.topic)).await;
        assert_eq!(partitions, Err(unknown.clone()));
        let ends = in_time("ends", log.ends(std::slice::from_ref(&missing))).await;
        assert_eq!(ends, Err(unknown.clone()));
        let fetched = in_time("fetch", log.fetch(&missing, &[0])).await;
        assert_eq!(fetched, Err(unknown.clone()));
        let mut reading = log.read(vec![(missing.clone(), 0)]);
        assert_eq!(in_time("read", reading.next()).await, Some(Err(unknown.clone())));
    }
}

/// Returns as many records as requested, or all that are below the end.
pub async fn a_part_of_the_history_comes_to_an_end(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "part").await;
    append(log, (0..500).map(|n| numbered(&journal, n)).collect()).await;
    let part = async |from, end, limit| {
        let records = in_time("read a part", log.history(&journal, from, end, limit)).await.expect("it is there");
        (records.len(), records.first().map(number), records.last().map(number))
    };
    assert_eq!(part(0, 500, 1_000).await, (500, Some(0), Some(499)));
    assert_eq!(part(10, 500, 100).await, (100, Some(10), Some(109)));
    assert_eq!(part(490, 495, 100).await, (5, Some(490), Some(494)));
    assert_eq!(part(500, 500, 100).await, (0, None, None));
    assert_eq!(part(0, 500, 0).await, (0, None, None));
}
