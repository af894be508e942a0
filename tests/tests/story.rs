//! The whole order flow through HTTP, in both deployments.

use orderlog_tests::{
    deployment::{Distributed, Embedded, orderlog},
    story::{self, Shop},
};

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
