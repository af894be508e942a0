//! A public topic is deleted, and restored from its journal.

use std::collections::BTreeMap;

use orderlog_tests::{eventually, kcat::Published};
use rdkafka::admin::AdminOptions;

use crate::shop_on_kafka::{ShopOnKafka, admin};

/// What consumers that deduplicate see of each key: ids and values, in order.
fn seen(events: &[Published]) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut seen = BTreeMap::<&str, Vec<_>>::new();
    for event in events {
        let event_seen = (event.header("ce_id"), event.value.as_str());
        let of_key = seen.entry(event.key.as_str()).or_default();
        if !of_key.contains(&event_seen) {
            of_key.push(event_seen);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_deleted_is_restored_with_the_same_events() {
    let mut deployment = ShopOnKafka::start().await;
    let ada = deployment.customer_with_orders().await;
    let topic = "order.created";
    let created = deployment.read(topic);
    let refused = deployment.orderlog(&["log", "republish", topic]).await.ended_with(5);
    assert!(refused.stderr.contains("stop it first"), "{refused:?}");
    deployment.stop().await;

    let name = deployment.name(topic);
    admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let restored = eventually("the topic is gone, and can be created", async || {
        let restored = deployment.orderlog(&["log", "republish", topic, "--json"]).await;
        (restored.code == 0).then_some(restored)
    })
    .await;
    assert!(restored.json_lines().iter().all(|event| event["was_missing"] == true), "{restored:?}");
    assert_eq!(seen(&deployment.read(topic)), seen(&created));
    let lacking = deployment.orderlog(&["log", "republish", "-n", topic, "--json"]).await.ended_with(0);
    assert_eq!(lacking.stdout, "", "nothing is missing any more");

    deployment.restart().await;
    let shop = deployment.shop();
    let last = shop.order(&ada, &[("tea", 3)]).await;
    shop.order_becomes(&last, "confirmed", "unpaid").await;
    assert_eq!(shop.inventory.get("/stock/tea").await.expect(200)["reserved"], 6, "nothing is reserved twice");
    assert_eq!(deployment.read(topic).len(), created.len() + 1, "the relay resumes from where it was");
    deployment.stop().await;
    deployment.orderlog(&["projection", "verify", "orders"]).await.ended_with(0);
}
