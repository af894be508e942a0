//! Topics that somebody else creates, as `topics plan` prints them.

use std::collections::BTreeMap;

use orderlog_tests::deployment::{Server, free_port, kafka, orderlog, orderlog_anywhere};
use rdkafka::admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use serde_json::{Value, json};

use crate::shop_on_kafka::{ShopOnKafka, admin};

async fn plan(prefix: &str) -> Vec<Value> {
    let args = ["topics", "plan", "--json", "--topic-prefix", prefix, "--public-partitions", "2"];
    orderlog_anywhere(&args).await.ended_with(0).json_lines()
}

/// Creates what is planned, except for the topic of imports.
async fn create(planned: &[Value]) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for topic in planned.iter().filter(|topic| !text(&topic["topic"]).ends_with("orderlog.imports")) {
        let (name, settings) = (text(&topic["topic"]), topic["settings"].as_object().unwrap());
        let settings: BTreeMap<_, _> = settings.iter().map(|(name, value)| (name, text(value))).collect();
        let partitions = i32::try_from(topic["partitions"].as_i64().unwrap()).unwrap();
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        admin().create_topics(&[new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_create_topics_a_start_names_all_that_are_missing_and_runs_once_they_exist() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = format!("p{}.", uuid::Uuid::new_v4().simple());
    let (log, listen) = (format!("kafka://{}", kafka()), format!("127.0.0.1:{}", free_port()));
    let options = ["--log", &log, "--topic-prefix", &prefix, "--development-hash-key", "--no-create-topics"];
    let planned = plan(&prefix).await;
    let refused = orderlog(&[&["serve", "--listen", &listen], &options[..]].concat(), dir.path()).await.ended_with(4);
    for topic in &planned {
        let name = topic["topic"].as_str().unwrap();
        let is_named = [format!("{name},"), format!("{name};")].iter().any(|name| refused.stderr.contains(name));
        assert_eq!(is_named, !name.ends_with("orderlog.imports"), "{name}: {}", refused.stderr);
    }
    assert!(refused.stderr.contains("`orderlog topics plan`"), "{}", refused.stderr);

    create(&planned).await;
    let data = dir.path().join("data").display().to_string();
    let args = options.into_iter().chain(["--data", &data]).map(str::to_owned).collect::<Vec<_>>();
    let server = Server::start(&args, free_port(), &dir.path().join("log")).await;
    server.http.post("/stock/tea/receive", json!({ "quantity": 1 })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_have_the_planned_settings() {
    let deployment = ShopOnKafka::start().await;
    for topic in plan(&deployment.name("")).await {
        let name = topic["topic"].as_str().unwrap();
        if name.ends_with("orderlog.imports") {
            continue;
        }
        let described =
            admin().describe_configs(&[ResourceSpecifier::Topic(name)], &AdminOptions::new()).await.unwrap();
        let described = described.into_iter().next().unwrap().unwrap();
        for (setting, value) in topic["settings"].as_object().unwrap() {
            let found = described.get(setting).unwrap().value.as_deref();
            assert_eq!(found, value.as_str(), "{setting} of {name}");
        }
    }
}
