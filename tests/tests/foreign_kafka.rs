//! A Kafka that others configure and write to: topics that take less than they did, and transactions of other programs.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::time::Duration;

use orderlog_tests::{
    deployment::{Server, free_port, orderlog},
    eventually,
    http::{Answer, Http},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer},
};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

/// The notifications service on the brokers of all tests, with topics of its own.
struct Notifications {
    dir: tempfile::TempDir,
    brokers: String,
    prefix: String,
}

impl Notifications {
    fn new() -> Self {
        let brokers = std::env::var("KAFKA").expect("KAFKA must name the brokers to test against");
        Self { dir: tempfile::tempdir().unwrap(), brokers, prefix: format!("{}.", Uuid::now_v7().simple()) }
    }

    fn args(&self) -> Vec<String> {
        let log = format!("kafka://{}", self.brokers);
        let args = ["--log", &log, "--topic-prefix", &self.prefix, "--development-hash-key"];
        args.map(str::to_owned).into()
    }

    async fn start(&self) -> Server {
        let data = self.dir.path().join("data").display().to_string();
        let args = [vec!["notifications".to_owned(), "--data".to_owned(), data], self.args()].concat();
        Server::start(&args, free_port(), &self.dir.path().join("log")).await
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What another program writes there, as one transaction.
    fn transaction(&self, topic: &str, value: &str) {
        let topic = self.topic(topic);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("transactional.id", &topic);
        let producer: BaseProducer = config.create().unwrap();
        let wait = Duration::from_secs(30);
        producer.init_transactions(wait).unwrap();
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), _>::to(&topic).partition(0).payload(value)).unwrap();
        let end = || producer.client().fetch_watermarks(&topic, 0, wait).unwrap().1;
        producer.flush(wait).unwrap();
        let end_of_records = end();
        producer.commit_transaction(wait).unwrap();
        // The marker comes a moment after the commit.
        while end() == end_of_records {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    async fn set(&self, topic: &str, setting: &str, value: &str) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let topic = self.topic(topic);
        // What is not named here falls back to the broker's defaults.
        let kept =
            AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "-1").set("retention.bytes", "-1");
        let change = kept.set("cleanup.policy", "delete").set(setting, value);
        admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }
}

async fn notify(http: &Http, key: &str, n_chars: usize) -> Answer {
    let body = json!({ "recipient": "operations", "subject": "s", "body": "x".repeat(n_chars) });
    http.send(Method::POST, "/notify", &[("Idempotency-Key", key)], Some(&body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_record_the_brokers_always_refuse_ends_and_holds_up_nothing() {
    let notifications = Notifications::new();
    let server = notifications.start().await;
    let http = &server.http;
    notify(http, "before", 9_000).await.expect(201);
    notifications.set("notifications", "max.message.bytes", "4000").await;
    // The broker hears of the change a moment later; until then it takes such records.
    let refused = eventually("the topic takes less", async || {
        let answer = notify(http, &Uuid::new_v4().to_string(), 9_000).await;
        (answer.status != 201).then_some(answer)
    })
    .await;
    refused.expect_problem(413, "record_too_large");
    notify(http, "again", 9_000).await.expect_problem(413, "record_too_large");
    notify(http, "again", 9).await.expect(201);
    let told = notifications.told();
    let line = told.lines().find(|line| line.contains("max.message.bytes=4000")).unwrap();
    assert!(line.contains("record ") && line.contains("notifications"), "which record it is: {line}");

    drop(server);
    let data = notifications.dir.path().join("other");
    let args = [vec!["serve".to_owned(), "notifications".to_owned()], notifications.args()].concat();
    let listen = format!("127.0.0.1:{}", free_port());
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["--listen", listen.as_str()]).collect();
    let refused = orderlog(&args, &data).await;
    assert!(refused.code != 0 && refused.stderr.contains("max.message.bytes=4000"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_at_topics_that_end_in_somebodys_transaction_comes_to_an_end() {
    let notifications = Notifications::new();
    let server = notifications.start().await;
    notify(&server.http, "one", 9).await.expect(201);
    let running = notifications.dir.path().join("data");
    notifications.transaction("low.stock", r#"{"foreign":true}"#);
    let replay = async |topic: &str, data: &std::path::Path| {
        let args = [vec!["log".to_owned(), "replay".to_owned(), topic.to_owned()], notifications.args()].concat();
        orderlog(&args.iter().map(String::as_str).collect::<Vec<_>>(), data).await.ended_with(0).stdout
    };
    let on_server = replay("low.stock", &running).await;
    assert!(on_server.contains("foreign") && on_server.lines().count() == 1, "{on_server}");
    drop(server);

    notifications.transaction("notifications", r#"{"foreign":true}"#);
    let elsewhere = notifications.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    assert_eq!(replay("low.stock", &elsewhere).await, on_server);
    assert_eq!(replay("notifications", &elsewhere).await.lines().count(), 3, "genesis, the notification, the stranger");
    let args = [vec!["log".to_owned(), "lint".to_owned(), "notifications".to_owned()], notifications.args()].concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let linted = orderlog(&args, &elsewhere).await.ended_with(0);
    assert!(linted.stdout.contains("another program wrote it"), "{linted:?}");
}
