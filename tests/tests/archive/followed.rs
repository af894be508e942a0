//! `orderlog log export --follow`: a backup that goes on under load, as docs/operations.md has an operator drill it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use bytes::Bytes;
use orderlog_eventlog::{
    EventLog, Partition, RecordHeader,
    embedded::EmbeddedLog,
    kafka::{KafkaConfig, KafkaLog},
};
use orderlog_tests::{
    deployment::{Distributed, Embedded, SERVICES, Said, binary, kafka, orderlog, orderlog_anywhere},
    disk::Disk,
    ends::ends_at_rest,
    eventually,
    story::{self, Shop},
};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

use super::{KEYS, changed, digests, import, pem, with_hash_key_of};

/// A process that follows a log.
struct Follower {
    process: Child,
    dir: PathBuf,
}

impl Follower {
    fn begin(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["log", "export", "--follow", "--every", "1s", "--json"]).arg(dir).args(args);
        command.env_remove("ORDERLOG_DATA").kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { process: command.spawn().unwrap(), dir: dir.to_owned() }
    }

    /// Waits until so many more segments are sealed.
    async fn seals(&self, n_more: usize) -> u64 {
        let wanted = sealed(&self.dir) + n_more;
        let n = eventually("segments are sealed", async || Some(sealed(&self.dir)).filter(|n| *n >= wanted)).await;
        n as u64
    }

    async fn ends(self) -> Said {
        let output = self.process.wait_with_output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// SIGTERM.
    async fn stop(self) -> Said {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.ends().await
    }
}

/// The number of sealed segments.
fn sealed(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("segment-") && !name.ends_with(".new")).count()
}

/// Orders from four customers at once, one after the other.
async fn load(shop: Shop) -> JoinSet<()> {
    let (shop, mut load) = (Arc::new(shop), JoinSet::new());
    for n in 0..4 {
        let (customer, sku) = (shop.customer("Ada").await, format!("sku-{n}"));
        shop.receive(&sku, 1_000_000).await;
        shop.order(&customer, &[(&sku, 1)]).await;
        let shop = Arc::clone(&shop);
        load.spawn(async move {
            loop {
                shop.order(&customer, &[(&sku, 1)]).await;
            }
        });
    }
    load
}

type Bare = (Option<Bytes>, Vec<RecordHeader>, Bytes);

/// The records of every journal.
async fn journals(log: &dyn EventLog) -> Vec<Vec<Bare>> {
    let mut journals = Vec::new();
    for service in SERVICES {
        let partition = Partition::journal(service);
        let end = log.ends(std::slice::from_ref(&partition)).await.unwrap()[0];
        let records = log.history(&partition, 0, end, usize::MAX).await.unwrap();
        journals.push(records.into_iter().map(|record| (record.key, record.headers, record.value)).collect());
    }
    log.close().await;
    journals
}

async fn of_folder(data: &Path) -> Vec<Vec<Bare>> {
    journals(EmbeddedLog::open(data).await.unwrap().as_ref()).await
}

async fn checked(dir: &Path, args: &[&str]) -> Said {
    orderlog_anywhere(&[&["log", "check", dir.to_str().unwrap(), "--json"], args].concat()).await
}

/// Imports the segments up to `to`, serves them until they have come to rest, and proves every row.
async fn restored(old: &Embedded, dir: &Path, to: u64) -> Embedded {
    let mut new = with_hash_key_of(old);
    let args = ["log", "import", dir.to_str().unwrap(), "--to", &to.to_string()];
    orderlog(&args, &new.rows()).await.ended_with(0);
    let records = of_folder(&new.rows()).await;
    for (restored, old) in records.iter().zip(of_folder(&old.rows()).await) {
        assert_eq!(restored, &old[..restored.len()], "what was restored is what was there");
    }
    new.restart().await;
    ends_at_rest(&new.http()).await;
    assert!(new.stop().await);
    orderlog(&["projection", "verify", "all"], &new.rows()).await.ended_with(0);
    new
}

#[tokio::test]
async fn a_backup_that_goes_on_under_load_is_restored_up_to_any_segment() {
    let mut old = Embedded::start().await;
    let dir = old.data.path().join("segments");
    let private = pem(old.data.path(), "sign.pem", "PRIVATE", KEYS[0].0);
    let public = pem(old.data.path(), "verify.pem", "PUBLIC", KEYS[0].1);
    let data = old.rows().display().to_string();
    let args = ["--data", &data, "--sign-key", &private];
    let mut load = load(Shop::from(&old)).await;

    let mut killed = Follower::begin(&dir, &args);
    killed.seals(2).await;
    killed.process.kill().await.unwrap();
    let second = Follower::begin(&dir, &args);
    let under_load = second.seals(3).await;
    let refused = Follower::begin(&dir, &args).ends().await.ended_with(5);
    assert!(refused.stderr.contains("another export writes to"), "{refused:?}");
    let stopped = second.stop().await.ended_with(0);
    let last = stopped.json_lines().pop().unwrap();
    assert_eq!(last["segment"], sealed(&dir), "{stopped:?}");
    assert!(last["duration_ms"].as_u64() < Some(10_000) && last["time"].is_string(), "{last}");
    assert!(!load.is_empty() && load.try_join_next().is_none(), "the load has not stopped");
    load.abort_all();
    old.server().kill();

    let whole = checked(&dir, &["--verify-key", &public]).await.ended_with(0).json();
    assert_eq!(whole["segment"], last["segment"]);
    for to in ["0", "999", "2020-01-01"] {
        checked(&dir, &["--to", to]).await.ended_with(5);
    }
    checked(&dir, &["--to", &under_load.to_string()]).await.ended_with(0);
    let middle = restored(&old, &dir, under_load).await;
    let mut new = restored(&old, &dir, last["segment"].as_u64().unwrap()).await;
    new.restart().await;
    story::play(&Shop::from(&new), "after").await;
    assert!(new.stop().await);
    drop(middle);

    // The log of the killed server has more, which one more segment saves.
    let export = ["log", "export", dir.to_str().unwrap(), "--json"];
    let rest = orderlog(&export, &old.rows()).await.ended_with(0).json();
    let at_once = super::export(&old.data.path().join("at-once"), &old.rows()).await.ended_with(0).json();
    assert_eq!(digests(&checked(&dir, &[]).await.ended_with(0).json()), digests(&at_once));
    let unsigned = checked(&dir, &["--verify-key", &public]).await.ended_with(3);
    assert!(rest["n_new"] != 0 && unsigned.stderr.contains("is not signed"), "each segment is: {rest} {unsigned:?}");
    let other = orderlog(&export, &new.rows()).await.ended_with(5);
    assert!(other.stderr.contains("it is another log, or an older copy"), "{other:?}");
    let lost = changed_segments(&dir, 2);
    let refused = import(&lost, &Embedded::stopped().rows()).await.ended_with(3);
    assert!(refused.stderr.contains("segment 2 must be next"), "{refused:?}");
}

/// A copy of the segments in which one is missing.
fn changed_segments(dir: &Path, missing: u64) -> PathBuf {
    let lost = dir.with_file_name("lost");
    fs::create_dir(&lost).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        if name != format!("segment-{missing:08}") {
            changed(&entry.path(), &format!("../lost/{name}"), |_| {});
        }
    }
    lost
}

#[tokio::test]
async fn a_full_disk_leaves_the_sealed_segments_and_a_clear_error() {
    let old = Embedded::start().await;
    let disk = Disk::mount(&old.data.path().join("disk"));
    let dir = disk.at().join("segments");
    let data = old.rows().display().to_string();
    let args = ["--data", data.as_str()];
    let follower = Follower::begin(&dir, &args);
    follower.seals(1).await;
    let filling = disk.fill();
    story::play(&Shop::from(&old), "a").await;
    let full = follower.ends().await.ended_with(1);
    assert!(full.stderr.contains("segment-") && full.stderr.contains("No space left on device"), "{full:?}");
    let before = checked(&dir, &[]).await.ended_with(0).json();
    fs::remove_file(filling).unwrap();
    let follower = Follower::begin(&dir, &args);
    follower.seals(1).await;
    follower.stop().await.ended_with(0);
    let after = checked(&dir, &[]).await.ended_with(0).json();
    assert!(after["segment"].as_u64() > before["segment"].as_u64(), "{before} {after}");
}

#[tokio::test]
async fn a_log_on_kafka_is_followed_directly_under_load() {
    let mut old = Distributed::start().await;
    let dir = old.data.path().join("segments");
    let log = format!("kafka://{}", kafka());
    let data = old.data.path().join("none").display().to_string();
    let args = ["--log", &log, "--topic-prefix", &old.topic_prefix, "--data", &data];
    let mut load = load(Shop::from(&old)).await;
    let follower = Follower::begin(&dir, &args);
    let under_load = follower.seals(3).await;
    assert!(load.try_join_next().is_none(), "the load has not stopped");
    load.shutdown().await;
    for service in SERVICES {
        old.stop(service).await;
    }
    let stopped = follower.stop().await.ended_with(0);
    let seals = stopped.json_lines();
    assert!(seals.iter().all(|seal| seal["duration_ms"].as_u64() < Some(20_000)), "{seals:?}");

    let config = KafkaConfig { topic_prefix: old.topic_prefix.clone(), ..KafkaConfig::new(kafka()) };
    let was = journals(KafkaLog::connect(config).unwrap().as_ref()).await;
    let hash_key = ["--hash-key", "orderlog development hash key"];
    let into = async |to: &[&str]| {
        let new = Embedded::stopped();
        let args = [&["log", "import", dir.to_str().unwrap()], to, &hash_key[..]].concat();
        orderlog(&args, &new.rows()).await.ended_with(0);
        new
    };
    let last = into(&[]).await;
    assert_eq!(of_folder(&last.rows()).await, was, "the last segment ends where the log does");
    let mut middle = into(&["--to", &under_load.to_string()]).await;
    middle.restart().await;
    ends_at_rest(&middle.http()).await;
    assert!(middle.stop().await);
    orderlog(&["projection", "verify", "all"], &middle.rows()).await.ended_with(0);
}
