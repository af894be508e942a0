//! Commands that only look change nothing, and leave nothing out.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use orderlog_tests::{
    deployment::{Embedded, kafka, orderlog, orderlog_with_read_only},
    ends::ends_at_rest,
};
use rusqlite::Connection;
use serde_json::json;
use uuid::Uuid;

/// Each file in a folder with its bytes, but for the index of a write-ahead log, which SQLite makes where it is missing.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap_or_default()));
    named.filter(|(name, _)| !name.ends_with("-shm")).collect()
}

/// A server with some goods that was killed: its last records are in the write-ahead log only.
async fn killed() -> Embedded {
    let mut deployment = Embedded::start().await;
    deployment.http().post("/stock/tea/receive", json!({ "quantity": 3 })).await.expect(200);
    ends_at_rest(&deployment.http()).await;
    deployment.server().kill();
    assert!(fs::metadata(deployment.rows().join("log.sqlite-wal")).unwrap().len() > 0);
    deployment
}

const REPLAY: [&str; 5] = ["log", "replay", "inventory", "--type", "stock_received"];

#[tokio::test]
async fn the_log_is_read_as_it_is_also_where_nothing_can_be_written() {
    let mut deployment = killed().await;
    let (data, dir) = (deployment.rows(), tempfile::tempdir().unwrap());
    let before = contents(&data);
    let export = |name: &str| dir.path().join(name).display().to_string();
    for read_only in [false, true] {
        let run = async |args: &[&str]| match read_only {
            true => orderlog_with_read_only(&data, args, &data).await,
            false => orderlog(args, &data).await,
        };
        assert!(run(&REPLAY).await.ended_with(0).stdout.contains("tea"), "what is in the write-ahead log is shown");
        run(&["log", "lint"]).await.ended_with(0);
        run(&["log", "export", &export(&read_only.to_string())]).await.ended_with(0);
        let status = run(&["projection", "status", "inventory", "--json"]).await.ended_with(0).json();
        assert_eq!((&status["state"], &status["lag"]), (&json!("ready"), &json!(0)), "{status}");
        run(&["parked", "list"]).await.ended_with(0);
        let scratch = dir.path().display().to_string();
        run(&["projection", "verify", "--scratch", &scratch]).await.ended_with(0);
        assert_eq!(contents(&data), before, "nothing was changed");
    }
    deployment.restart().await;
    assert!(deployment.stop().await);
    orderlog(&["projection", "snapshot", "inventory"], &data).await.ended_with(0);
    for args in [
        &["projection", "verify", "inventory", "--json"][..],
        &["projection", "rebuild", "inventory", "--dry-run", "--json"],
    ] {
        let report = orderlog_with_read_only(&data, args, &data).await.ended_with(0).json();
        let report = &report["report"];
        assert_eq!(
            (&report["snapshots"][0]["fault"], &report["published"]["is_position_lost"]),
            (&json!(null), &json!(false))
        );
    }
    fs::remove_file(data.join("positions.sqlite")).unwrap();
    let before = contents(&data);
    assert!(!before.contains_key("log.sqlite-wal"));
    for args in
        [&REPLAY[..], &["log", "lint"], &["projection", "verify"], &["projection", "status"], &["parked", "list"]]
    {
        orderlog(args, &data).await.ended_with(0);
        orderlog_with_read_only(&data, args, &data).await.ended_with(0);
    }
    assert_eq!(contents(&data), before, "no file was made beside it");
}

#[tokio::test]
async fn a_write_ahead_log_that_can_not_be_read_is_never_left_out() {
    let deployment = killed().await;
    let data = deployment.rows();
    let (wal, shm) = (data.join("log.sqlite-wal"), data.join("log.sqlite-shm"));
    fs::rename(&shm, deployment.data.path().join("shm")).unwrap();
    let said = orderlog_with_read_only(&data, &REPLAY, &data).await.ended_with(4);
    assert!(said.stderr.contains("log.sqlite-wal") && said.stdout.is_empty(), "{said:?}");
    orderlog(&REPLAY, &data).await.ended_with(0);

    let whole = fs::read(&wal).unwrap();
    // In the first word, in the salts, in a page of a commit that others follow.
    for at in [0, 17, 32 + 24 + 100] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&wal, changed).unwrap();
        for args in [&REPLAY[..], &["log", "lint"], &["serve", "--listen", "127.0.0.1:0"]] {
            let said = orderlog(args, &data).await.ended_with(4);
            assert!(said.stderr.contains("log.sqlite-wal can't be read"), "{at}: {args:?}: {said:?}");
        }
    }
    fs::write(&wal, &whole).unwrap();
    let log = data.join("log.sqlite");
    fs::rename(&log, deployment.data.path().join("log")).unwrap();
    for args in [&REPLAY[..], &["serve", "--listen", "127.0.0.1:0"]] {
        let said = orderlog(args, &data).await.ended_with(4);
        assert!(said.stderr.contains("log.sqlite is missing"), "{args:?}: {said:?}");
    }
    fs::rename(deployment.data.path().join("log"), &log).unwrap();
    fs::remove_file(&wal).unwrap();
    fs::create_dir(&wal).unwrap();
    orderlog(&REPLAY, &data).await.ended_with(4);
    fs::remove_dir(&wal).unwrap();
    fs::write(&wal, whole).unwrap();
    assert!(orderlog(&REPLAY, &data).await.ended_with(0).stdout.contains("tea"));
}

/// Positions ahead of the log are those of a log that was replaced by an older copy.
#[tokio::test]
async fn positions_ahead_of_the_log_are_left_for_the_server_to_forget() {
    let mut deployment = killed().await;
    deployment.restart().await;
    assert!(deployment.stop().await);
    let data = deployment.rows();
    let positions = || Connection::open(data.join("positions.sqlite")).unwrap();
    let count = || positions().query_row("select count(*) from positions", [], |row| row.get::<_, i64>(0)).unwrap();
    positions().execute("update positions set position = position + 1000 where topic = 'inventory'", []).unwrap();
    let n = count();
    let verified = orderlog(&["projection", "verify", "inventory", "--json"], &data).await.ended_with(0).json();
    assert_eq!(verified["report"]["published"]["is_position_lost"], true, "{verified}");
    orderlog(&["log", "lint"], &data).await.ended_with(0);
    assert!(n > 1 && count() == n);
}

/// As a process leaves it that was killed before it wrote the first table.
#[tokio::test]
async fn a_log_without_tables_has_not_begun() {
    let data = tempfile::tempdir().unwrap();
    for bytes in [Vec::new(), {
        let file = data.path().join("made");
        Connection::open(&file).unwrap().execute_batch("pragma journal_mode = wal").unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(file).unwrap();
        bytes
    }] {
        fs::write(data.path().join("log.sqlite"), bytes).unwrap();
        let before = contents(data.path());
        for args in [&["log", "export", "nowhere"][..], &["projection", "verify"]] {
            let said = orderlog(args, data.path()).await.ended_with(5);
            assert!(said.stderr.contains(&data.path().display().to_string()), "{args:?}: {said:?}");
        }
        assert_eq!(contents(data.path()), before);
    }
}

#[tokio::test]
async fn a_folder_without_a_log_stays_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let export = data.path().join("export").display().to_string();
    for args in [
        &REPLAY[..],
        &["log", "lint"],
        &["log", "export", &export],
        &["projection", "status"],
        &["projection", "verify"],
        &["projection", "rebuild"],
        &["parked", "list"],
    ] {
        let said = orderlog(args, data.path()).await.ended_with(5);
        assert!(said.stderr.contains("no log has begun"), "{args:?}: {said:?}");
    }
    assert!(contents(data.path()).is_empty());
    let missing = data.path().join("missing");
    for args in [&REPLAY[..], &["projection", "verify"], &["parked", "list"]] {
        let said = orderlog(args, &missing).await.ended_with(5);
        assert!(said.stderr.contains(&missing.display().to_string()), "{args:?}: {said:?}");
    }
    assert!(!missing.exists());
}

/// The journals are on Kafka, and `--data` names an empty folder.
#[tokio::test]
async fn read_models_are_not_built_in_a_folder_that_has_none() {
    let kafka = kafka();
    let (data, prefix) = (tempfile::tempdir().unwrap(), format!("looking-{}.", Uuid::now_v7()));
    let log = ["--log", &format!("kafka://{kafka}"), "--topic-prefix", &prefix, "--hash-key", "looking"];
    let run = async |args: &[&str]| orderlog(&[args, &log].concat(), data.path()).await;
    run(&["projection", "status"]).await.ended_with(5);
    let topics = Command::new("kcat").args(["-b", &kafka, "-L"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&topics.stdout).contains(&prefix), "no topic was created");
    assert!(contents(data.path()).is_empty());
}
