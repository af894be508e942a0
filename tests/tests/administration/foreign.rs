//! Other programs write to journals: single records, and transactions that they commit or abort.

use std::time::Duration;

use orderlog_tests::{
    deployment::{Embedded, kafka, orderlog, orderlog_anywhere},
    ends::ends_at_rest,
    eventually,
    story::Shop,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminOptions, NewTopic, TopicReplication},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::{Value, json};

use crate::shop_on_kafka::{ShopOnKafka, admin};

const WAIT: Duration = Duration::from_secs(30);

/// Another program on the same brokers.
struct Stranger<'a>(&'a ShopOnKafka);

impl Stranger<'_> {
    fn producer(&self, transactional: bool) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka());
        if transactional {
            config.set("transactional.id", self.0.name("stranger"));
        }
        config.create().unwrap()
    }

    fn create(&self, journal: &str) -> impl Future<Output = ()> + use<> {
        let name = self.0.name(journal);
        async move {
            let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
            let topic = topic.set("retention.ms", "-1").set("retention.bytes", "-1").set("cleanup.policy", "delete");
            admin().create_topics(&[topic], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        }
    }

    fn write(&self, journal: &str) {
        let (producer, topic) = (self.producer(false), self.0.name(journal));
        producer.send(BaseRecord::<(), _>::to(&topic).partition(0).payload("oops")).unwrap();
        producer.flush(WAIT).unwrap();
    }

    /// Writes one record in a transaction. Its end takes an offset, too.
    fn transact(&self, journal: &str, is_committed: bool) {
        let (producer, topic) = (self.producer(true), self.0.name(journal));
        producer.init_transactions(WAIT).unwrap();
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), _>::to(&topic).partition(0).payload(r#"{"foreign":true}"#)).unwrap();
        producer.flush(WAIT).unwrap();
        let end = || producer.client().fetch_watermarks(&topic, 0, WAIT).unwrap().1;
        let end_of_records = end();
        if is_committed {
            producer.commit_transaction(WAIT).unwrap();
        } else {
            producer.abort_transaction(WAIT).unwrap();
        }
        // The marker comes a moment later.
        while end() == end_of_records {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn digests(manifest: &Value) -> Vec<[Value; 3]> {
    let fields = ["n_records", "last_offset", "last_digest"];
    manifest["journals"].as_array().unwrap().iter().map(|entry| fields.map(|field| entry[field].clone())).collect()
}

/// An order of a customer that does not exist is refused, for which the service reads to the end of its journal.
async fn refuses(shop: &Shop) {
    let body = json!({ "customer_id": uuid::Uuid::new_v4(), "lines": [{ "sku": "tea", "quantity": 1 }] });
    let refused = shop.orders.post("/orders", body).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_transactions_of_other_programs_are_void_in_every_view_of_the_journal() {
    let mut deployment = ShopOnKafka::stopped();
    let stranger = Stranger(&deployment);
    for journal in ["orders", "inventory"] {
        stranger.create(journal).await;
    }
    stranger.write("orders");
    stranger.transact("orders", false);
    stranger.write("orders");
    stranger.transact("inventory", true);
    deployment.restart().await;
    let shop = deployment.shop();
    shop.receive("tea", 100).await;
    let ada = shop.customer("Ada").await;
    let mut orders = vec![shop.order(&ada, &[("tea", 1)]).await];
    let stranger = Stranger(&deployment);
    stranger.transact("orders", true);
    stranger.transact("inventory", false);
    stranger.write("inventory");
    refuses(&shop).await;
    orders.push(shop.order(&ada, &[("tea", 2)]).await);
    for order in &orders {
        shop.order_becomes(order, "confirmed", "unpaid").await;
    }
    stranger.transact("orders", false);
    eventually("foreign records are counted", async || {
        let metrics = shop.orders.metrics().await;
        let n =
            |service: &str| metrics.get(&format!("orderlog_foreign_records_total{{service=\"{service}\"}}")).copied();
        ((n("orders"), n("inventory"), n("billing")) == (Some(5.0), Some(3.0), Some(0.0))).then_some(())
    })
    .await;
    assert!(deployment.logged().contains("another program wrote to the journal: orders@0"), "{}", deployment.logged());

    // The journal of orders ends in a marker now.
    deployment.restart().await;
    let shop = deployment.shop();
    refuses(&shop).await;
    orders.push(shop.order(&ada, &[("tea", 3)]).await);
    shop.order_becomes(&orders[2], "confirmed", "unpaid").await;
    deployment.orderlog(&["projection", "rebuild", "orders"]).await.ended_with(0);
    deployment.orderlog(&["projection", "verify", "all"]).await.ended_with(0);
    deployment.orderlog(&["log", "lint", "orders"]).await.ended_with(0);
    Stranger(&deployment).transact("orders", true);
    ends_at_rest(&shop.orders).await;
    deployment.stop().await;

    let embedded = Embedded::stopped();
    std::fs::create_dir(embedded.rows()).unwrap();
    let export = deployment.dir().join("export").display().to_string();
    let exported = deployment.orderlog(&["log", "export", &export, "--json"]).await.ended_with(0).json();
    orderlog_anywhere(&["log", "check", &export]).await.ended_with(0);
    let key = ["--hash-key", "orderlog development hash key"];
    let import = [&["log", "import", &export, "--json"], &key[..]].concat();
    orderlog(&import, &embedded.rows()).await.ended_with(0);
    orderlog(&["projection", "verify", "all"], &embedded.rows()).await.ended_with(0);
    orderlog(&["log", "lint", "orders"], &embedded.rows()).await.ended_with(0);
    let again = deployment.dir().join("again").display().to_string();
    let again = orderlog(&["log", "export", &again, "--json"], &embedded.rows()).await.ended_with(0).json();
    assert_eq!(digests(&again), digests(&exported), "the embedded log has the same records at the same offsets");
}
