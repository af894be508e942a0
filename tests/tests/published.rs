//! What somebody does to the public topics of a stopped server is found by `projection verify` of the service that publishes them.

use std::fs;

use orderlog_tests::{
    deployment::orderlog,
    ends::ends_at_rest,
    planting::{Planting, execute, is_told, table},
    story::{self, Shop},
};

#[tokio::test]
async fn every_planted_fault_on_a_public_topic_is_found() {
    let planting = Planting::new().await;
    let data = planting.deployment.rows();
    let (created, moved, placed) =
        (table(&data, "customer.created"), table(&data, "stock.updated"), table(&data, "order.created"));
    let found = async |service, fault, sql: String, told: &[&str]| {
        planting.found_in(service, fault, ("log.sqlite", &sql), told).await;
    };
    let first = format!("delete from {created} where offset = 0");
    found("customers", "the first event of a topic is gone", first, &["customer.created/0@0", "of customers@1"]).await;
    let middle = format!("delete from {moved} where offset = 3");
    found("inventory", "an event in the middle is gone", middle, &["stock.updated/0@3", "the event is missing"]).await;
    let last = format!("delete from {placed} where offset = (select max(offset) from {placed})");
    found("orders", "the last event of a topic is gone", last, &["order.created: the event is missing"]).await;
    let value = format!("update {moved} set value = flip_middle(value), sum = null where offset = 2");
    found("inventory", "another value", value, &["stock.updated/0@2"]).await;
    let kind = format!(
        "update {moved} set head = cast(replace(cast(head as text), 'stock.updated', 'stock.updatee') as blob), sum = null
         where offset = 1"
    );
    found("inventory", "another type", kind, &["stock.updated/0@1"]).await;
}

#[tokio::test]
async fn what_is_published_again_is_no_fault_and_hides_none() {
    let mut planting = Planting::new().await;
    let data = planting.deployment.rows();
    for entry in fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("positions.sqlite")) {
            fs::remove_file(path).unwrap();
        }
    }
    let verified = orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    assert!(verified.stdout.contains("the relay has no position in this log"), "{verified:?}");
    planting.deployment.restart().await;
    ends_at_rest(&planting.deployment.http()).await;
    let verified = orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    assert!(verified.stdout.contains("up to orders@"), "on a running server: {verified:?}");
    story::play(&Shop::from(&planting.deployment), "c").await;
    assert!(planting.deployment.stop().await);
    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    let moved = table(&data, "stock.updated");
    execute(
        &data.join("log.sqlite"),
        &format!("update {moved} set value = flip_middle(value), sum = null where offset = 2"),
    );
    is_told("a first copy", &orderlog(&["projection", "verify", "inventory"], &data).await, &["stock.updated/0@2"]);
}
