//! Rows are rebuilt while the service takes commands, and nothing differs afterwards, unless it was wrong before.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use orderlog_core::{
    header::Origin,
    key::{HashKey, Key},
};
use orderlog_domain::{
    customers::{Address, CUSTOMERS, Command, Customers},
    values::{CustomerId, Email, Name},
};
use orderlog_eventlog::{EventLog, embedded::EmbeddedLog};
use orderlog_projections::customers::TABLES;
use orderlog_readmodel::{Generations, Label, StoreError};
use orderlog_runtime::{
    assembly,
    environment::Machine,
    now_ms,
    prepared::{self, PrepareError},
    rebuild::{self, Goal, RebuildError, Report},
    replica::{Replica, Setup, StartError},
    snapshots::{self, Keeping},
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

/// What is prepared, in the folder of the rows.
const PREPARED: &str = "prepared/customers.0.sqlite";

struct Service {
    replica: Replica<Customers>,
    log: Arc<dyn EventLog>,
    folder: TempDir,
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = EmbeddedLog::open(folder.path()).await.unwrap();
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        let replica = open(&log, folder.path()).await;
        Self { replica, log, folder }
    }

    /// Stop the instance, and start another on what it left.
    async fn restart(self) -> Self {
        let Self { replica, log, folder } = self;
        let mut state = replica.state();
        drop(replica);
        state.wait_for(|state| matches!(state, orderlog_runtime::replica::State::Stopped(_))).await.ok();
        let replica = open(&log, folder.path()).await;
        Self { replica, log, folder }
    }

    /// The same, on no rows.
    async fn restart_emptied(self) -> Self {
        let number = self.generation();
        let Self { replica, log, folder } = self;
        let mut state = replica.state();
        drop(replica);
        state.wait_for(|state| matches!(state, orderlog_runtime::replica::State::Stopped(_))).await.ok();
        loop {
            match Generations::lock(folder.path(), &TABLES) {
                Ok(generations) => break generations.remove(number).unwrap(),
                Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
        let replica = open(&log, folder.path()).await;
        Self { replica, log, folder }
    }

    async fn do_it(&self, goal: Goal) -> Result<Report, RebuildError> {
        self.do_it_from(goal, 0).await
    }

    async fn do_it_from(&self, goal: Goal, anew: u64) -> Result<Report, RebuildError> {
        let rebuilding = self.replica.begin_rebuilding().expect("no other rebuild is under way");
        rebuild::run(rebuilding, goal, anew, &watch::Sender::new(None)).await
    }

    /// Create so many customers, and wait until they are in the rows.
    async fn create(&self, customers: std::ops::Range<u64>) {
        for n in customers {
            create(&self.replica, n).await;
        }
        self.replica.read_your_writes().await;
    }

    async fn snapshot(&self) -> Label {
        snapshots::make(self.replica.store()).await.unwrap()
    }

    fn positions(&self) -> Vec<u64> {
        self.replica.store().generations().snapshots().positions().unwrap()
    }

    /// Another bit in the middle of a snapshot's file.
    fn flip_a_bit(&self, position: u64) {
        let file = self.folder.path().join(format!("snapshots/customers@{position}.sqlite"));
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&file, bytes).unwrap();
    }

    fn generation(&self) -> u32 {
        self.replica.store().generation()
    }

    /// Change a row behind the service's back.
    async fn tamper(&self, sql: &'static str) {
        self.tamper_with(&format!("customers.{}.sqlite", self.generation()), sql).await;
    }

    /// Prepare what a version with these tables would, beside rows with others. Returns where it began.
    async fn prepare(&self) -> u64 {
        self.tamper("update meta set schema = '0.0.earlier'").await;
        let begun = prepared::begin(setup(&self.log), &TABLES, self.folder.path()).await.unwrap();
        let preparation = begun.expect("the rows that serve have other tables");
        let again = prepared::begin(setup(&self.log), &TABLES, self.folder.path()).await;
        assert!(matches!(again, Err(PrepareError::UnderWay("customers"))), "one at a time");
        let progress = loop {
            match preparation.progress().await.unwrap() {
                progress if progress.near && progress.n_missing == 0 => break progress,
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        preparation.stop().await;
        progress.from
    }

    fn prepared(&self) -> std::path::PathBuf {
        self.folder.path().join(PREPARED)
    }

    async fn tamper_with(&self, file: &str, sql: &'static str) {
        let file = self.folder.path().join(file);
        let mut connection = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
}

async fn open(log: &Arc<dyn EventLog>, folder: &Path) -> Replica<Customers> {
    // The file is free once the last of its connections is closed.
    let keeping = Keeping { data: folder.to_owned(), snapshots: None, every: 0, n_kept: usize::MAX };
    let store = loop {
        match keeping.open(&TABLES, log.as_ref()).await {
            Ok(store) => break Arc::new(store),
            Err(StartError::Rows(StoreError::InUse { .. })) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let replica = Replica::start(setup(log), store).await.unwrap();
    replica.ready().await.unwrap();
    replica
}

fn setup(log: &Arc<dyn EventLog>) -> Setup {
    let (hash_key, writer) = (HashKey::from_secret("test"), Uuid::now_v7());
    Setup { log: Arc::clone(log), hash_key, writer, n_slots_max: 100, environment: Arc::new(Machine) }
}

async fn create(replica: &Replica<Customers>, n: u64) -> CustomerId {
    let customer_id = CustomerId(Uuid::now_v7());
    let email = Email::new(format!("c{n}@example.com")).unwrap();
    let address = Address::new(email, replica.hash_key());
    let command = Command::Create { customer_id, name: Name::new("Ada").unwrap(), address };
    replica.execute(command, None, Origin::default(), now_ms() + 60_000).await.unwrap();
    customer_id
}

/// Customers are created all the time, and each can be read right afterwards.
async fn keep_busy(replica: Replica<Customers>, stop: Arc<AtomicBool>, n: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let id = create(&replica, n.fetch_add(1, Ordering::Relaxed)).await;
        replica.read_your_writes().await;
        let row = replica.store().get(CUSTOMERS, &Key::of(id)).await.unwrap();
        assert!(row.is_some(), "what was answered is in the rows that serve");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_rebuilt_under_load_and_switched_without_a_gap() {
    let service = Service::start().await;
    let (stop, n) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy: Vec<_> =
        (0..4).map(|_| tokio::spawn(keep_busy(service.replica.clone(), Arc::clone(&stop), Arc::clone(&n)))).collect();
    for round in 2..5 {
        let report = service.do_it(Goal::Rebuild).await.unwrap();
        assert_eq!(report.differences, []);
        assert!(report.serves_from.unwrap() >= report.compared_at);
        assert_eq!((report.generation, service.generation()), (round, round));
    }
    stop.store(true, Ordering::Relaxed);
    for busy in busy {
        busy.await.unwrap();
    }
    // What was written after the last switch is compared as well.
    let verified = service.do_it(Goal::Verify).await.unwrap();
    assert_eq!((verified.differences, verified.serves_from), (vec![], None));
    assert_eq!(verified.compared_at, n.load(Ordering::Relaxed) + 1, "every customer, and the genesis");

    let service = service.restart().await;
    assert_eq!(service.generation(), 4, "the generation that served serves again");
    create(&service.replica, n.load(Ordering::Relaxed)).await;
}

/// Much at a time would have commits wait for the disk: while a mass of rows is written nobody waits for one, afterwards many do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_has_taken_over_copies_little_at_a_time_into_its_file() {
    let service = Service::start().await;
    service.create(0..3).await;
    service.do_it(Goal::Rebuild).await.unwrap();
    for n in 3..500 {
        service.create(n..n + 1).await;
    }
    let wal = service.folder.path().join("customers.2.sqlite-wal");
    let n_bytes = std::fs::metadata(wal).unwrap().len();
    assert!((1_000_000..6_000_000).contains(&n_bytes), "1,000 pages are 4 MB: {n_bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_row_is_found_and_is_right_again_after_it_was_replaced() {
    let service = Service::start().await;
    for n in 0..10 {
        create(&service.replica, n).await;
    }
    service.replica.read_your_writes().await;
    service.tamper("update customers set doc = replace(doc, 'Ada', 'Eve') where offset = 3").await;

    let verified = service.do_it(Goal::Verify).await.unwrap();
    assert_eq!(verified.differences.len(), 1, "{verified:?}");
    assert_eq!(verified.differences[0].table, "customers");
    assert!(verified.differences[0].serving.as_ref().unwrap().contains("Eve"));
    assert!(verified.differences[0].rebuilt.as_ref().unwrap().contains("Ada"));

    let rebuilt = service.do_it(Goal::Rebuild).await.unwrap();
    assert_eq!((rebuilt.differences.len(), rebuilt.serves_from), (1, None), "nobody asked for other rows");
    assert_eq!(service.generation(), 1);
    let replaced = service.do_it(Goal::Replace).await.unwrap();
    assert_eq!(replaced.n_records, 0, "it goes on with what was built");
    assert!(replaced.serves_from.is_some());
    assert_eq!(service.do_it(Goal::Verify).await.unwrap().differences, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_record_is_told_with_its_offset() {
    let service = Service::start().await;
    for n in 0..10 {
        create(&service.replica, n).await;
    }
    service.replica.read_your_writes().await;
    service.tamper("update records set digest = zeroblob(16) where offset = 7").await;
    let verified = service.do_it(Goal::Verify).await.unwrap();
    assert_eq!(verified.differences.len(), 1, "{verified:?}");
    assert_eq!((verified.differences[0].table.as_str(), verified.differences[0].key.as_str()), ("records", "7"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generation_before_catches_up_before_it_serves_again() {
    let service = Service::start().await;
    create(&service.replica, 0).await;
    assert!(matches!(service.do_it(Goal::Rollback).await, Err(RebuildError::NothingBefore("customers"))));
    service.do_it(Goal::Rebuild).await.unwrap();
    let id = create(&service.replica, 1).await;

    let back = service.do_it(Goal::Rollback).await.unwrap();
    assert_eq!((back.generation, service.generation()), (1, 1));
    let row = service.replica.store().get(CUSTOMERS, &Key::of(id)).await.unwrap();
    assert!(row.is_some(), "it knows what happened meanwhile");
    let forth = service.do_it(Goal::Rollback).await.unwrap();
    assert_eq!(forth.generation, 2, "going back can be taken back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_rebuild_is_refused_and_an_interrupted_one_goes_on() {
    let service = Service::start().await;
    for n in 0..200 {
        create(&service.replica, n).await;
    }
    service.replica.read_your_writes().await;
    let first = service.replica.begin_rebuilding().unwrap();
    assert!(service.replica.begin_rebuilding().is_none());
    // Interrupted once it has built something.
    let progress = watch::Sender::new(None);
    let mut seen = progress.subscribe();
    let running = tokio::spawn(async move { rebuild::run(first, Goal::Rebuild, 0, &progress).await });
    seen.wait_for(|progress| progress.is_some()).await.unwrap();
    running.abort();
    drop(running.await);

    let service = service.restart().await;
    let report = service.do_it(Goal::Rebuild).await.unwrap();
    assert_eq!((report.differences, service.generation()), (vec![], 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_without_rows_begins_as_the_newest_snapshot_that_is_whole() {
    let service = Service::start().await;
    service.create(0..10).await;
    let first = service.snapshot().await;
    assert_eq!(service.snapshot().await, first, "the same rows make the same snapshot");
    service.create(10..20).await;
    let second = service.snapshot().await;
    service.create(20..25).await;
    assert_eq!(service.positions(), [11, 21]);

    let service = service.restart_emptied().await;
    assert_eq!(service.replica.store().base().await.unwrap(), second.position);
    let verified = service.do_it(Goal::Verify).await.unwrap();
    assert_eq!((verified.differences, verified.compared_at), (vec![], 26));
    assert!(verified.snapshots.iter().all(|it| it.fault.is_none()), "{:?}", verified.snapshots);

    service.flip_a_bit(second.position);
    let verified = service.do_it(Goal::Verify).await.unwrap();
    let faults: Vec<_> = verified.snapshots.iter().map(|it| (it.position, it.fault.is_some())).collect();
    assert_eq!(faults, [(11, false), (21, true)]);
    let service = service.restart_emptied().await;
    assert_eq!(service.replica.store().base().await.unwrap(), first.position, "the damaged one is passed over");
    assert_eq!(service.do_it(Goal::Verify).await.unwrap().differences, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_journal_is_passed_over() {
    let other = Service::start().await;
    other.create(0..10).await;
    other.snapshot().await;
    let service = Service::start().await;
    service.create(0..12).await;
    for entry in std::fs::read_dir(other.folder.path().join("snapshots")).unwrap() {
        let entry = entry.unwrap();
        let to = service.folder.path().join("snapshots");
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let rebuilt = service.do_it_from(Goal::Rebuild, 13).await.unwrap();
    assert_eq!((rebuilt.base, rebuilt.differences), (0, vec![]), "also by a rebuild that may begin as it");
    let service = service.restart_emptied().await;
    assert_eq!(service.replica.store().base().await.unwrap(), 0);
    let verified = service.do_it(Goal::Verify).await.unwrap();
    assert_eq!(verified.differences, []);
    let fault = verified.snapshots[0].fault.as_ref().unwrap();
    assert!(fault.contains("rows differ, the first is meta"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_from_a_point_begins_as_the_newest_snapshot_before_it() {
    let service = Service::start().await;
    service.create(0..10).await;
    service.snapshot().await;
    service.create(10..20).await;
    service.snapshot().await;
    service.create(20..25).await;

    for (anew, base) in [(25, 21), (21, 21), (20, 11), (10, 0)] {
        let rebuilt = service.do_it_from(Goal::Rebuild, anew).await.unwrap();
        assert_eq!((rebuilt.base, rebuilt.differences), (base, vec![]), "from {anew}");
        assert_eq!(rebuilt.n_records, 26 - base);
    }
    // The generation kept is newer than any snapshot, and not behind the point.
    service.create(25..30).await;
    let rebuilt = service.do_it_from(Goal::Rebuild, 31).await.unwrap();
    assert_eq!((rebuilt.base, rebuilt.differences), (26, vec![]));

    // What was begun later than is asked for is begun again.
    service.tamper("update customers set doc = replace(doc, 'Ada', 'Eve') where offset = 30").await;
    let rebuilt = service.do_it_from(Goal::Rebuild, 21).await.unwrap();
    assert_eq!((rebuilt.base, rebuilt.differences.len(), rebuilt.serves_from), (21, 1, None));
    let rebuilt = service.do_it_from(Goal::Rebuild, 0).await.unwrap();
    assert_eq!((rebuilt.base, rebuilt.n_records), (0, 31));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_wrong_rows_is_found_and_goes_with_them() {
    let service = Service::start().await;
    service.create(0..10).await;
    service.snapshot().await;
    service.tamper("update customers set doc = replace(doc, 'Ada', 'Eve') where offset = 3").await;
    service.create(10..20).await;
    service.snapshot().await;

    let verified = service.do_it(Goal::Verify).await.unwrap();
    let faults: Vec<_> = verified.snapshots.iter().map(|it| (it.position, it.fault.is_some())).collect();
    assert_eq!(faults, [(11, false), (21, true)], "{:?}", verified.snapshots);
    let replaced = service.do_it_from(Goal::Replace, 15).await.unwrap();
    assert_eq!((replaced.base, replaced.differences.len(), replaced.snapshots_deleted), (11, 1, true));
    assert_eq!(service.positions(), [11]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_made_by_themselves_and_old_ones_go() {
    let service = Service::start().await;
    tokio::spawn(snapshots::keep_making(service.replica.clone(), 5, 2));
    let snapshots = service.replica.store().generations().snapshots().clone();
    let mut n = 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 4 {
        assert!(std::time::Instant::now() < deadline, "{seen:?}");
        service.create(n..n + 1).await;
        n += 1;
        let positions = snapshots.positions().unwrap();
        assert!(positions.len() <= 3, "two, and one that was just made: {positions:?}");
        seen.extend(positions);
    }
    let gaps: Vec<u64> = seen.iter().zip(seen.iter().skip(1)).map(|(one, next)| next - one).collect();
    assert!(gaps.iter().all(|gap| *gap >= 5), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_prepared_is_adopted_only_if_it_is_whole_and_of_this_program_and_log() {
    let mut service = Service::start().await;
    service.create(0..20).await;
    assert_eq!(service.prepare().await, 0);
    service.create(20..25).await;
    assert_eq!(service.prepare().await, 21, "it resumes");
    service.create(25..30).await;
    service = service.restart().await;
    assert!(!service.prepared().exists(), "it serves");

    for (spoilt, sql) in [
        ("of another program", "update meta set schema = '9.9.later'"),
        ("of another log", "update records set digest = zeroblob(16) where offset = (select max(offset) from records)"),
        ("of another service", "update meta set service = 'orders'"),
    ] {
        service.prepare().await;
        service.tamper_with(PREPARED, sql).await;
        service = service.restart().await;
        assert!(service.prepared().exists(), "what is {spoilt} is passed over");
        assert_eq!(service.prepare().await, 0, "what is {spoilt} is not resumed");
        service = service.restart().await;
        assert!(!service.prepared().exists());
    }
    service.prepare().await;
    std::fs::write(service.prepared(), "no rows").unwrap();
    service = service.restart().await;
    assert!(service.prepared().exists(), "what is damaged is passed over");
    assert_eq!(service.prepare().await, 0);

    let report = service.restart().await.do_it(Goal::Verify).await.unwrap();
    assert_eq!((report.differences, report.base, report.compared_at), (Vec::new(), 0, 31));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_another_version_in_the_same_folder_do_not_count() {
    let service = Service::start().await;
    service.create(0..5).await;
    let first = service.snapshot().await.position;
    service.create(5..10).await;
    let second = service.snapshot().await.position;
    let label = service.folder.path().join(format!("snapshots/customers@{second}.json"));
    let text = std::fs::read_to_string(&label).unwrap();
    std::fs::write(&label, text.replace(&TABLES.version(), "9.9.later")).unwrap();
    let store = service.replica.store();
    store.generations().snapshots().prune(1).unwrap();
    assert_eq!(service.positions(), [first, second], "none of its own is newer");
    service.create(10..15).await;
    let third = service.snapshot().await.position;
    store.generations().snapshots().prune(1).unwrap();
    assert_eq!(service.positions(), [third]);
}
