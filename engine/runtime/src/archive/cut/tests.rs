use std::{collections::BTreeMap, sync::Mutex};

use bytes::Bytes;
use orderlog_core::{
    header::{Expect, Origin},
    key::{Key, RecordId},
    machine::{GENESIS, Genesis},
};
use orderlog_eventlog::{
    Appending, Lease, LeaseError, NewRecord, Position, TopicError, TopicKind, TopicSpec, simulated::SimulatedLog,
};

use super::*;

/// Others copy from `source`, `left` and `right` react to each other, and `leaf` is called.
const SERVICES: &Services = &[
    ("leaf", &[]),
    ("source", &[("source.changed", "source")]),
    ("left", &[("left.changed", "left")]),
    ("right", &[("right.changed", "right")]),
];
const LEAF: usize = 0;
const SOURCE: usize = 1;
const LEFT: usize = 2;
const RIGHT: usize = 3;

/// The index and offset of a record.
type Place = (usize, u64);

/// A log to which others append whenever its ends are read.
struct Busy {
    log: Arc<SimulatedLog>,
    load: Mutex<Load>,
}

struct Load {
    seed: u64,
    /// What each record followed from.
    causes: BTreeMap<Place, Place>,
    /// The record from which the next one follows.
    last: Place,
}

impl Busy {
    async fn begin(seed: u64) -> Self {
        let log = SimulatedLog::new();
        let topics = SERVICES.iter().map(|(name, _)| TopicSpec { name: (*name).into(), kind: TopicKind::Journal });
        log.prepare(&topics.collect::<Vec<_>>()).await.unwrap();
        for (n, (journal, _)) in SERVICES.iter().enumerate() {
            let genesis = Genesis { log_id: log_id(n), journal: (*journal).to_owned(), hash_key: "h".to_owned() };
            append(&log, n, GENESIS, None, serde_json::to_vec(&genesis).unwrap());
        }
        Self { log, load: Mutex::new(Load { seed, causes: BTreeMap::new(), last: (SOURCE, 0) }) }
    }

    /// Appends a few records, each of which follows from the one before.
    fn work(&self) {
        let mut load = self.load.lock().unwrap();
        for _ in 0..load.random(4) {
            let last = load.last;
            let n = match (last.0, load.random(4)) {
                (LEAF, _) | (_, 0) => SOURCE,
                (_, 1) => LEAF,
                (LEFT, _) => RIGHT,
                _ => LEFT,
            };
            // Neither copied facts nor calls to `leaf` are named.
            let names_it = [LEFT, RIGHT].contains(&last.0) && n != SOURCE && (n != LEAF || load.random(2) == 0);
            let event = event_id(log_id(last.0), last.1, 200);
            let offset = append(&self.log, n, "worked", names_it.then_some(event), Vec::new());
            if n != SOURCE {
                load.causes.insert((n, offset), last);
            }
            load.last = (n, offset);
        }
    }
}

impl Load {
    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }
}

fn log_id(n: usize) -> Uuid {
    Uuid::from_u128(n as u128 + 1)
}

fn append(log: &SimulatedLog, n: usize, kind: &str, cause: Option<Uuid>, value: Vec<u8>) -> u64 {
    let header = Header {
        id: RecordId(Uuid::from_u128(7)),
        time_ms: 0,
        writer: Uuid::nil(),
        kind: kind.to_owned(),
        expects: vec![Expect { key: Key::GENESIS, last: None }],
        command: None,
        origin: Origin { cause, ..Origin::default() },
    };
    let headers = vec![(HEADER.into(), Bytes::from(header.encode()))];
    log.append_raw(NewRecord {
        topic: SERVICES[n].0.into(),
        partition: Some(0),
        key: None,
        headers,
        value: value.into(),
    })
}

#[async_trait]
impl EventLog for Busy {
    async fn ends(&self, partitions: &[Partition]) -> Result<Vec<u64>, ReadError> {
        self.work();
        self.log.ends(partitions).await
    }

    async fn prepare(&self, topics: &[TopicSpec]) -> Result<Vec<String>, TopicError> {
        self.log.prepare(topics).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, ReadError> {
        self.log.partitions(topic).await
    }

    fn append(&self, records: Vec<NewRecord>) -> Appending {
        self.log.append(records)
    }

    fn read(&self, from: Vec<(Partition, u64)>) -> Reading {
        self.log.read(from)
    }

    async fn fetch(&self, partition: &Partition, offsets: &[u64]) -> Result<Vec<Record>, ReadError> {
        self.log.fetch(partition, offsets).await
    }

    async fn positions(&self, group: &str, partitions: &[Partition]) -> Result<Vec<Option<Position>>, LeaseError> {
        self.log.positions(group, partitions).await
    }

    fn has_foreign_writers(&self) -> bool {
        self.log.has_foreign_writers()
    }

    fn stored(self: Arc<Self>) -> Arc<dyn EventLog> {
        self
    }

    async fn lead(&self, group: &str, journal: &str) -> Result<Arc<dyn Lease>, LeaseError> {
        self.log.lead(group, journal).await
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn under_constant_load_no_record_below_a_cut_lacks_its_cause() {
    let (mut n_cut, mut n_lacking) = (0, 0);
    for seed in 0..20 {
        let log = Busy::begin(seed).await;
        for _ in 0..25 {
            let journals: Vec<_> = journals_of(SERVICES).map(Partition::journal).collect();
            let before = log.log.ends(&journals).await.unwrap();
            let Cut { ends, one_moment: _ } = cut(&log, SERVICES).await.unwrap();
            let ends: Vec<u64> = ends.into_iter().map(|(_, end)| end).collect();
            assert!(ends.iter().zip(&before).all(|(end, before)| end >= before), "nothing old is cut off: {ends:?}");
            let plain = ends_of(&log, SERVICES).await.unwrap();
            let causes = log.load.lock().unwrap().causes.clone();
            let is_below = |(n, offset): Place, ends: &[u64]| offset < ends[n];
            let lacking = |ends: &[u64]| {
                causes.iter().filter(|(it, cause)| is_below(**it, ends) && !is_below(**cause, ends)).count()
            };
            assert_eq!(lacking(&ends), 0, "seed {seed}: {ends:?}");
            n_lacking += lacking(&plain);
            n_cut += 1;
        }
    }
    assert!(n_lacking > 0, "without closing them, ends do lack causes: {n_lacking} in {n_cut}");
}

#[tokio::test]
async fn a_cut_at_rest_is_a_moment() {
    let log = Busy::begin(1).await;
    (0..20).for_each(|_| log.work());
    let Cut { ends, one_moment } = cut(log.log.as_ref(), SERVICES).await.unwrap();
    assert!(one_moment);
    let journals: Vec<_> = journals_of(SERVICES).map(Partition::journal).collect();
    assert_eq!(ends.iter().map(|(_, end)| *end).collect::<Vec<_>>(), log.log.ends(&journals).await.unwrap());
}
