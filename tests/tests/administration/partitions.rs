//! Partitions are added to public topics.

use rdkafka::admin::{AdminOptions, NewPartitions};

use crate::shop_on_kafka::{ShopOnKafka, admin};

const REPARTITIONED: [&str; 3] = ["customer.created", "order.created", "stock.reserved"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_confirmed_through_partitions_that_were_added_while_all_services_run() {
    let deployment = ShopOnKafka::start().await;
    let shop = deployment.shop();
    shop.receive("tea", 10_000).await;
    let mut orders = vec![shop.order(&shop.customer("Ada").await, &[("tea", 1)]).await];
    let names = REPARTITIONED.map(|topic| deployment.name(topic));
    let wanted: Vec<_> = names.iter().map(|name| NewPartitions::new(name, 6)).collect();
    for added in admin().create_partitions(&wanted, &AdminOptions::new()).await.unwrap() {
        added.unwrap();
    }
    // The publishers learn of them later than the consumers.
    let deadline = std::time::Instant::now() + orderlog_tests::PATIENCE;
    let n_new = |topic| deployment.read(topic).iter().filter(|event| event.partition >= 3).count();
    while REPARTITIONED.iter().any(|topic| n_new(topic) < 2) {
        assert!(std::time::Instant::now() < deadline, "new partitions are written to");
        let customer = shop.customer("Ada").await;
        for _ in 0..4 {
            orders.push(shop.order(&customer, &[("tea", 1)]).await);
        }
    }
    for order in &orders {
        shop.order_becomes(order, "confirmed", "unpaid").await;
    }
    let ready = shop.orders.get("/readyz").await.expect(200);
    assert_eq!(ready["troubles"], serde_json::json!({}), "{ready}");
}
