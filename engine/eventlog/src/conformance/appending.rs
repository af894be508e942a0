//! Guarantees for appending.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{Subject, append, in_time, journal, number, numbered, read_all, record, topic, unique};
use crate::{AppendError, EventLog, Landed, NewRecord, Partition, RECORD_BYTES_MAX, Record, TopicKind, TopicSpec};

/// Preparing an existing topic changes neither it nor its records.
pub async fn preparing_again_changes_nothing(subject: Subject) {
    let log = &*subject.log;
    let specs = [
        TopicSpec { name: unique("journal").into(), kind: TopicKind::Journal },
        TopicSpec { name: unique("public").into(), kind: TopicKind::Public },
    ];
    in_time("prepare", log.prepare(&specs)).await.expect("new topics can be made");
    let journal = Partition::journal(Arc::clone(&specs[0].name));
    append(log, vec![numbered(&journal, 1)]).await;

    in_time("prepare again", log.prepare(&specs)).await.expect("what was just made is as it must be");
    append(log, vec![numbered(&journal, 2)]).await;

    let numbers: Vec<u64> = read_all(log, &journal, 2).await.iter().map(number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(log.partitions(&specs[0].name).await, Ok(vec![journal]));
}

/// The key, headers (including repeated ones) and value are read as they were written, even if empty.
pub async fn records_come_back_in_order_with_their_bytes(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "bytes").await;
    let every_byte: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let plain = record(&journal, "plain");
    let headers = vec![
        ("a".into(), Bytes::from_static(b"first")),
        ("b".into(), every_byte.clone()),
        ("a".into(), Bytes::from_static(b"second")),
        (String::from("ümläut").into(), Bytes::new()),
    ];
    let written = vec![
        plain.clone(),
        NewRecord { key: Some(every_byte.clone()), ..plain.clone() },
        NewRecord { headers, value: every_byte.clone(), ..plain.clone() },
        NewRecord { key: Some(Bytes::from_static(b"key")), value: Bytes::new(), ..plain.clone() },
        NewRecord { value: vec![7; 200_000].into(), ..plain.clone() },
        plain,
    ];
    append(log, written.clone()).await;

    let read = read_all(log, &journal, written.len()).await;
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        assert_eq!((&read.key, &read.headers, &read.value), (&written.key, &written.headers, &written.value));
    }
    assert_eq!(read[2].header("a").map(|value| &value[..]), Some(&b"first"[..]));
    assert_eq!(read[2].header("c"), None);
}

/// Results are in the order of the records, and each contains its record's offset.
pub async fn one_batch_of_appends_gets_ascending_offsets(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "batch").await;
    let mut offsets = Vec::new();
    for batch in 0..3 {
        offsets.extend(append(log, (0..700).map(|n| numbered(&journal, batch * 700 + n)).collect()).await);
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    assert_eq!(in_time("append nothing", log.append(Vec::new())).await, []);

    let found: Vec<(u64, u64)> =
        read_all(log, &journal, 2100).await.iter().map(|record| (record.offset, number(record))).collect();
    assert_eq!(found, offsets.into_iter().zip(0..).collect::<Vec<_>>());
}

/// The limit is the same on every log, so that records can be copied between them. A record above it does not affect others.
pub async fn a_record_of_the_largest_size_is_taken_and_none_above_it(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "sizes").await;
    let of_size = |n_bytes: usize| {
        let empty = NewRecord {
            key: Some(Bytes::from_static(b"key")),
            headers: vec![("name".into(), Bytes::from_static(b"value"))],
            ..record(&journal, "")
        };
        NewRecord { value: vec![7; n_bytes - empty.size_bytes()].into(), ..empty }
    };
    let records = vec![of_size(RECORD_BYTES_MAX), of_size(RECORD_BYTES_MAX + 1), of_size(100)];
    let answers = in_time("append", log.append(records)).await;
    assert_eq!((&answers[0], &answers[2]), (&Ok(Landed::journal(0)), &Ok(Landed::journal(1))));
    assert!(matches!(answers[1], Err(AppendError::TooLarge { .. })), "{:?}", answers[1]);
    let sizes: Vec<usize> = read_all(log, &journal, 2).await.iter().map(|record| record.value.len()).collect();
    assert_eq!(sizes, [RECORD_BYTES_MAX - 12, 88]);
}

/// Every caller's records are in the log exactly once, at the acknowledged offsets and in the caller's order.
pub async fn concurrent_callers_share_and_lose_nothing(subject: Subject) {
    const CALLERS: u64 = 32;
    const CALLS: u64 = 30;
    let journal = journal(&*subject.log, "callers").await;
    let calls = (0..CALLERS).map(|caller| {
        let (log, journal) = (Arc::clone(&subject.log), journal.clone());
        tokio::spawn(async move { call_often(&*log, &journal, caller, CALLS).await })
    });
    let acknowledged: HashMap<u64, Bytes> =
        join_all(calls).await.into_iter().flat_map(|caller| caller.expect("a caller ends well")).collect();

    let read = read_all(&*subject.log, &journal, acknowledged.len()).await;
    assert_eq!(read.len() as u64, CALLERS * CALLS * 2, "every record has an offset of its own");
    let mut last = HashMap::new();
    for record in &read {
        assert_eq!(acknowledged.get(&record.offset), Some(&record.value), "at {}", record.offset);
        let (caller, number) = caller_and_number(record);
        let before = last.insert(caller, number);
        assert!(before.is_none_or(|before| before < number), "caller {caller}: {number} after {before:?}");
    }
}

/// Appends one to three records per call, call after call. Returns the offset and value of each.
async fn call_often(log: &dyn EventLog, journal: &Partition, caller: u64, calls: u64) -> Vec<(u64, Bytes)> {
    let mut acknowledged = Vec::new();
    let mut numbers = 0..;
    for call in 0..calls {
        let values: Vec<Bytes> =
            numbers.by_ref().take(1 + call as usize % 3).map(|number| format!("{caller}:{number}").into()).collect();
        let offsets = append(log, values.iter().map(|value| record(journal, value.clone())).collect()).await;
        acknowledged.extend(offsets.into_iter().zip(values));
    }
    acknowledged
}

fn caller_and_number(record: &Record) -> (u64, u64) {
    let text = std::str::from_utf8(&record.value).expect("text was written");
    let (caller, number) = text.split_once(':').expect("both were written");
    (caller.parse().expect("a number was written"), number.parse().expect("a number was written"))
}

/// Records are in the order of the calls, even if futures are polled late or never.
pub async fn calls_made_one_after_the_other_land_in_that_order(subject: Subject) {
    let log = &*subject.log;
    let journal = journal(log, "calls").await;
    let mut waiting = Vec::new();
    for call in 0..500 {
        let appending = log.append(vec![numbered(&journal, call)]);
        if call % 5 == 0 {
            drop(appending);
        } else {
            waiting.push(appending);
        }
    }
    waiting.reverse();
    for answers in in_time("append", join_all(waiting)).await {
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    let numbers: Vec<u64> = read_all(log, &journal, 500).await.iter().map(number).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}

/// Records with the same key are in one partition, in the order in which they were appended.
pub async fn same_key_same_partition(subject: Subject) {
    const KEYS: u64 = 8;
    const RECORDS: u64 = 40;
    let log = &*subject.log;
    let public = topic(log, "public", TopicKind::Public).await;
    let partitions = in_time("list partitions", log.partitions(&public)).await.expect("the topic exists");
    assert_eq!(
        partitions.iter().map(|p| p.index).collect::<Vec<_>>(),
        (0..partitions.len() as u32).collect::<Vec<_>>()
    );
    for number in 0..RECORDS {
        let key = Some(format!("key-{}", number % KEYS).into());
        let appending = log.append(vec![NewRecord { partition: None, key, ..numbered(&partitions[0], number) }]);
        let landed = in_time("append", appending).await.remove(0).expect("a healthy log acknowledges");
        let there = &partitions[landed.partition as usize];
        let found = in_time("fetch", log.fetch(there, &[landed.offset])).await.expect("it is where it was told");
        assert_eq!(found.iter().map(self::number).collect::<Vec<_>>(), [number]);
    }

    let ends = in_time("ends", log.ends(&partitions)).await.expect("the topic exists");
    let mut found: HashMap<Bytes, Vec<(u32, u64)>> = HashMap::new();
    for (partition, end) in partitions.iter().zip(ends) {
        for record in read_all(log, partition, end as usize).await {
            let key = record.key.clone().expect("every record has a key");
            found.entry(key).or_default().push((partition.index, number(&record)));
        }
    }
    assert_eq!(found.len() as u64, KEYS);
    for (key, places) in found {
        assert_eq!(places.len() as u64, RECORDS / KEYS, "{key:?}: {places:?}");
        assert!(places.is_sorted_by(|a, b| a.0 == b.0 && a.1 < b.1), "{key:?}: {places:?}");
    }
}

/// Every acknowledged record is below the end.
pub async fn ends_cover_everything_acknowledged(subject: Subject) {
    let journal = journal(&*subject.log, "ends").await;
    assert_eq!(in_time("ends", subject.log.ends(std::slice::from_ref(&journal))).await, Ok(vec![0]));
    let callers = (0..8).map(|caller| {
        let (log, journal) = (Arc::clone(&subject.log), journal.clone());
        tokio::spawn(async move {
            for call in 0..20 {
                let offsets = append(&*log, vec![numbered(&journal, caller * 100 + call)]).await;
                let ends = in_time("ends", log.ends(std::slice::from_ref(&journal))).await.expect("the topic exists");
                assert!(offsets[0] < ends[0], "{offsets:?} is acknowledged, but the end is {ends:?}");
            }
        })
    });
    for caller in join_all(callers).await {
        caller.expect("a caller ends well");
    }
}
