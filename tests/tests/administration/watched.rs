//! Topics are changed while all services run.

use orderlog_tests::eventually;
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier},
};
use serde_json::Value;

use crate::shop_on_kafka::{ShopOnKafka, admin};

impl ShopOnKafka {
    async fn set_retention(&self, topic: &str, ms: &str) {
        let topic = self.name(topic);
        let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", ms);
        admin().alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    /// Deletes the records below `offset` of each partition.
    pub async fn trim(&self, topic: &str, partitions: std::ops::Range<i32>, offset: Offset) {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(&self.name(topic), partition, offset).unwrap();
        }
        let done = admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
        done.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Waits for this status of `/readyz`, with exactly these topics and the reason for each, which disable or degrade.
    async fn has_troubles(&self, status: u16, wanted: &[(&str, &str)]) {
        let http = self.shop().orders;
        eventually(&format!("{status}, {wanted:?}"), async || {
            let answer = http.get("/readyz").await;
            let mut found = answer.body["troubles"].as_object()?.clone();
            for degraded in answer.body["degraded"].as_array()? {
                found.insert(format!("topic {}", degraded["topic"].as_str()?), degraded["why"].clone());
            }
            let is_named = |(topic, why): &(&str, &str)| {
                let found = found.get(&format!("topic {topic}")).and_then(Value::as_str);
                found.is_some_and(|found| found.contains(why))
            };
            let is_it = answer.status == status && found.len() == wanted.len() && wanted.iter().all(is_named);
            is_it.then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_trimming_and_partitions_are_noticed_named_and_over_once_they_are_mended() {
    let mut deployment = ShopOnKafka::start().await;
    let shop = deployment.shop();
    shop.receive("tea", 10).await;
    let order = shop.order(&shop.customer("Ada").await, &[("tea", 1)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    deployment.has_troubles(200, &[]).await;

    deployment.trim("order.created", 0..3, Offset::End).await;
    deployment.set_retention("orders", "604800000").await;
    let trimmed = ("order.created", "first records are gone");
    deployment.has_troubles(503, &[("orders", "retention.ms=604800000"), trimmed]).await;
    deployment.set_retention("orders", "-1").await;
    deployment.has_troubles(200, &[trimmed]).await;

    deployment.trim("customers", 0..1, Offset::Offset(1)).await;
    let billing = deployment.name("billing");
    let added = admin().create_partitions(&[NewPartitions::new(&billing, 2)], &AdminOptions::new()).await;
    added.unwrap().remove(0).unwrap();
    let gone = ("customers", "partition 0 begins at offset 1");
    deployment.has_troubles(503, &[("billing", "partitions=2"), gone, trimmed]).await;
    let metrics = shop.orders.metrics().await;
    for series in [
        r#"orderlog_topic_faults{fault="trimmed",kind="public",topic="order.created"}"#,
        r#"orderlog_topic_faults{fault="trimmed",kind="journal",topic="customers"}"#,
        r#"orderlog_topic_faults{fault="setting",kind="journal",topic="billing"}"#,
        r#"orderlog_log_start_offset{service="customers"}"#,
    ] {
        assert!(metrics.get(series).is_some_and(|value| *value >= 1.0), "{series}: {metrics:?}");
    }
    deployment.stop().await;
    let logged = deployment.logged();
    for line in
        ["topic orders: it has retention.ms=604800000", "topic orders is in order again", "topic customers: its first"]
    {
        assert_eq!(logged.matches(line).count(), 1, "{line}: {logged}");
    }
    refused_with_the_way_back(&deployment).await;
}

/// Without a hint to discard read models, which may be the last copy.
async fn refused_with_the_way_back(deployment: &ShopOnKafka) {
    let refused = deployment.orderlog(&["projection", "verify", "customers"]).await.ended_with(5);
    let says = |text| refused.stderr.contains(text);
    assert!(says("the first records of the journal customers are gone") && says("log import"), "{refused:?}");
    assert!(!says("rebuild"), "{refused:?}");
}
