//! Tests that every back-end must pass.
//!
//! A back-end's test file defines `async fn open() -> Subject` and invokes [`conformance_suite!`](crate::conformance_suite)`(open);`.
//! Each test creates its own topics, so that all of them can run concurrently on one shared broker.
//!
//! Deliberately absent: faults. Only [`simulated`](crate::simulated) can inject them, so its own tests cover them.

mod appending;
mod instances;
mod reading;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{appending::*, instances::*, reading::*};
use crate::{EventLog, NewRecord, Partition, Reading, Record, TopicKind, TopicSpec};

/// The timeout of every operation. It is generous because a real broker on a small machine may be busy. No test sleeps this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Subject {
    pub log: Arc<dyn EventLog>,
    /// Opens another handle on the same log. Tests call this only after they have dropped every other handle and lease, and it may
    /// wait until that takes effect. The `several_instances` tests call it while other handles are open.
    pub another: Box<dyn Fn() -> BoxFuture<'static, Arc<dyn EventLog>> + Send + Sync>,
    /// Anything that must live as long as the test, such as a folder or a broker.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Subject {
    pub fn new(
        log: Arc<dyn EventLog>,
        another: impl Fn() -> BoxFuture<'static, Arc<dyn EventLog>> + Send + Sync + 'static,
        keep: impl Any + Send + Sync,
    ) -> Self {
        Self { log, another: Box::new(another), keep: Box::new(keep) }
    }
}

/// Generates a test per property. `conformance_suite!(open);` generates those for every log,
/// `conformance_suite!(open, several_instances);` the additional ones for a log that several processes share.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite!(
            $open:
            preparing_again_changes_nothing,
            records_come_back_in_order_with_their_bytes,
            one_batch_of_appends_gets_ascending_offsets,
            concurrent_callers_share_and_lose_nothing,
            a_record_of_the_largest_size_is_taken_and_none_above_it,
            calls_made_one_after_the_other_land_in_that_order,
            same_key_same_partition,
            ends_cover_everything_acknowledged,
            history_then_tail_without_gap_or_duplicate,
            two_readers_see_the_same_order,
            several_partitions_in_one_reading,
            fetch_returns_single_records,
            fetches_at_the_same_time_are_answered_each_by_itself,
            stored_records_are_those_that_were_appended,
            a_part_of_the_history_comes_to_an_end,
            an_offset_past_the_end_is_refused,
            an_unknown_topic_is_named,
            positions_are_kept_per_group,
            a_restart_loses_nothing,
        );
    };
    ($open:path, several_instances) => {
        $crate::conformance_suite!(
            $open: two_writers_share_one_order, lease_is_held_by_one_and_handed_over, a_deposed_holder_keeps_no_positions,
        );
    };
    ($open:path: $($property:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                $crate::conformance::$property($open().await).await;
            }
        )+
    };
}

/// Awaits `work`, and panics if it takes longer than [`PATIENCE`].
async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Returns a name that no other test uses, even on a shared broker.
fn unique(name: &str) -> String {
    format!("conformance.{name}.{}", Uuid::now_v7().simple())
}

async fn topic(log: &dyn EventLog, name: &str, kind: TopicKind) -> Arc<str> {
    let name: Arc<str> = unique(name).into();
    let spec = TopicSpec { name: Arc::clone(&name), kind };
    in_time("prepare a topic", log.prepare(&[spec])).await.expect("a new topic can be made");
    name
}

async fn journal(log: &dyn EventLog, name: &str) -> Partition {
    Partition::journal(topic(log, name, TopicKind::Journal).await)
}

fn record(journal: &Partition, value: impl Into<Bytes>) -> NewRecord {
    NewRecord {
        topic: Arc::clone(&journal.topic),
        partition: Some(journal.index),
        key: None,
        headers: Vec::new(),
        value: value.into(),
    }
}

fn numbered(journal: &Partition, number: u64) -> NewRecord {
    record(journal, number.to_string())
}

/// The number in a record's value.
fn number(record: &Record) -> u64 {
    let text = std::str::from_utf8(&record.value).expect("a number was written");
    text.parse().expect("a number was written")
}

/// Appends records, all of which must be acknowledged, and returns their offsets.
async fn append(log: &dyn EventLog, records: Vec<NewRecord>) -> Vec<u64> {
    let answers = in_time("append", log.append(records)).await;
    answers.into_iter().map(|answer| answer.expect("a healthy log acknowledges").offset).collect()
}

/// Takes at least `count` records from a reading of one partition.
async fn take(reading: &mut Reading, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::with_capacity(count);
    while records.len() < count {
        let batch = in_time("read a batch", reading.next()).await.expect("a reading never ends by itself");
        let batch = batch.expect("a healthy log can be read");
        assert!(!batch.records.is_empty(), "a batch is never empty");
        records.extend(batch.records);
    }
    records
}

/// Reads at least `count` records from the start of a partition.
async fn read_all(log: &dyn EventLog, partition: &Partition, count: usize) -> Vec<Record> {
    let mut reading = log.read(vec![(partition.clone(), 0)]);
    take(&mut reading, count).await
}

/// Waits until the lease is held, or is no longer held.
async fn until(held: &mut watch::Receiver<bool>, wanted: bool) {
    let changed = in_time("a lease changes hands", held.wait_for(|held| *held == wanted)).await;
    changed.expect("a lease says whether it is held as long as it lives");
}
