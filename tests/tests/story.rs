//! The whole order flow through HTTP, in both deployments, and the shop that `serve --demo N` plays.

use std::collections::BTreeSet;

use orderlog_tests::{
    deployment::{Distributed, Embedded, orderlog},
    eventually,
    http::Http,
    story::{self, Shop, text},
};
use serde_json::Value;

#[tokio::test]
async fn one_process_on_the_embedded_log_tells_the_whole_story() {
    let mut deployment = Embedded::start().await;
    story::play(&Shop::from(&deployment), "a").await;
    assert!(deployment.stop().await, "it stops in order");
    deployment.restart().await;
    story::play(&Shop::from(&deployment), "b").await;
}

#[tokio::test]
async fn five_processes_on_kafka_and_redis_tell_the_same_story() {
    let deployment = Distributed::start().await;
    story::play(&Shop::from(&deployment), "a").await;
    let statement = "select state from orders_view join about_view where position like 'orders@%' group by state";
    let said = orderlog(&["sql", statement], &deployment.rows("orders")).await.ended_with(0);
    assert!(said.stdout.lines().any(|state| state == "fulfilled"), "{said:?}");
}

async fn list(http: &Http, path: &str) -> Vec<Value> {
    http.get(path).await.expect(200)["items"].as_array().cloned().unwrap_or_default()
}

fn values(items: &[Value], field: &str) -> BTreeSet<String> {
    items.iter().map(|item| text(item, field)).collect()
}

async fn has_played(deployment: &Embedded, n_times: usize) {
    let n_played = || deployment.told().matches("40 orders in ").count();
    eventually("the shop has its orders", async || (n_played() == n_times).then_some(())).await;
}

#[tokio::test]
async fn a_demo_of_forty_orders_has_all_that_happens_in_a_shop_and_can_be_repeated() {
    let mut deployment = Embedded::start_with(&["--demo", "40"]).await;
    has_played(&deployment, 1).await;
    let http = deployment.http();
    let orders = list(&http, "/orders?limit=100").await;
    let states = ["cancelled", "confirmed", "fulfilled", "rejected"].map(str::to_owned);
    assert!(orders.len() >= 40 && values(&orders, "state").is_superset(&states.into()), "{orders:?}");
    assert!(values(&orders, "customer_id").len() > 4 && values(&orders, "channel").len() == 4, "{orders:?}");
    let invoices = eventually("billing has heard of everything", async || {
        let invoices = list(&http, "/billing?limit=100").await;
        let is_any = |state: &str, field: &str| invoices.iter().any(|it| it["state"] == state && it[field] != 0);
        let all =
            is_any("open", "amount_paid") && is_any("paid", "amount_refunded") && is_any("refunded", "amount_paid");
        (all && values(&invoices, "state").contains("void")).then_some(invoices)
    })
    .await;
    assert!(invoices.iter().any(|it| it["state"] == "open" && it["amount_paid"] == 0), "{invoices:?}");
    eventually("operations are notified", async || {
        let subjects = values(&list(&http, "/notifications?recipient=operations&limit=100").await, "subject");
        let is_there = |begin: &str| subjects.iter().any(|subject| subject.starts_with(begin));
        ["Low stock", "Stock recovered", "Overpayment refused"].into_iter().all(is_there).then_some(())
    })
    .await;
    eventually("the shop goes on", async || {
        (list(&http, "/orders?limit=100").await.len() > orders.len()).then_some(())
    })
    .await;
    let customers = list(&http, "/customers?limit=100").await.len();
    assert!(deployment.stop().await, "it stops in order, whatever the shop is doing");

    deployment.restart().await;
    has_played(&deployment, 2).await;
    assert_eq!(list(&deployment.http(), "/customers?limit=100").await.len(), 2 * customers);
    assert!(deployment.stop().await, "it stops in order");
}
