//! A rebuild is killed with `kill -9` at random moments, under load, and goes on each time; at the end every row is what the
//! log says.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use orderlog_core::key::HashKey;
use orderlog_domain::orders::Orders;
use orderlog_eventlog::embedded::EmbeddedLog;
use orderlog_projections::orders::TABLES;
use orderlog_readmodel::{MemoryRows, Store};
use orderlog_runtime::{
    environment::Machine,
    replica::{Replica, Setup},
};
use orderlog_tests::{
    deployment::{Embedded, orderlog},
    eventually,
    http::Http,
    story::Shop,
};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

const N_KILLS: usize = 20;
const N_CLIENTS: usize = 8;
/// So many orders make a rebuild long enough to be hit.
const N_ORDERS: u64 = 6_000;

/// Orders are placed all the time; a server that is just being killed answers nothing.
async fn keep_busy(http: Http, customer: String, stop: Arc<AtomicBool>, n_placed: Arc<AtomicU64>) {
    let lines = json!([{"sku": "beans", "quantity": 1, "unit_price": 5}]);
    let order = json!({"customer_id": customer, "currency": "EUR", "lines": lines});
    while !stop.load(Ordering::Relaxed) {
        match http.send(Method::POST, "/orders", &[], Some(&order)).await {
            Ok(answer) if answer.status == 201 => drop(n_placed.fetch_add(1, Ordering::Relaxed)),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_is_killed_goes_on_and_ends_right() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    let customer = shop.customer("Ada").await;
    shop.receive("beans", 1_000_000).await;
    let (stop, n_placed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy: Vec<_> = (0..N_CLIENTS)
        .map(|_| tokio::spawn(keep_busy(deployment.http(), customer.clone(), Arc::clone(&stop), Arc::clone(&n_placed))))
        .collect();
    eventually("there is something to rebuild", async || (n_placed.load(Ordering::Relaxed) >= N_ORDERS).then_some(()))
        .await;

    let mut stages = BTreeSet::new();
    for kill in 0..N_KILLS {
        let http = deployment.http();
        let begun = http.post("/admin/projections/orders", json!({"goal": "rebuild"})).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        tokio::time::sleep(Duration::from_millis(u64::try_from(Uuid::new_v4().as_u128() % 700).unwrap_or(0))).await;
        let rebuild = http.get("/admin/projections/orders").await.expect(200)["rebuild"].clone();
        deployment.server().kill();
        eprintln!("kill {}: {}", kill + 1, rebuild["progress"]);
        stages.insert(rebuild["progress"]["stage"].to_string());
        deployment.restart().await;
    }
    assert!(stages.contains("\"replaying\""), "no kill hit a rebuild under way: {stages:?}");
    stop.store(true, Ordering::Relaxed);
    for busy in busy {
        busy.await.unwrap_or_else(|panic| panic!("{panic}"));
    }
    let rebuilt = orderlog(&["projection", "rebuild", "orders", "--json"], &data).await.ended_with(0).json();
    assert_eq!(rebuilt["report"]["differences"], json!([]), "{rebuilt}");
    assert!(deployment.stop().await);
    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    let rows = Store::open(&data, &TABLES).await.unwrap().contents().await.unwrap();
    assert!(rows.entities.len() as u64 >= N_ORDERS, "the orders are there");
    assert_eq!(folded_in_memory(&data).await.look(|folded| folded.difference(&rows)), None);
}

/// The journal of orders, folded from its first record by a replica that has no SQLite.
async fn folded_in_memory(data: &Path) -> MemoryRows<Orders> {
    let rows = MemoryRows::new(&TABLES);
    let setup = Setup {
        log: EmbeddedLog::open(data).await.unwrap(),
        hash_key: HashKey::from_secret(std::fs::read_to_string(data.join("hash.key")).unwrap().trim()),
        writer: Uuid::now_v7(),
        n_slots_max: 1_000,
        environment: Arc::new(Machine),
    };
    let replica = Replica::start(setup, Arc::new(rows.clone())).await.unwrap();
    replica.ready().await.unwrap();
    rows
}
