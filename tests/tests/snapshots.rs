//! Snapshots and replay from a point, as their operator meets them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::path::Path;

use orderlog_tests::{
    deployment::{Distributed, Embedded, SERVICES, orderlog},
    story::{self, Shop},
};
use serde_json::{Value, json};

/// Where the rows of a service stand after a story, and after another one.
async fn told_twice(shop: &Shop, service: &str, data: &Path) -> (u64, u64) {
    story::play(shop, "a").await;
    let label = orderlog(&["projection", "snapshot", service, "--json"], data).await.ended_with(0).json();
    let snapshot = label["position"].as_u64().unwrap();
    story::play(shop, "b").await;
    (snapshot, status(service, data).await["position"].as_u64().unwrap())
}

async fn status(service: &str, data: &Path) -> Value {
    orderlog(&["projection", "status", service, "--json"], data).await.ended_with(0).json()
}

async fn rebuilt_from(service: &str, point: &str, data: &Path) -> Value {
    let args = ["projection", "rebuild", service, "--json", "--from", point];
    let report = orderlog(&args, data).await.ended_with(0).json()["report"].clone();
    assert!(report["serves_from"].is_u64() && report["differences"] == json!([]), "{report}");
    report
}

/// Delete the rows of a service, with what SQLite keeps beside them.
fn lose_rows(data: &Path, service: &str) {
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{service}."))) {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test]
async fn rows_are_replayed_from_a_point_of_the_embedded_log() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    let (snapshot, end) = told_twice(&Shop::from(&deployment), "orders", &data).await;
    assert!(snapshot < end);

    let point = format!("orders@{snapshot}");
    assert_eq!(rebuilt_from("orders", &point, &data).await["base"], json!(snapshot));
    let point = format!("orders@{}", snapshot - 1);
    assert_eq!(rebuilt_from("orders", &point, &data).await["base"], json!(0), "the snapshot is behind that");
    assert_eq!(rebuilt_from("orders", "2000-01-01T00:00:00Z", &data).await["base"], json!(0));
    assert_eq!(rebuilt_from("orders", "beginning", &data).await["base"], json!(0));

    for (point, code, told) in [
        (format!("orders@{}", end + 1_000), 5, "it goes from orders@0"),
        ("2999-01-01T00:00:00Z".to_owned(), 5, "it goes from orders@0"),
        ("billing@1".to_owned(), 2, "billing@1 is no position in orders"),
        ("end".to_owned(), 2, "no point to replay from"),
        ("yesterday".to_owned(), 2, "orders@1042"),
    ] {
        let refused = orderlog(&["projection", "rebuild", "orders", "--from", &point], &data).await.ended_with(code);
        assert!(refused.stderr.contains(told), "{point}: {refused:?}");
    }
    let verified = orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    assert!(verified.stdout.contains(&format!("snapshot orders@{snapshot}: every row")), "{verified:?}");

    // The same where no server runs.
    assert!(deployment.stop().await);
    let point = format!("orders@{}", snapshot + 1);
    let said = orderlog(&["projection", "rebuild", "orders", "--from", &point], &data).await.ended_with(0);
    assert!(said.stdout.contains(&format!("copied rows up to orders@{snapshot}")), "{said:?}");
}

#[tokio::test]
async fn a_server_without_rows_begins_as_its_snapshots() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    let shop = Shop::from(&deployment);
    story::play(&shop, "a").await;
    orderlog(&["projection", "snapshot", "all"], &data).await.ended_with(0);
    story::play(&shop, "b").await;
    assert!(deployment.stop().await);
    let said = orderlog(&["projection", "snapshot", "billing"], &data).await.ended_with(0);
    assert!(said.stdout.starts_with("billing@"), "{said:?}");
    // A bit of one of them was flipped.
    let position = status("customers", &data).await["snapshots"][0].as_u64().unwrap();
    let damaged = data.join(format!("snapshots/customers@{position}.sqlite"));
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let verified = orderlog(&["projection", "verify", "customers"], &data).await.ended_with(3);
    assert!(verified.stdout.contains(&format!("snapshot customers@{position}: ")), "{verified:?}");
    assert!(verified.stdout.contains("is damaged"), "{verified:?}");

    for service in SERVICES {
        lose_rows(&data, service);
    }
    deployment.restart().await;
    let log = std::fs::read_to_string(deployment.data.path().join("server.log")).unwrap();
    for service in ["orders", "inventory", "billing", "notifications"] {
        assert!(log.contains(&format!("the rows of {service} begin as the snapshot")), "{service}: {log}");
    }
    assert!(!log.contains("the rows of customers begin as"), "the damaged one was passed over: {log}");
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    orderlog(&["projection", "verify", "customers"], &data).await.ended_with(3);
    story::play(&Shop::from(&deployment), "c").await;
}

#[tokio::test]
async fn rows_are_replayed_from_a_point_and_recovered_from_snapshots_on_kafka_and_redis() {
    let mut deployment = Distributed::start().await;
    let data = deployment.rows("inventory");
    let (snapshot, _) = told_twice(&Shop::from(&deployment), "inventory", &data).await;
    let point = format!("inventory@{snapshot}");
    assert_eq!(rebuilt_from("inventory", &point, &data).await["base"], json!(snapshot));
    let inbox = Shop::from(&deployment).told("operations", "").await;
    let of_notifications = deployment.rows("notifications");
    orderlog(&["projection", "snapshot", "notifications"], &of_notifications).await.ended_with(0);
    for service in ["inventory", "notifications"] {
        deployment.stop(service).await;
        lose_rows(&deployment.rows(service), service);
        deployment.restart(service).await;
        let log = std::fs::read_to_string(deployment.data.path().join(format!("{service}.log"))).unwrap();
        assert!(log.contains(&format!("the rows of {service} begin as the snapshot")), "{log}");
        let verified = orderlog(&["projection", "verify", service], &deployment.rows(service)).await.ended_with(0);
        assert!(verified.stdout.contains("every row is what the log says"), "{verified:?}");
    }
    assert_eq!(Shop::from(&deployment).told("operations", "").await, inbox);
}
