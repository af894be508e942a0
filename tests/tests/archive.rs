//! `orderlog log export` and `import` as their operator meets them: what comes back is what was there, nothing is done twice
//! because of it, and what is not whole is refused.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

#[path = "archive/followed.rs"]
mod followed;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::StreamExt;
use orderlog_eventlog::{EventLog, NewRecord, Partition, TopicKind, TopicSpec, embedded::EmbeddedLog};
use orderlog_tests::{
    deployment::{Distributed, Embedded, SERVICES, Said, kafka, orderlog, orderlog_anywhere},
    ends::{ends, ends_at_rest},
    eventually,
    rows::all_same,
    story::{self, Shop},
};
use serde_json::{Value, json};

async fn export(to: &Path, data: &Path) -> Said {
    orderlog(&["log", "export", to.to_str().unwrap(), "--json"], data).await
}

async fn import(from: &Path, data: &Path) -> Said {
    orderlog(&["log", "import", from.to_str().unwrap(), "--json"], data).await
}

fn digests(manifest: &Value) -> Vec<(Value, Value)> {
    let journals = manifest["journals"].as_array().unwrap();
    journals.iter().map(|it| (it["last_offset"].clone(), it["last_digest"].clone())).collect()
}

/// What a story leaves in the data folder of a stopped server, and its export beside it.
async fn told_and_exported() -> (Embedded, PathBuf) {
    let mut deployment = Embedded::start().await;
    story::play(&Shop::from(&deployment), "a").await;
    ends_at_rest(&deployment.http()).await;
    assert!(deployment.stop().await);
    let exported = deployment.data.path().join("export");
    export(&exported, &deployment.rows()).await.ended_with(0);
    (deployment, exported)
}

/// A data folder with the hash key of another one, and nothing else.
fn with_hash_key_of(other: &Embedded) -> Embedded {
    let deployment = Embedded::stopped();
    fs::create_dir(deployment.rows()).unwrap();
    fs::copy(other.rows().join("hash.key"), deployment.rows().join("hash.key")).unwrap();
    deployment
}

#[tokio::test]
async fn an_imported_log_comes_to_rest_as_the_exported_one_did_and_nothing_is_done_twice() {
    let mut old = Embedded::start().await;
    let data = old.rows();
    story::play(&Shop::from(&old), "a").await;
    let told = ends_at_rest(&old.http()).await;
    let inbox = Shop::from(&old).told("operations", "").await;
    assert!(told["low.stock"] > 0 && told["notifications"] > 1 && !inbox.is_empty(), "{told:?}");

    let exported = old.data.path().join("running");
    let manifest = export(&exported, &data).await.ended_with(0).json();
    assert_eq!((&manifest["format"], &manifest["one_moment"]), (&json!(2), &json!(true)));
    let again = export(&exported, &data).await.ended_with(5);
    assert!(again.stderr.contains("is an export already"), "{again:?}");
    assert!(old.stop().await);
    let stopped = export(&old.data.path().join("stopped"), &data).await.ended_with(0);
    assert!(stopped.stderr.contains("hash key"), "what else has to be kept is said: {stopped:?}");
    assert_eq!(digests(&manifest), digests(&stopped.json()), "a running server exports the same");
    orderlog(&["log", "replay", "orders", "--to", "beginning"], &data).await.ended_with(0);

    let mut new = Embedded::stopped();
    let without_key = import(&exported, &new.rows()).await.ended_with(5);
    assert!(without_key.stderr.contains("hash.key in the data folder"), "{without_key:?}");
    fs::copy(data.join("hash.key"), new.rows().join("hash.key")).unwrap();
    let (nowhere, hash_key) = (new.rows().join("nowhere"), data.join("hash.key").display().to_string());
    let dry_run = ["log", "import", exported.to_str().unwrap(), "--dry-run", "--hash-key-file", &hash_key];
    for data in [&new.rows(), &nowhere] {
        let tried = orderlog(&dry_run, data).await.ended_with(0);
        assert!(tried.stdout.contains("nothing was written"), "{tried:?}");
    }
    assert!(!nowhere.exists(), "not even an empty log is made");
    let imported = import(&exported, &new.rows()).await.ended_with(0).json();
    assert!(!new.rows().join("log.sqlite-wal").exists(), "the imported log is one file");
    assert_eq!(digests(&imported["manifest"]), digests(&manifest));
    let again = import(&exported, &new.rows()).await.ended_with(5);
    assert!(again.stderr.contains("not empty"), "{again:?}");

    new.restart().await;
    eventually("what was published is published again", async || (ends(&new.http()).await == told).then_some(())).await;
    assert_eq!(ends_at_rest(&new.http()).await, told, "every topic is as it was, so nobody was told anything twice");
    assert_eq!(Shop::from(&new).told("operations", "").await, inbox);
    story::play(&Shop::from(&new), "b").await;
    ends_at_rest(&new.http()).await;
    assert!(new.stop().await);
    old.restart().await;
    let refused = import(&exported, &old.rows()).await.ended_with(5);
    assert!(refused.stderr.contains("stop it first"), "{refused:?}");
    assert!(old.stop().await);

    let verified = orderlog(&["projection", "verify", "all"], &new.rows()).await.ended_with(0);
    assert!(verified.stdout.contains("every row is what the log says"), "{verified:?}");
}

#[tokio::test]
async fn rows_of_an_imported_log_equal_those_of_the_exported_one() {
    let (old, exported) = told_and_exported().await;
    let mut new = with_hash_key_of(&old);
    import(&exported, &new.rows()).await.ended_with(0);
    new.restart().await;
    // The copied facts follow from what the relays publish again.
    ends_at_rest(&new.http()).await;
    assert!(new.stop().await);
    all_same(|_| old.rows(), |_| new.rows()).await;
}

/// A copy of an export in which a file is changed.
fn changed(exported: &Path, folder: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let copy = exported.with_file_name(folder);
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(exported).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    change(&copy);
    copy
}

fn edit(file: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    edit(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn manifest(copy: &Path, change: impl FnOnce(&mut Value)) {
    let file = copy.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(file, manifest.to_string()).unwrap();
}

#[tokio::test]
async fn a_broken_export_is_refused_with_the_name_of_the_record_and_nothing_is_written() {
    let (old, exported) = told_and_exported().await;
    let orders = "orders.journal.zst";
    let middle = |bytes: &mut Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    };
    let broken = [
        changed(&exported, "flipped", |copy| edit(&copy.join(orders), middle)),
        changed(&exported, "cut", |copy| edit(&copy.join(orders), |bytes| bytes.truncate(bytes.len() - 20))),
        changed(&exported, "longer", |copy| edit(&copy.join(orders), |bytes| bytes.push(7))),
        changed(&exported, "swapped", |copy| drop(fs::copy(copy.join("billing.journal.zst"), copy.join(orders)))),
        changed(&exported, "other", |copy| manifest(copy, |it| it["journals"][1]["last_digest"] = json!("00"))),
        changed(&exported, "fewer", |copy| manifest(copy, |it| it["journals"][1]["n_records"] = json!(3))),
        changed(&exported, "genesis", |copy| manifest(copy, |it| it["journals"][1]["log_id"] = json!(null))),
    ];
    let new = with_hash_key_of(&old);
    for export in &broken {
        let refused = import(export, &new.rows()).await.ended_with(3);
        assert!(refused.stderr.contains("orders@"), "the journal and the record are named: {refused:?}");
        let checked = orderlog_anywhere(&["log", "check", export.to_str().unwrap(), "--json"]).await.ended_with(3);
        assert_eq!(checked.stderr, refused.stderr);
    }
    let half = changed(&exported, "half", |copy| fs::remove_file(copy.join("manifest.json")).unwrap());
    let refused = import(&half, &new.rows()).await.ended_with(5);
    assert!(refused.stderr.contains("no whole export"), "{refused:?}");
    let newer = changed(&exported, "newer", |copy| manifest(copy, |it| it["format"] = json!(3)));
    let refused = import(&newer, &new.rows()).await.ended_with(3);
    assert!(refused.stderr.contains("format 3"), "{refused:?}");
    orderlog_anywhere(&["log", "check", exported.to_str().unwrap()]).await.ended_with(0);
    import(&exported, &new.rows()).await.ended_with(0);
}

#[tokio::test]
async fn an_export_without_exactly_its_five_journals_is_refused_and_nothing_is_written() {
    let (old, exported) = told_and_exported().await;
    let journals = |it: &mut Value, change: &dyn Fn(&mut Vec<Value>)| change(it["journals"].as_array_mut().unwrap());
    let inventory = "inventory.journal.zst";
    let remove = |copy: &Path, name: &str| fs::remove_file(copy.join(name)).unwrap();
    let wrong = [
        (
            changed(&exported, "missing", |copy| {
                manifest(copy, |it| journals(it, &|all| all.retain(|entry| entry["journal"] != "inventory")));
                remove(copy, inventory);
            }),
            "inventory is missing",
        ),
        (changed(&exported, "none", |copy| manifest(copy, |it| journals(it, &Vec::clear))), "customers is missing"),
        (
            changed(&exported, "twice", |copy| {
                manifest(copy, |it| journals(it, &|all| all.push(all[1].clone())));
            }),
            "orders is listed 2 times",
        ),
        (
            changed(&exported, "unknown", |copy| {
                fs::copy(copy.join(inventory), copy.join("returns.journal.zst")).unwrap();
                manifest(copy, |it| {
                    journals(it, &|all| {
                        let mut more = all[2].clone();
                        (more["journal"], more["file"]) = (json!("returns"), json!("returns.journal.zst"));
                        all.push(more);
                    });
                });
            }),
            "is no journal",
        ),
        (
            changed(&exported, "elsewhere", |copy| {
                manifest(copy, |it| it["journals"][2]["file"] = json!("../export/inventory.journal.zst"));
                remove(copy, inventory);
            }),
            "must be called inventory.journal.zst",
        ),
        (
            changed(&exported, "unlisted", |copy| {
                fs::copy(copy.join(inventory), copy.join("returns.journal.zst")).unwrap();
            }),
            "does not list returns.journal.zst",
        ),
        (changed(&exported, "file", |copy| remove(copy, inventory)), inventory),
        (
            changed(&exported, "emptied", |copy| {
                manifest(copy, |it| {
                    for field in ["first_offset", "last_offset", "log_id", "hash_key"] {
                        it["journals"][2][field] = json!(null);
                    }
                    it["journals"][2]["n_records"] = json!(0);
                });
            }),
            "inventory@0",
        ),
    ];
    let new = with_hash_key_of(&old);
    for (export, told) in &wrong {
        let refused = import(export, &new.rows()).await.ended_with(3);
        assert!(refused.stderr.contains(told), "{told}: {refused:?}");
        let checked = orderlog_anywhere(&["log", "check", export.to_str().unwrap(), "--json"]).await.ended_with(3);
        assert_eq!(checked.stderr, refused.stderr);
    }
    let with_notes = changed(&exported, "notes", |copy| fs::write(copy.join("notes.txt"), "of last night").unwrap());
    let checked = orderlog_anywhere(&["log", "check", with_notes.to_str().unwrap()]).await.ended_with(0);
    assert!(checked.stderr.contains("notes.txt is not part of the export"), "{checked:?}");
    let imported = import(&with_notes, &new.rows()).await.ended_with(0).json();
    assert_eq!(imported["n_there_before"], 0, "the log was empty until now");
}

/// Two pairs of keys as OpenSSL writes them, for this test only.
const KEYS: [(&str, &str); 2] = [
    (
        "MC4CAQAwBQYDK2VwBCIEINxitpYAB8rSlltzRHhKSsSDBcmRgiXX3yIyKUAKkjVK",
        "MCowBQYDK2VwAyEA6NnBWM1G/cZaHvwAsVIMwRRjm2AcRLqb5KvJsk/kCH4=",
    ),
    (
        "MC4CAQAwBQYDK2VwBCIEIJKI2Np6gPilb335cF5WTvEdMDxUuANP3W02EhiW10mP",
        "MCowBQYDK2VwAyEAgOlK6/vrWZu7Vi+MFh9WEKYFo+5WR2Pt0yGK/r4tqys=",
    ),
];

fn pem(dir: &Path, name: &str, kind: &str, base64: &str) -> String {
    let file = dir.join(name);
    fs::write(&file, format!("-----BEGIN {kind} KEY-----\n{base64}\n-----END {kind} KEY-----\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_signed_export_is_verified_by_its_key_and_nothing_else_passes_for_it() {
    let (old, unsigned) = told_and_exported().await;
    let dir = old.data.path();
    let private = pem(dir, "sign.pem", "PRIVATE", KEYS[0].0);
    let [public, other] = [("verify.pem", 0), ("other.pem", 1)].map(|(name, n)| pem(dir, name, "PUBLIC", KEYS[n].1));
    let signed = dir.join("signed");
    let exporting = async |to: &Path, key: &str| {
        orderlog(&["log", "export", to.to_str().unwrap(), "--sign-key", key], &old.rows()).await
    };
    let refused = exporting(&dir.join("none"), &public).await.ended_with(2);
    assert!(refused.stderr.contains("verify.pem is no private key") && !dir.join("none").exists(), "{refused:?}");
    exporting(&signed, &private).await.ended_with(0);
    exporting(&dir.join("second"), &private).await.ended_with(0);

    let checking = async |export: &Path, key: &str| {
        orderlog_anywhere(&["log", "check", export.to_str().unwrap(), "--verify-key", key]).await
    };
    let verified = checking(&signed, &public).await.ended_with(0);
    assert!(verified.stdout.contains("signed by the key"), "{verified:?}");
    let without = orderlog_anywhere(&["log", "check", signed.to_str().unwrap()]).await.ended_with(0);
    assert!(without.stderr.contains("not verified"), "{without:?}");
    let refused = checking(&signed, &private).await.ended_with(2);
    assert!(refused.stderr.contains("sign.pem is no public key"), "{refused:?}");
    checking(&signed, &dir.join("missing.pem").display().to_string()).await.ended_with(2);

    let signature = "manifest.json.sig";
    let wrong = [
        (unsigned.clone(), "is not signed"),
        (changed(&signed, "stripped", |copy| fs::remove_file(copy.join(signature)).unwrap()), "is not signed"),
        (
            changed(&signed, "edited", |copy| manifest(copy, |it| it["one_moment"] = json!(false))),
            "is not the signature",
        ),
        (changed(&signed, "formatted", |copy| manifest(copy, |_| {})), "is not the signature"),
        (
            changed(&signed, "damaged", |copy| edit(&copy.join(signature), |bytes| bytes[9] ^= 1)),
            "is not the signature",
        ),
        (
            changed(&signed, "swapped", |copy| {
                drop(fs::copy(dir.join("second").join(signature), copy.join(signature)))
            }),
            "is not the signature",
        ),
    ];
    let new = with_hash_key_of(&old);
    for (export, told) in &wrong {
        let refused = checking(export, &public).await.ended_with(3);
        assert!(refused.stderr.contains(told), "{told}: {refused:?}");
        let import = ["log", "import", export.to_str().unwrap(), "--verify-key", &public];
        orderlog(&import, &new.rows()).await.ended_with(3);
    }
    let refused = checking(&signed, &other).await.ended_with(3);
    assert!(refused.stderr.contains("is not the signature"), "{refused:?}");
    let import = ["log", "import", signed.to_str().unwrap(), "--verify-key", &public];
    orderlog(&import, &new.rows()).await.ended_with(0);
}

#[tokio::test]
async fn half_an_import_serves_nobody_and_is_resumed_or_undone() {
    let (old, exported) = told_and_exported().await;
    let export_id = export_id(&exported);
    let new = with_hash_key_of(&old);
    let at_rest = undo(&new.rows()).await.ended_with(5);
    assert!(at_rest.stderr.contains("nothing to undo"), "{at_rest:?}");
    let records = {
        let log = EmbeddedLog::open(&old.rows()).await.unwrap();
        let end = log.ends(&[Partition::journal("orders")]).await.unwrap()[0];
        let mut reading = log.read(vec![(Partition::journal("orders"), 0)]);
        let mut records = Vec::new();
        while (records.len() as u64) < end {
            records.extend(reading.next().await.unwrap().unwrap().records);
        }
        records
    };
    let half = records.len() / 2;
    // As it is when the process is killed between two appends.
    let begun = |export_id: &str| Bytes::from(json!({"export_id": export_id, "step": "begun"}).to_string());
    let of_orders = records[..half].iter().map(|it| ("orders", it.headers.clone(), it.value.clone(), it.key.clone()));
    let marker = ("orderlog.imports", Vec::new(), begun(&export_id), None);
    let records = std::iter::once(marker).chain(of_orders).map(|(topic, headers, value, key)| NewRecord {
        topic: topic.into(),
        partition: Some(0),
        key,
        headers,
        value,
    });
    let records: Vec<_> = records.collect();
    append(&new.rows(), records.clone()).await;

    let refused = orderlog(&["serve", "--listen", "127.0.0.1:0"], &new.rows()).await.ended_with(5);
    assert!(refused.stderr.contains("half of an import") && refused.stderr.contains(&export_id), "{refused:?}");
    let command = format!("orderlog log import --undo --data {}", new.rows().display());
    assert!(refused.stderr.contains(&command), "the way out is named: {refused:?}");
    orderlog(&["projection", "status"], &new.rows()).await.ended_with(5);
    let other = exported.with_file_name("other");
    export(&other, &old.rows()).await.ended_with(0);
    let refused = import(&other, &new.rows()).await.ended_with(5);
    assert!(refused.stderr.contains("half of another export") && refused.stderr.contains(&command), "{refused:?}");

    // As an earlier version wrote it.
    for (path, mode) in [(new.rows(), 0o755), (new.rows().join("log.sqlite"), 0o644)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let undone = undo(&new.rows()).await.ended_with(0);
    assert!(undone.stdout.contains(&export_id), "{undone:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let kept = fs::read_dir(new.rows()).unwrap().map(|it| it.unwrap().path());
    assert!(mode(&new.rows()) == 0o700 && kept.into_iter().all(|file| mode(&file) == 0o600), "{undone:?}");
    undo(&new.rows()).await.ended_with(5);
    let names: Vec<_> = fs::read_dir(new.rows()).unwrap().map(|it| it.unwrap().file_name()).collect();
    let is_kept = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("log.sqlite.undone-");
    assert_eq!(names.iter().filter(|name| is_kept(name)).count(), 1, "what was imported is kept: {names:?}");
    import(&other, &new.rows()).await.ended_with(0);
    undo(&new.rows()).await.ended_with(5);

    let new = with_hash_key_of(&old);
    append(&new.rows(), records).await;
    let damaged = changed(&exported, "damaged", |copy| edit(&copy.join("billing.journal.zst"), |bytes| bytes.push(7)));
    let refused = import(&damaged, &new.rows()).await.ended_with(3);
    let command = format!("orderlog log import {} --data {}", damaged.display(), new.rows().display());
    assert!(refused.stderr.contains(&command) && refused.stderr.contains("--undo"), "{refused:?}");
    let imported = import(&exported, &new.rows()).await.ended_with(0).json();
    assert_eq!(imported["n_there_before"], half);
    orderlog(&["projection", "verify", "orders"], &new.rows()).await.ended_with(0);
}

async fn undo(data: &Path) -> Said {
    orderlog(&["log", "import", "--undo"], data).await
}

fn export_id(exported: &Path) -> String {
    let manifest: Value = serde_json::from_slice(&fs::read(exported.join("manifest.json")).unwrap()).unwrap();
    story::text(&manifest, "export_id")
}

/// Append to the log of a data folder, and leave the folder free.
async fn append(data: &Path, records: Vec<NewRecord>) {
    let log = EmbeddedLog::open(data).await.unwrap();
    let topics = ["orders", "orderlog.imports"].map(|name| TopicSpec { name: name.into(), kind: TopicKind::Journal });
    log.prepare(&topics).await.unwrap();
    assert!(log.append(records).await.iter().all(Result::is_ok));
    log.close().await;
}

async fn on_kafka(verb: &str, dir: &Path, prefix: &str, data: &Path) -> Said {
    let (dir, log) = (dir.to_str().unwrap(), format!("kafka://{}", kafka()));
    let args = ["log", verb, dir, "--json", "--log", &log, "--topic-prefix", prefix, "--development-hash-key"];
    orderlog(&args, data).await
}

#[tokio::test]
async fn journals_move_from_kafka_to_kafka_and_to_the_embedded_log() {
    let mut old = Distributed::start().await;
    story::play(&Shop::from(&old), "a").await;
    let inbox = Shop::from(&old).told("operations", "").await;
    let exported = old.data.path().join("export");
    let data = old.rows("orders");
    let manifest = on_kafka("export", &exported, &old.topic_prefix, &data).await.ended_with(0).json();
    for service in SERVICES {
        old.stop(service).await;
    }
    let at_rest = old.data.path().join("rest");
    let manifest_at_rest = on_kafka("export", &at_rest, &old.topic_prefix, &data).await.ended_with(0).json();
    assert!(manifest["journals"].as_array().unwrap().iter().all(|it| it["n_records"].as_u64() > Some(1)));

    let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
    let empty = old.data.path().join("empty");
    fs::create_dir(&empty).unwrap();
    on_kafka("import", &at_rest, &prefix, &empty).await.ended_with(0);
    let again = on_kafka("import", &at_rest, &prefix, &empty).await.ended_with(5);
    assert!(again.stderr.contains("not empty"), "{again:?}");
    let log = format!("kafka://{}", kafka());
    let undone = ["log", "import", "--undo", "--log", &log, "--topic-prefix", &prefix];
    let undone = orderlog(&undone, &empty).await.ended_with(5);
    assert!(undone.stderr.contains("nothing to undo"), "{undone:?}");
    let back = old.data.path().join("back");
    let back = on_kafka("export", &back, &prefix, &empty).await.ended_with(0).json();
    assert_eq!(digests(&back), digests(&manifest_at_rest));

    let mut new = Distributed::start_with_prefix(prefix).await;
    assert_eq!(Shop::from(&new).told("operations", "").await, inbox);
    story::play(&Shop::from(&new), "b").await;
    for service in SERVICES {
        new.stop(service).await;
    }
    for service in SERVICES {
        let args = ["projection", "verify", service, "--log", &format!("kafka://{}", kafka())];
        let args = [&args[..], &["--topic-prefix", &new.topic_prefix, "--development-hash-key"]].concat();
        orderlog(&args, &new.rows(service)).await.ended_with(0);
    }

    let here = Embedded::stopped();
    let args = ["log", "import", at_rest.to_str().unwrap(), "--hash-key", "orderlog development hash key"];
    orderlog(&args, &here.rows()).await.ended_with(0);
    orderlog(&["projection", "verify"], &here.rows()).await.ended_with(0);
}
