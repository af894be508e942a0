//! What each earlier version stored, in `tests/fixtures`, is served, verified and exported without a change.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use orderlog_eventlog::{
    EventLog, NewRecord,
    kafka::{KafkaConfig, KafkaLog},
};
use orderlog_runtime::assembly;
use orderlog_tests::{
    deployment::{Embedded, Server, binary, free_port, kafka, orderlog, orderlog_anywhere, orderlog_with_read_only},
    http::Http,
};
use serde_json::{Value, json};

/// The secret of all fixtures.
const HASH_KEY: &str = "fixtures";

/// What one earlier version stored.
struct Fixture(PathBuf);

impl Fixture {
    /// All there are, oldest first.
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut versions: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        versions.sort();
        assert!(!versions.is_empty(), "there are fixtures in {}", folder.display());
        versions.into_iter().map(Self).collect()
    }

    fn text(&self, file: &str) -> Vec<u8> {
        zstd::decode_all(fs::File::open(self.0.join(file)).unwrap()).unwrap()
    }

    /// Unpacks one of its folders into `to`.
    fn unpack(&self, folder: &str, to: &Path) -> PathBuf {
        let mut tar = Command::new("tar").arg("-xf").arg("-").arg("-C").arg(to).stdin(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&self.text(&format!("{folder}.tar.zst"))).unwrap();
        assert!(tar.wait().unwrap().success());
        to.join(folder)
    }

    /// What its server answered, by path.
    fn answers(&self, log: &str) -> serde_json::Map<String, Value> {
        let expected: Value = serde_json::from_slice(&fs::read(self.0.join("expected.json")).unwrap()).unwrap();
        expected[log].as_object().unwrap().clone()
    }

    /// Every record that it wrote to Kafka, in the order of their offsets in each partition.
    fn records(&self) -> Vec<(u64, NewRecord)> {
        let text = String::from_utf8(self.text("kafka.jsonl.zst")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let bytes = |value: &Value| value.as_str().map(|text| Bytes::from(STANDARD.decode(text).unwrap()));
        let record = |line: &Value| {
            let headers = line["headers"].as_array().unwrap().iter();
            let headers = headers.map(|it| (it[0].as_str().unwrap().to_owned().into(), bytes(&it[1]).unwrap()));
            let record = NewRecord {
                topic: line["topic"].as_str().unwrap().into(),
                partition: Some(u32::try_from(line["partition"].as_u64().unwrap()).unwrap()),
                key: bytes(&line["key"]),
                headers: headers.collect(),
                value: bytes(&line["value"]).unwrap(),
            };
            (line["offset"].as_u64().unwrap(), record)
        };
        lines.filter(|line| line["offset"].is_u64()).map(|line| record(&line)).collect()
    }
}

/// The member whose text is for people: later versions may reword it.
const PROSE: &str = "summary";

/// Whether `now` has everything that `before` had. Later versions may add members.
fn has_all_of(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => before.iter().all(|(name, value)| {
            now.get(name).is_some_and(|it| if name == PROSE { it.is_string() } else { has_all_of(it, value) })
        }),
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len() && now.iter().zip(before).all(|(now, before)| has_all_of(now, before))
        }
        (now, before) => now == before,
    }
}

async fn answers_as_before(http: &Http, answers: &serde_json::Map<String, Value>) {
    for (path, before) in answers {
        let now = http.get(path).await.expect(200);
        assert!(has_all_of(&now, before), "{path} was {before} and is {now}");
    }
    repeats_what_was_done(http, answers).await;
}

/// Commands with the idempotency keys of the fixture are known: nothing is done again.
async fn repeats_what_was_done(http: &Http, answers: &serde_json::Map<String, Value>) {
    let register = json!({"name": "Ada Lovelace", "email": "ada@example.com"});
    let again = http.post_once("/customers", "register-ada", register).await;
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"), "{again:?}");
    let ada = again.expect(201)["customer_id"].clone();
    assert!(answers.contains_key(&format!("/customers/{}", ada.as_str().unwrap())), "{ada}");
    let lines =
        json!([{"sku": "beans", "quantity": 2, "unit_price": 1890}, {"sku": "tea", "quantity": 2, "unit_price": 250}]);
    let order = json!({"customer_id": ada, "currency": "EUR", "lines": lines});
    let again = http.post_once("/orders", "first-order", order).await;
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"), "{again:?}");
    let order_id = again.expect(201)["order_id"].clone();
    let payment = json!({"order_id": order_id, "amount": 4280, "currency": "EUR", "reference": "bank 1"});
    let again = http.post_once("/billing", "first-payment", payment).await;
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"), "{again:?}");
}

/// Verifies what is stored in `data`, exports it, and checks the export.
async fn holds(data: &Path, log: &[&str]) {
    orderlog(&[&["projection", "verify", "all"], log].concat(), data).await.ended_with(0);
    let exported = data.with_file_name("exported");
    orderlog(&[&["log", "export", exported.to_str().unwrap()], log].concat(), data).await.ended_with(0);
    orderlog_anywhere(&["log", "check", exported.to_str().unwrap()]).await.ended_with(0);
}

#[tokio::test]
async fn a_data_folder_of_each_earlier_version_is_served_verified_and_exported() {
    for fixture in Fixture::all() {
        let mut deployment = Embedded::stopped();
        fixture.unpack("data", deployment.data.path());
        // As it is: a command that looks adds no column, and works on a read-only file system.
        for args in [&["log", "lint"][..], &["projection", "status"], &["projection", "verify"]] {
            orderlog_with_read_only(&deployment.rows(), args, &deployment.rows()).await.ended_with(0);
        }
        deployment.restart().await;
        answers_as_before(&deployment.http(), &fixture.answers("embedded")).await;
        assert!(deployment.stop().await);
        holds(&deployment.rows(), &[]).await;
    }
}

/// `projection prepare` where there is room for a few files only.
async fn prepare_on_a_full_disk(data: &Path) -> std::process::Output {
    fs::create_dir(data.join("prepared")).unwrap();
    let mount = r#"mount -t tmpfs -o size=200k none "$0/prepared" && exec "$1" projection prepare --data "$0""#;
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount]).arg(data).arg(binary()).output().await.unwrap()
}

#[tokio::test]
async fn read_models_of_each_earlier_version_are_prepared_for_this_one() {
    for fixture in Fixture::all() {
        let mut deployment = Embedded::stopped();
        fixture.unpack("data", deployment.data.path());
        let (data, prepare) = (deployment.rows(), ["projection", "prepare"]);
        let refused = orderlog_with_read_only(&data, &prepare, &data).await.ended_with(4);
        assert!(refused.stderr.contains("Read-only file system"), "{refused:?}");
        let refused = prepare_on_a_full_disk(&data).await;
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(4) && told.contains("disk is full"), "{told}");
        let serving = data.join("orders.1.sqlite");
        std::os::unix::fs::chown(&serving, Some(4_711), None).unwrap();
        let refused = orderlog(&prepare, &data).await.ended_with(5);
        assert!(refused.stderr.contains("belongs to the user with the id 4711"), "{refused:?}");
        std::os::unix::fs::chown(&serving, Some(0), None).unwrap();

        let prepared = orderlog(&[&prepare[..], &["--json"]].concat(), &data).await.ended_with(0).json_lines();
        deployment.restart().await;
        let log = deployment.told();
        assert!(!prepared.is_empty() && !log.contains("rebuilt from the log"), "{prepared:?} {log}");
        for service in prepared {
            let service = service["service"].as_str().unwrap();
            assert!(log.contains(&format!("the read model of {service} was prepared up to")), "{log}");
        }
        answers_as_before(&deployment.http(), &fixture.answers("embedded")).await;
        orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    }
}

#[tokio::test]
async fn an_export_of_each_earlier_version_is_imported() {
    for fixture in Fixture::all() {
        let mut deployment = Embedded::stopped();
        let exported = fixture.unpack("export", deployment.data.path());
        orderlog_anywhere(&["log", "check", exported.to_str().unwrap()]).await.ended_with(0);
        fs::create_dir(deployment.rows()).unwrap();
        fs::write(deployment.rows().join("hash.key"), HASH_KEY).unwrap();
        orderlog(&["log", "import", exported.to_str().unwrap()], &deployment.rows()).await.ended_with(0);
        deployment.restart().await;
        answers_as_before(&deployment.http(), &fixture.answers("embedded")).await;
        assert!(deployment.stop().await);
        holds(&deployment.rows(), &[]).await;
    }
}

#[tokio::test]
async fn topics_of_each_earlier_version_on_kafka_are_served_verified_and_exported() {
    for fixture in Fixture::all() {
        let folder = tempfile::tempdir().unwrap();
        let (data, topic_prefix) = (folder.path().join("data"), format!("t{}.", uuid::Uuid::new_v4().simple()));
        let config =
            KafkaConfig { topic_prefix: topic_prefix.clone(), public_partitions: 2, ..KafkaConfig::new(kafka()) };
        let log = KafkaLog::connect(config).unwrap();
        log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
        for (offset, record) in fixture.records() {
            let landed = log.append(vec![record]).await.remove(0).unwrap();
            assert_eq!(landed.offset, offset);
        }
        let brokers = format!("kafka://{}", kafka());
        let options = ["--log", &brokers, "--topic-prefix", &topic_prefix, "--hash-key", HASH_KEY];
        let args = options.into_iter().chain(["--data", data.to_str().unwrap()]).map(str::to_owned).collect::<Vec<_>>();
        let server = Server::start(&args, free_port(), &folder.path().join("server.log")).await;
        answers_as_before(&server.http, &fixture.answers("kafka")).await;
        assert!(server.stop().await);
        holds(&data, &options).await;
    }
}
