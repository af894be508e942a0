//! Kafka and Redis that want TLS and a password: real ones, with certificates of the test's own authority.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use orderlog_tests::{
    certificates::Authority,
    deployment::{Embedded, Server, free_port, orderlog},
    eventually,
    http::Http,
    story::text,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What must be told nowhere.
const PASSWORD: &str = "correct-horse-battery";

/// A folder with `ca.pem`, `other-ca.pem`, `cert.pem`, `key.pem`, and passwords.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        let authority = Authority::new();
        fs::write(files.at("ca.pem"), authority.pem()).expect("a file");
        fs::write(files.at("other-ca.pem"), Authority::new().pem()).expect("a file");
        authority.issue_at(&files.at("cert.pem"), &files.at("key.pem"));
        fs::write(files.at("password"), format!("{PASSWORD}\n")).expect("a file");
        fs::write(files.at("wrong"), "wrong").expect("a file");
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

/// A Redis that speaks TLS only, and knows one user only.
struct Redis(Child);

impl Redis {
    fn start(files: &Files, port: u16) -> Self {
        let config = format!(
            "bind 127.0.0.1\nport 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file {}\ntls-key-file {}\n\
             tls-ca-cert-file {}\nsave \"\"\ndir {}\nuser default off\nuser orderlog on >{PASSWORD} ~* &* +@all\n",
            files.text("cert.pem"),
            files.text("key.pem"),
            files.text("ca.pem"),
            files.0.path().display()
        );
        fs::write(files.at("redis.conf"), config).expect("a file");
        let log = fs::File::create(files.at("redis.log")).expect("a file");
        let mut redis = Command::new("redis-server");
        Self(redis.arg(files.at("redis.conf")).stdout(log).stdin(Stdio::null()).spawn().expect("redis-server starts"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn redis_of(http: &Http) -> Value {
    http.get("/readyz").await.body["dependencies"]["redis"].clone()
}

#[tokio::test]
async fn the_inbox_is_in_a_redis_that_wants_tls_and_a_user() {
    let files = Files::new();
    let port = free_port();
    let _redis = Redis::start(&files, port);
    let (url, ca, password) = (format!("rediss://localhost:{port}"), files.text("ca.pem"), files.text("password"));
    let options = ["--redis", &url, "--redis-user", "orderlog", "--redis-password-file", &password, "--ca", &ca];
    let embedded = Embedded::start_with(&options).await;
    let http = embedded.http();
    http.post("/notify", json!({ "recipient": "operations", "subject": "s", "body": "b" })).await.expect(201);
    eventually("Redis answers", async || (redis_of(&http).await["answers"] == true).then_some(())).await;
    let found = http.get("/notifications?recipient=operations").await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    assert!(!embedded.told().contains(PASSWORD));

    // Whom the server does not believe, or who does not believe the server, holds up nothing and is told.
    let wrong = files.text("wrong");
    let other = files.text("other-ca.pem");
    for (password, ca) in [(&wrong, &ca), (&password, &other)] {
        let options = ["--redis", &url, "--redis-user", "orderlog", "--redis-password-file", password, "--ca", ca];
        let embedded = Embedded::start_with(&options).await;
        let why = eventually("it is told", async || {
            let redis = redis_of(&embedded.http()).await;
            (redis["answers"] == false).then(|| text(&redis, "why"))
        })
        .await;
        assert!(!why.is_empty() && !why.contains(PASSWORD) && !why.contains("wrong"), "{why}");
        embedded.http().get("/notifications?recipient=operations").await.expect(200);
    }
}

/// A broker with a listener that wants TLS and SASL.
struct Broker {
    dir: PathBuf,
    address: String,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka").join(name)
}

impl Broker {
    fn start(files: &Files) -> Self {
        let both = ["key.pem", "cert.pem"].map(|name| fs::read_to_string(files.at(name)).expect("a file")).concat();
        fs::write(files.at("both.pem"), both).expect("a file");
        let dir = files.at("kafka");
        let mut start = Command::new(script("start"));
        start.arg(&dir).env("SECURE", files.at("both.pem")).env("PASSWORD", PASSWORD);
        let output = start.stdin(Stdio::null()).output().expect("the script runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        Self { dir, address: String::from_utf8_lossy(&output.stdout).trim().to_owned() }
    }

    fn options(&self, files: &Files, password: &str, ca: &str, mechanism: &str) -> Vec<String> {
        let (log, ca, password) = (format!("kafka://{}", self.address), files.text(ca), files.text(password));
        let options = [
            ["--log", &log],
            ["--kafka-ca", &ca],
            ["--kafka-user", "orderlog"],
            ["--kafka-sasl", mechanism],
            ["--kafka-password-file", &password],
        ];
        let options = options.into_iter().flatten().map(str::to_owned);
        options.chain(["--kafka-tls", "--development-hash-key"].map(str::to_owned)).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(Command::new(script("stop")).arg(&self.dir).status());
    }
}

#[tokio::test]
async fn the_log_is_on_brokers_that_want_tls_and_a_user() {
    let files = Files::new();
    let broker = Broker::start(&files);
    for mechanism in ["scram-sha-512", "plain"] {
        let mut args = vec!["inventory".to_owned(), "--data".to_owned(), files.text(mechanism)];
        args.extend(broker.options(&files, "password", "ca.pem", mechanism));
        args.extend(["--topic-prefix".to_owned(), format!("{mechanism}.")]);
        let log = files.at(&format!("{mechanism}.log"));
        let server = Server::start(&args, free_port(), &log).await;
        server.http.post("/stock/beans/receive", json!({ "quantity": 3 })).await.expect(200);
        assert_eq!(server.http.get("/stock/beans").await.expect(200)["available"], 3);
        assert!(!fs::read_to_string(log).expect("a log").contains(PASSWORD));
    }
    for (password, ca, why) in
        [("wrong", "ca.pem", "uthentication failed"), ("password", "other-ca.pem", "certificate verify failed")]
    {
        let mut args = vec!["serve".to_owned(), "inventory".to_owned(), "--listen".to_owned()];
        args.push(format!("127.0.0.1:{}", free_port()));
        args.extend(broker.options(&files, password, ca, "scram-sha-512"));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let told = orderlog(&args, &files.at("refused")).await.ended_with(4).stderr;
        assert!(!told.contains(PASSWORD), "{told}");
        // The reason is in what the process ends with, not only somewhere before.
        let (_, end) = told.rsplit_once("error: ").expect("it ends with an error");
        assert!(end.contains(why), "{told}");
    }
}

#[tokio::test]
async fn what_is_missing_for_that_is_told_at_the_start() {
    let data = tempfile::tempdir().expect("a folder");
    let told = async |args: &[&str], code: i32| {
        let listen = format!("127.0.0.1:{}", free_port());
        orderlog(&[&["serve", "--listen", &listen], args].concat(), data.path()).await.ended_with(code).stderr
    };
    let kafka = ["--log", "kafka://127.0.0.1:1", "--kafka-user", "orderlog", "--development-hash-key"];
    let without = told(&kafka, 1).await;
    assert!(without.contains("--kafka-password-file"), "{without}");
    let missing = told(&[&kafka[..], &["--kafka-password-file", "/nowhere/password"]].concat(), 1).await;
    assert!(missing.contains("/nowhere/password"), "{missing}");
    let half = told(&["--kafka-ca", "/nowhere/ca.pem"], 2).await;
    assert!(half.contains("--kafka-tls"), "{half}");
    let redis = ["--redis", "rediss://localhost:1", "--redis-password-file", "/nowhere/password"];
    let missing = told(&redis, 1).await;
    assert!(missing.contains("/nowhere/password"), "{missing}");
}
