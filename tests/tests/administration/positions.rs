//! The positions of groups are deleted, as Kafka does with those of a deployment that was stopped for a week.

use std::collections::{BTreeMap, BTreeSet};

use orderlog_tests::{deployment::SERVICES, eventually, kcat::Published};
use rdkafka::admin::AdminOptions;

use crate::shop_on_kafka::{ShopOnKafka, admin};

const TOPICS: [&str; 3] = ["customer.created", "order.created", "stock.reserved"];

/// The events of a topic by id, without what describes the publication. Copies must be equal.
fn by_id(events: &[Published]) -> BTreeMap<String, Published> {
    let mut all = BTreeMap::new();
    for event in events {
        let mut event = event.clone();
        event.headers.remove("ce_traceparent");
        let known = all.entry(event.header("ce_id").to_owned()).or_insert_with(|| event.clone());
        assert_eq!(*known, event, "a copy is the same event in the same partition");
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_all_positions_were_lost_only_copies_with_the_same_ids_appear_and_the_log_warns() {
    let mut deployment = ShopOnKafka::start().await;
    let ada = deployment.customer_with_orders().await;
    deployment.stop().await;
    assert!(!deployment.logged().contains("has no stored position"), "{}", deployment.logged());
    let before = TOPICS.map(|topic| by_id(&deployment.read(topic)));

    let groups = SERVICES.map(|service| deployment.name(&format!("orderlog.{service}")));
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    for deleted in admin().delete_groups(&groups, &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
    deployment.restart().await;
    let shop = deployment.shop();
    let last = shop.order(&ada, &[("tea", 3)]).await;
    shop.order_becomes(&last, "confirmed", "unpaid").await;
    eventually("everything is published again", async || {
        let copies = TOPICS.map(|topic| deployment.read(topic));
        let is_twice = |(events, before): (&Vec<Published>, &BTreeMap<_, _>)| events.len() > 2 * before.len();
        copies[1..].iter().zip(&before[1..]).all(is_twice).then_some(())
    })
    .await;
    for (topic, before) in TOPICS.iter().zip(&before) {
        let after = by_id(&deployment.read(topic));
        assert!(before.iter().all(|(id, event)| after.get(id) == Some(event)), "{topic} has lost an event");
        let new: BTreeSet<_> = after.keys().filter(|id| !before.contains_key(*id)).collect();
        let n_new = usize::from(*topic != "customer.created");
        assert_eq!(new.len(), n_new, "{topic} has other new events than those of the last order");
    }
    assert_eq!(shop.inventory.get("/stock/tea").await.expect(200)["reserved"], 6, "nothing is reserved twice");
    for task in ["orders relay", "orders reactor"] {
        assert!(deployment.logged().contains(&format!("{task} has no stored position")), "{}", deployment.logged());
    }
}
