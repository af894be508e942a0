//! Read models are disposable: what is deleted is rebuilt from the log, row by row the same.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::path::Path;

use orderlog_readmodel::Store;
use orderlog_tests::{
    deployment::{Distributed, Embedded, SERVICES, redis},
    eventually,
    rows::all_same,
    story::{self, Shop},
};

/// Set a service's file (with what SQLite keeps beside it) aside, so that the service finds none.
fn set_aside(rows: &Path, service: &str, aside: &Path) {
    let name = format!("{service}.1.sqlite");
    assert!(rows.join(&name).exists(), "{service} has rows at {}", rows.display());
    for entry in std::fs::read_dir(rows).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(&name) {
            std::fs::rename(entry.path(), aside.join(entry.file_name())).unwrap();
        }
    }
}

/// Nothing more happens by itself: what the story set in motion has come to rest.
async fn comes_to_rest(shop: &Shop) {
    let positions = async || {
        let mut now = Vec::new();
        for http in [&shop.customers, &shop.orders, &shop.inventory, &shop.billing, &shop.notifications] {
            now.push(http.get("/readyz").await.body["services"].to_string());
        }
        now
    };
    eventually("the services come to rest", async || {
        let before = positions().await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        (before == positions().await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn deleted_rows_are_rebuilt_from_the_embedded_log_and_equal_what_was_there() {
    let mut deployment = Embedded::start().await;
    let shop = Shop::from(&deployment);
    story::play(&shop, "a").await;
    comes_to_rest(&shop).await;
    assert!(deployment.stop().await);
    let aside = tempfile::tempdir().unwrap();
    for service in SERVICES {
        set_aside(&deployment.rows(), service, aside.path());
    }
    deployment.restart().await;
    let rows = deployment.rows();
    assert!(deployment.stop().await);
    all_same(|_| rows.clone(), |_| aside.path().to_owned()).await;
}

#[tokio::test]
async fn deleted_rows_and_lost_redis_data_are_rebuilt_from_kafka_and_equal_what_was_there() {
    let mut deployment = Distributed::start().await;
    let shop = Shop::from(&deployment);
    story::play(&shop, "a").await;
    comes_to_rest(&shop).await;
    let inbox = shop.told("operations", "").await;
    assert!(!inbox.is_empty());
    let aside = tempfile::tempdir().unwrap();
    for service in SERVICES {
        deployment.stop(service).await;
        set_aside(&deployment.rows(service), service, aside.path());
    }
    forget_in_redis(aside.path()).await;
    for service in SERVICES {
        deployment.restart(service).await;
    }
    let shop = Shop::from(&deployment);
    assert_eq!(shop.told("operations", "").await, inbox);
    for service in SERVICES {
        deployment.stop(service).await;
    }
    all_same(|service| deployment.rows(service), |_| aside.path().to_owned()).await;
}

/// Delete everything that Redis holds of this deployment's notifications, as if Redis had lost its disk.
async fn forget_in_redis(rows: &Path) {
    let store = Store::open(rows, &orderlog_projections::notifications::TABLES).await.unwrap();
    let log_id = store.checkpoint().await.unwrap().genesis.unwrap().log_id;
    let client = redis::Client::open(redis()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("*{}*", log_id.simple())).query_async(&mut connection).await.unwrap();
    assert!(!keys.is_empty(), "the inbox of {log_id} is in Redis");
    let _: () = redis::cmd("DEL").arg(keys).query_async(&mut connection).await.unwrap();
}
