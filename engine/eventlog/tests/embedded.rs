//! The embedded log: what every log must do, and what only a file of our own must.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up fails")]

use std::{
    path::Path,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all};
use orderlog_eventlog::{
    AppendError, EventLog, Landed, NewRecord, Partition, ReadError, TopicError, TopicKind, TopicSpec,
    conformance::{PATIENCE, Subject},
    conformance_suite,
    embedded::{EmbeddedLog, OpenError},
};

conformance_suite!(open);

async fn open() -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let path = dir.path().to_owned();
    let another = move || {
        let path = path.clone();
        async move { reopen(&path).await as Arc<dyn EventLog> }.boxed()
    };
    Subject::new(log, another, dir)
}

/// Open the folder as soon as the log that was just dropped has let go of it.
async fn reopen(dir: &Path) -> Arc<EmbeddedLog> {
    let opening = async {
        loop {
            match EmbeddedLog::open(dir).await {
                Ok(log) => return log,
                Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.expect("a dropped log lets go of its folder")
}

async fn journal(log: &EmbeddedLog, name: &str) -> Partition {
    log.prepare(&[TopicSpec { name: name.into(), kind: TopicKind::Journal }]).await.unwrap();
    Partition::journal(name)
}

fn record(topic: &str, value: impl Into<Bytes>) -> NewRecord {
    NewRecord { topic: topic.into(), partition: None, key: None, headers: Vec::new(), value: value.into() }
}

#[tokio::test]
async fn a_second_opening_of_the_folder_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();

    let refused = EmbeddedLog::open(dir.path()).await.err().unwrap();
    assert!(matches!(&refused, OpenError::InUse { dir: named } if named == dir.path()), "{refused:?}");
    let folder = dir.path().display();
    assert_eq!(
        refused.to_string(),
        format!("the log in {folder} is in use by another process: stop that one first, or choose another data folder"),
    );

    drop(log);
    reopen(dir.path()).await;
}

#[tokio::test]
async fn a_closed_log_is_one_file_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let journal = journal(&log, "closed").await;
    let appending = log.append(vec![record("closed", "kept")]);
    tokio::time::timeout(PATIENCE, log.close()).await.expect("everybody lets go of the file");
    assert_eq!(appending.await, [Ok(Landed::journal(0))], "what was handed over before is written");
    assert!(log.append(vec![record("closed", "late")]).await[0].is_err());

    // What would lie beside it belongs to this state of the file, and would be read into another one put in its place.
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["log.lock", "log.sqlite", "positions.sqlite"]);
    let again = EmbeddedLog::open(dir.path()).await.unwrap();
    assert_eq!(again.ends(&[journal]).await, Ok(vec![1]));
}

#[tokio::test]
async fn a_log_that_is_set_aside_leaves_an_empty_one_and_keeps_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    journal(&log, "aside").await;
    assert_eq!(log.append(vec![record("aside", "kept")]).await, [Ok(Landed::journal(0))]);
    let kept = log.close_and_set_aside("log.sqlite.old").await.unwrap();

    let empty = EmbeddedLog::open(dir.path()).await.unwrap();
    assert!(empty.partitions("aside").await.is_err(), "nothing of it is in the new file");
    let refused = empty.close_and_set_aside("log.sqlite.old").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists, "what was kept is not overwritten");

    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::copy(kept, elsewhere.path().join("log.sqlite")).unwrap();
    let again = EmbeddedLog::open(elsewhere.path()).await.unwrap();
    assert_eq!(again.ends(&[Partition::journal("aside")]).await, Ok(vec![1]));
}

#[tokio::test]
async fn a_log_whose_file_another_program_has_open_is_not_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    journal(&log, "aside").await;
    let mut reader = connect(dir.path()).await;
    sqlx::query("select * from topics").fetch_all(&mut reader).await.unwrap();
    let refused = log.close_and_set_aside("log.sqlite.old").await.unwrap_err();
    assert!(refused.to_string().contains("another program"), "{refused}");
    assert!(dir.path().join("log.sqlite").exists() && !dir.path().join("log.sqlite.old").exists());
}

/// Set for a test that runs itself in a second process: the folder to open there.
const CHILD: &str = "ORDERLOG_TEST_OPEN";

#[tokio::test]
async fn a_second_process_on_the_folder_is_refused() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let refused = EmbeddedLog::open(Path::new(&dir)).await.err().expect("the first process has the folder");
        eprintln!("child: {refused}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _log = EmbeddedLog::open(dir.path()).await.unwrap();

    let child = run_in_child("a_second_process_on_the_folder_is_refused", dir.path());
    let said = String::from_utf8_lossy(&child.stderr);
    let expected = format!("child: the log in {} is in use by another process", dir.path().display());
    assert!(child.status.success() && said.contains(&expected), "{}: {said}", child.status);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let refused = EmbeddedLog::open(&file).await.err().unwrap();
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&file.display().to_string()), "{refused}");
}

#[tokio::test]
async fn a_file_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(EmbeddedLog::open(dir.path()).await.unwrap());
    let mut connection = connect(reopen_and_close(dir.path()).await).await;
    sqlx::query("pragma user_version = 99").execute(&mut connection).await.unwrap();
    drop(connection);
    let refused = EmbeddedLog::open(dir.path()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Format { found: 99, .. }), "{refused:?}");
}

/// A record with everything that a record has.
fn full(topic: &str, value: &'static str) -> NewRecord {
    let headers = vec![("h".into(), Bytes::from_static(b"of it"))];
    NewRecord { key: Some(Bytes::from_static(b"key")), headers, ..record(topic, value) }
}

async fn execute(dir: &Path, statement: &str) {
    let mut connection = connect(dir).await;
    let changed = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
    assert!(changed.rows_affected() > 0 || !statement.starts_with("update"), "{statement} changes nothing");
}

/// Where the log says that it is damaged, if it does.
async fn damage(log: &dyn EventLog, partition: &Partition, end: u64) -> Option<u64> {
    match log.history(partition, 0, end, 100).await {
        Ok(_) => None,
        Err(ReadError::Damaged { offset, .. }) => Some(offset),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_record_that_was_changed_on_disk_is_found_there_though_memory_has_it_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let partition = journal(&log, "stored").await;
    log.append(["a", "b", "c"].map(|value| full("stored", value)).to_vec()).await;
    let stored = Arc::clone(&log).stored();
    assert_eq!(stored.history(&partition, 0, 3, 100).await, log.history(&partition, 0, 3, 100).await);
    let changes = [
        "head = cast(x'01' || substr(head, 2) as blob)",
        "head = cast(replace(cast(head as text), 'key', 'kex') as blob)",
        "head = cast(replace(cast(head as text), 'of it', 'of us') as blob)",
        "value = cast('x' as blob)",
        "sum = sum + 1",
    ];
    for change in changes {
        execute(dir.path(), "create table kept as select * from topic_1 where offset = 1").await;
        execute(dir.path(), &format!("update topic_1 set {change} where offset = 1")).await;
        assert_eq!(damage(stored.as_ref(), &partition, 3).await, Some(1), "{change}");
        assert_eq!(damage(log.as_ref(), &partition, 3).await, None, "what is in memory is as it was");
        let found = stored.fetch(&partition, &[1]).await.unwrap_err();
        assert!(found.to_string().starts_with("stored@1 is damaged: "), "{found}");
        execute(dir.path(), "insert or replace into topic_1 select * from kept").await;
        let mut connection = connect(dir.path()).await;
        sqlx::query("drop table kept").execute(&mut connection).await.unwrap();
    }
    assert_eq!(damage(stored.as_ref(), &partition, 3).await, None);
}

#[tokio::test]
async fn a_file_of_a_version_without_checksums_is_read_and_written_on_by_either_version() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let partition = journal(&log, "old").await;
    log.append(vec![full("old", "a")]).await;
    log.close().await;
    execute(dir.path(), "alter table topic_1 drop column sum").await;

    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    assert_eq!(log.append(vec![full("old", "b")]).await, [Ok(Landed::journal(1))]);
    log.close().await;
    // As the version before writes a record.
    execute(
        dir.path(),
        "insert into topic_1 (offset, head, value) select 2, head, value from topic_1 where offset = 0",
    )
    .await;
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let records = log.history(&partition, 0, 3, 100).await.unwrap();
    assert_eq!(records.iter().map(|record| &record.value[..]).collect::<Vec<_>>(), [b"a", b"b", b"a"]);
    for (offset, found) in [(0, None), (2, None), (1, Some(1))] {
        execute(dir.path(), &format!("update topic_1 set value = cast('x' as blob) where offset = {offset}")).await;
        assert_eq!(damage(log.as_ref(), &partition, 3).await, found, "only what has a checksum is checked");
    }
}

async fn connect(dir: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("log.sqlite"));
    sqlx::ConnectOptions::connect(&options).await.unwrap()
}

/// Until nobody has the folder open.
async fn reopen_and_close(dir: &Path) -> &Path {
    drop(reopen(dir).await);
    let lock = std::fs::File::open(dir.join("log.lock")).unwrap();
    let free = async {
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
    dir
}

#[tokio::test]
async fn topics_differ_in_case_and_keep_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let (lower, upper) = (journal(&log, "a").await, journal(&log, "A").await);
    log.append(vec![record("a", "1"), record("A", "2"), record("a", "3")]).await;
    assert_eq!(log.ends(&[lower, upper]).await, Ok(vec![2, 1]));

    drop(log);
    let log = reopen(dir.path()).await;
    let drift = log.prepare(&[TopicSpec { name: "a".into(), kind: TopicKind::Public }]).await;
    assert!(matches!(&drift, Err(TopicError::Drift { found, .. }) if found == "journal"), "{drift:?}");
}

#[tokio::test]
async fn what_cannot_be_appended_is_refused_and_the_rest_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let journal = journal(&log, "j").await;
    let answers = log
        .append(vec![
            record("j", "0"),
            record("missing", "-"),
            NewRecord { partition: Some(1), ..record("j", "-") },
            NewRecord { partition: Some(0), ..record("j", "1") },
        ])
        .await;
    let refusals: Vec<&str> = answers
        .iter()
        .filter_map(|answer| match answer {
            Ok(_) => None,
            Err(AppendError::Refused { reason }) => Some(reason.as_str()),
            Err(error) => panic!("{error}"),
        })
        .collect();
    assert_eq!((&answers[0], &answers[3]), (&Ok(Landed::journal(0)), &Ok(Landed::journal(1))));
    assert_eq!(refusals, ["topic missing does not exist", "topic j has only partition 0 on the embedded log",],);
    let one = Partition::new("j", 1);
    assert_eq!(log.ends(&[one]).await, Err(ReadError::UnknownTopic { topic: "j/1".into() }));
    assert_eq!(log.ends(&[journal]).await, Ok(vec![2]));
}

/// After a restart nothing is in memory, so that the reading starts in the file and has to find the tail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_in_the_file_joins_what_is_appended_meanwhile() {
    const HISTORY: u64 = 10_000;
    const ALL: u64 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path()).await.unwrap();
    let journal = journal(&log, "j").await;
    let numbered = |numbers: std::ops::Range<u64>| numbers.map(|n| record("j", n.to_string())).collect::<Vec<_>>();
    assert!(log.append(numbered(0..HISTORY)).await.iter().all(Result::is_ok));
    drop(log);

    let log = reopen(dir.path()).await;
    let readers: Vec<_> = [0, 1, 2047, 2048, 2049, HISTORY - 1, HISTORY]
        .map(|from| {
            let mut reading = log.read(vec![(journal.clone(), from)]);
            tokio::spawn(async move {
                let mut next = from;
                while next < ALL {
                    for record in reading.next().await.unwrap().unwrap().records {
                        assert_eq!((record.offset, record.value), (next, Bytes::from(next.to_string())), "from {from}");
                        next += 1;
                    }
                }
                assert_eq!(next, ALL);
            })
        })
        .into();
    for (first, size) in (HISTORY..ALL).step_by(100).zip([1, 10, 33, 100].into_iter().cycle()) {
        let mut calls = Vec::new();
        for start in (first..first + 100).step_by(size) {
            calls.push(log.append(numbered(start..(start + size as u64).min(first + 100))));
        }
        join_all(calls).await;
    }
    for reader in readers {
        tokio::time::timeout(PATIENCE, reader).await.expect("readers come to the end").unwrap();
    }
}

/// A trigger stands for what fails the insert, before anything is committed: a full disk, for a group that outgrows SQLite's
/// cache. SQLite takes some failed transactions back by itself, and leaves others to us.
#[tokio::test]
async fn a_write_that_fails_before_its_commit_is_refused_and_later_ones_go_on() {
    for kind in ["rollback", "abort", "fail"] {
        let dir = tempfile::tempdir().unwrap();
        let sql = format!(
            "create trigger full before insert on topic_1 when new.value = x'66756c6c' \
             begin select raise({kind}, 'database or disk is full'); end"
        );
        let (log, journal) = log_with_one_record(dir.path(), &[&sql]).await;

        let answers = log.append(vec![record("j", "1"), record("j", "full")]).await;
        for answer in &answers {
            assert!(matches!(answer, Err(AppendError::Refused { reason }) if reason.contains("full")), "{answer:?}");
        }
        assert_eq!(log.ends(std::slice::from_ref(&journal)).await, Ok(vec![1]));
        assert_eq!(log.append(vec![record("j", "1")]).await, [Ok(Landed::journal(1))]);
        assert_eq!(log.fetch(&journal, &[1]).await.unwrap()[0].value, "1");
    }
}

/// A log with the journal `j`, whose file was changed by these statements before it was opened again.
async fn log_with_one_record(dir: &Path, statements: &[&str]) -> (Arc<EmbeddedLog>, Partition) {
    let log = EmbeddedLog::open(dir).await.unwrap();
    let journal = journal(&log, "j").await;
    assert_eq!(log.append(vec![record("j", "0")]).await, [Ok(Landed::journal(0))]);
    drop(log);
    let mut connection = connect(reopen_and_close(dir).await).await;
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe(*statement)).execute(&mut connection).await.unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    (reopen(dir).await, journal)
}

/// A constraint that SQLite checks only at the commit stands for a disk that fails there, or is full: a group that fits into
/// SQLite's cache reaches the file only then.
#[tokio::test]
async fn a_failed_commit_ends_the_process_without_an_answer() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let log = EmbeddedLog::open(Path::new(&dir)).await.unwrap();
        let answers = log.append(vec![record("j", "1")]).await;
        panic!("answered {answers:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let statements = [
        "create table parents (id integer primary key)",
        "create table children (parent integer references parents (id) deferrable initially deferred)",
        "create trigger orphan after insert on topic_1 begin insert into children values (1); end",
    ];
    let (log, journal) = log_with_one_record(dir.path(), &statements).await;
    drop(log);
    reopen_and_close(dir.path()).await;

    let child = run_in_child("a_failed_commit_ends_the_process_without_an_answer", dir.path());
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(70), "{said}");
    assert!(said.contains("a commit failed, so it is not known what is durable"), "{said}");
    assert!(!said.contains("answered"), "{said}");
    assert_eq!(reopen(dir.path()).await.ends(&[journal]).await, Ok(vec![1]));
}

/// Run one test of this file in a process of its own, which finds the folder in its environment.
fn run_in_child(test: &str, dir: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, dir)
        .output()
        .unwrap()
}
