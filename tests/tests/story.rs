//! The whole order flow through HTTP, in both deployments.

use orderlog_tests::{
    deployment::{Distributed, Embedded},
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
}
