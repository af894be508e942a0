//! A deployment keeps its identity: with another hash key, or without its own, nothing starts and nothing is written.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use orderlog_core::{
    header::HEADER,
    key::HashKey,
    machine::{Checkpoint, Core},
};
use orderlog_eventlog::{EventLog, NewRecord, TopicKind, TopicSpec, embedded::EmbeddedLog};
use orderlog_tests::{
    deployment::{Embedded, Said, Server, free_port, kafka, orderlog, orderlog_anywhere},
    ends::ends_at_rest,
    eventually,
    http::Http,
    story::Shop,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Starts a server that is expected to end by itself.
async fn refused(options: &[&str], data: &Path) -> Said {
    let said = orderlog(&[&["serve", "--listen", "127.0.0.1:0"], options].concat(), data).await.ended_with(5);
    assert_eq!(said.stdout, "", "there is no banner");
    said
}

/// The length and time of each file below a folder, but for locks.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let (path, metadata) = entry.map(|it| (it.path(), it.metadata().unwrap())).unwrap();
        if metadata.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path, (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

/// A customer and goods that came in, each with an idempotency key, to be asked for again.
async fn twice(http: &Http) -> [Value; 2] {
    let customer = json!({ "name": "Ada", "email": "ada@example.com" });
    let mut answers = Vec::new();
    for (path, body) in [("/customers", customer), ("/stock/tea/receive", json!({ "quantity": 3 }))] {
        let answer = http.send(Method::POST, path, &[("Idempotency-Key", "the-key")], Some(&body)).await.unwrap();
        assert!(answer.status.is_success(), "{answer:?}");
        answers.push(answer.body);
    }
    answers.try_into().unwrap()
}

#[tokio::test]
async fn an_embedded_log_is_used_with_its_own_hash_key_only() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    let first = twice(&deployment.http()).await;
    ends_at_rest(&deployment.http()).await;
    orderlog(&["projection", "snapshot"], &data).await.ended_with(0);
    assert!(deployment.stop().await);
    let (key, elsewhere) = (data.join("hash.key"), deployment.data.path().join("elsewhere.key"));

    let before = files(&data);
    let other = refused(&["--hash-key", "another"], &data).await;
    assert!(other.stderr.contains("fingerprint") && other.stderr.contains("leave out --hash-key"), "{other:?}");
    for args in [
        &["projection", "status"][..],
        &["projection", "verify"],
        &["projection", "rebuild", "--yes"],
        &["projection", "rollback"],
        &["projection", "snapshot"],
        &["parked", "list"],
        &["parked", "retry"],
        &["parked", "discard", "orders", "1", "--reason", "a test"],
    ] {
        let said = orderlog(&[args, &["--hash-key", "another"]].concat(), &data).await.ended_with(5);
        assert!(said.stderr.contains("was begun with the hash key of fingerprint"), "{args:?}: {said:?}");
    }
    // A process that may write tries a commit in the log, and forgets positions, before it compares keys.
    let is_tried = |path: &Path| ["positions", "log.sqlite"].iter().any(|name| path.to_string_lossy().contains(name));
    let rows =
        |files: BTreeMap<PathBuf, _>| -> Vec<_> { files.into_iter().filter(|(path, _)| !is_tried(path)).collect() };
    assert_eq!(rows(files(&data)), rows(before), "nothing was written");

    // The read models are not needed for that: neither those of the folder nor those of a snapshot.
    for entry in fs::read_dir(&data).unwrap().map(|it| it.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".1.sqlite") {
            fs::remove_file(entry).unwrap();
        }
    }
    refused(&["--hash-key", "another"], &data).await;
    refused(&["--development-hash-key"], &data).await;

    fs::rename(&key, &elsewhere).unwrap();
    let missing = refused(&[], &data).await;
    assert!(missing.stderr.contains("hash.key is missing: put that file back"), "{missing:?}");
    orderlog(&["projection", "status"], &data).await.ended_with(5);
    assert!(!key.exists(), "no other one is made");
    fs::write(&key, " \n").unwrap();
    let empty = refused(&[], &data).await;
    assert!(empty.stderr.contains("hash.key is empty"), "{empty:?}");
    fs::remove_file(&key).unwrap();

    deployment.options(&["--hash-key-file", elsewhere.to_str().unwrap()]);
    deployment.restart().await;
    assert_eq!(twice(&deployment.http()).await, first, "a repeated command is answered as the first one");
    let again = json!({ "name": "Ada", "email": "ADA@example.com" });
    deployment.http().post("/customers", again).await.expect_problem(409, "duplicate_email");
    assert_eq!(deployment.http().get("/stock/tea").await.expect(200)["on_hand"], 3);
}

#[tokio::test]
async fn a_secret_beside_another_one_is_refused_as_long_as_the_log_is_empty() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("hash.key"), "one").unwrap();
    let said = refused(&["--hash-key", "two"], data.path()).await;
    assert!(said.stderr.contains("is not the one in") && said.stderr.contains("hash.key"), "{said:?}");
    let mut deployment = Embedded::stopped();
    deployment.options(&["--hash-key", "one"]);
    deployment.restart().await;
    assert!(deployment.stop().await);
    assert!(!deployment.rows().join("hash.key").exists(), "a configured secret is not copied");
    let missing = refused(&[], &deployment.rows()).await;
    assert!(missing.stderr.contains("--hash-key-file"), "{missing:?}");
}

/// The first record of a journal, as a deployment with this hash key writes it.
fn genesis<D: orderlog_core::decider::Decider>(secret: &str) -> NewRecord {
    let fingerprint = HashKey::from_secret(secret).fingerprint();
    let mut core = Core::<D>::new(Checkpoint::default(), Uuid::now_v7(), fingerprint, Box::new(Uuid::now_v7), 10);
    let first = core.genesis_record(Uuid::now_v7(), 0);
    let headers = vec![(HEADER.into(), first.header)];
    NewRecord { topic: D::JOURNAL.into(), partition: Some(0), key: None, headers, value: first.value }
}

#[tokio::test]
async fn one_journal_of_another_deployment_is_named() {
    let data = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(data.path()).await.unwrap();
    let journal = |name: &'static str| TopicSpec { name: name.into(), kind: TopicKind::Journal };
    log.prepare(&["customers", "billing"].map(journal)).await.unwrap();
    let records = vec![
        genesis::<orderlog_domain::customers::Customers>("one"),
        genesis::<orderlog_domain::billing::Billing>("two"),
    ];
    assert!(log.append(records).await.iter().all(Result::is_ok));
    log.close().await;
    for (key, journal) in [("one", "billing"), ("two", "customers")] {
        let said = refused(&["--hash-key", key], data.path()).await;
        assert!(said.stderr.contains(&format!("the journal {journal} was begun with the hash key")), "{said:?}");
    }
}

#[tokio::test]
async fn a_log_on_kafka_needs_a_hash_key_and_always_the_same() {
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str| data.path().join(name);
    // Nobody listens there: what is missing is found before brokers are asked.
    let said = refused(&["--log", "kafka://127.0.0.1:1"], &at("none")).await;
    assert!(said.stderr.contains("--hash-key-file") && said.stderr.contains("--development-hash-key"), "{said:?}");

    let (log, prefix) = (format!("kafka://{}", kafka()), format!("t{}.", Uuid::new_v4().simple()));
    let args = |service: &str, key: &str| {
        let args = [service, "--log", &log, "--topic-prefix", &prefix, "--hash-key", key, "--data"];
        let rows = at(&format!("{service}-{key}")).display().to_string();
        [&args.map(str::to_owned)[..], &[rows]].concat()
    };
    // Both begin an empty log: the one that comes last sees the other.
    let begin = |service, key| Server::begin(&args(service, key), free_port(), &at(&format!("{service}-{key}.log")));
    let mut both =
        [("customers", "one"), ("inventory", "two")].map(|(service, key)| (begin(service, key), service, key));
    let ended = eventually("one of two hash keys is refused", || {
        let ended = both.iter_mut().filter_map(|(server, service, key)| server.has_ended().then_some((*service, *key)));
        let ended: Vec<_> = ended.collect();
        std::future::ready((!ended.is_empty()).then_some(ended))
    })
    .await;
    for (service, key) in ended {
        let told = fs::read_to_string(at(&format!("{service}-{key}.log"))).unwrap();
        assert!(
            told.contains("was begun with the hash key of fingerprint") && !told.contains("is listening"),
            "{told}"
        );
    }
    drop(both);

    let prefix = format!("t{}.", Uuid::new_v4().simple());
    let common = ["--log", &log, "--topic-prefix", &prefix];
    let rows = at("first").display().to_string();
    let first = [&["customers", "--data", &rows, "--development-hash-key"], &common[..]].concat();
    let first: Vec<String> = first.into_iter().map(str::to_owned).collect();
    let server = Server::start(&first, free_port(), &at("first.log")).await;
    let listen = ["serve", "orders", "--listen", "127.0.0.1:0", "--hash-key", "another"];
    let data = at("second").display().to_string();
    let said = orderlog_anywhere(&[&listen[..], &["--data", &data], &common].concat()).await.ended_with(5);
    assert!(said.stdout.is_empty() && said.stderr.contains("pass --development-hash-key instead"), "{said:?}");
    assert!(server.stop().await);
}

#[tokio::test]
async fn an_import_keeps_the_hash_key_that_it_was_given() {
    let mut old = Embedded::start().await;
    twice(&old.http()).await;
    ends_at_rest(&old.http()).await;
    assert!(old.stop().await);
    let export = old.data.path().join("export").display().to_string();
    orderlog(&["log", "export", &export], &old.rows()).await.ended_with(0);
    let file = old.data.path().join("secret");
    fs::rename(old.rows().join("hash.key"), &file).unwrap();
    let (secret, file) = (fs::read_to_string(&file).unwrap(), file.display().to_string());

    for key in [["--hash-key-file", &file], ["--hash-key", &secret]] {
        let mut new = Embedded::stopped();
        let import = [&["log", "import", &export], &key[..]].concat();
        orderlog(&[&import[..], &["--dry-run"]].concat(), &new.rows()).await.ended_with(0);
        let kept = new.rows().join("hash.key");
        assert!(!kept.exists(), "a dry run writes nothing");
        let said = orderlog(&import, &new.rows()).await.ended_with(0);
        assert!(said.stderr.contains(&kept.display().to_string()), "{said:?}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), secret);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        orderlog(&["projection", "status"], &new.rows()).await.ended_with(0);
        new.restart().await;
        twice(&new.http()).await;
        assert_eq!(Shop::from(&new).inventory.get("/stock/tea").await.expect(200)["on_hand"], 3);
    }

    let new = Embedded::stopped();
    fs::create_dir(new.rows()).unwrap();
    fs::write(new.rows().join("hash.key"), "another").unwrap();
    let import = ["log", "import", &export, "--hash-key-file", &file];
    let said = orderlog(&import, &new.rows()).await.ended_with(5);
    assert!(said.stderr.contains("move the file away"), "{said:?}");
    assert_eq!(fs::read_dir(new.rows()).unwrap().count(), 1, "nothing was made");
}
