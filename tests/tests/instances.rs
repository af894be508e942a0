//! Several instances of one service on one Kafka: they decide as one while the holder of the lease lives, and go on without it when it
//! does not.

#![expect(clippy::print_stderr, reason = "how many records were void is worth reading in a log of the tests")]
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use orderlog_tests::{
    deployment::{Server, free_port, kafka},
    eventually,
    http::Http,
    story::Shop,
};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

const SKU: &str = "hot";
/// So many commands are done in all.
const N_COMMANDS: u64 = 3_000;
/// So many clients ask each instance.
const N_CLIENTS: usize = 8;

/// Instances of the inventory, which know where each other are.
struct Instances<const N: usize> {
    data: tempfile::TempDir,
    topic_prefix: String,
    ports: [u16; N],
    servers: [Server; N],
}

impl<const N: usize> Instances<N> {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let topic_prefix = format!("i{}.", uuid::Uuid::new_v4().simple());
        let ports = std::array::from_fn(|_| free_port());
        let servers = std::array::from_fn(|at| begin(&["inventory"], data.path(), &topic_prefix, at, ports[at]));
        for server in &servers {
            server.ready().await;
        }
        Self { data, topic_prefix, ports, servers }
    }

    fn restart(&mut self, at: usize) {
        self.servers[at] = begin(&["inventory"], self.data.path(), &self.topic_prefix, at, self.ports[at]);
    }

    /// Which one holds the lease, once all others hand their commands over.
    async fn holder(&self) -> usize {
        eventually("all but one hand their commands over", async || {
            let mut keep = Vec::new();
            for (at, server) in self.servers.iter().enumerate() {
                let before = n_handed_over(&server.http).await;
                receive(&server.http, 1).await;
                if n_handed_over(&server.http).await == before {
                    keep.push(at);
                }
            }
            if let [holder] = keep[..] { Some(holder) } else { None }
        })
        .await
    }
}

/// An instance of these services; of all, if none is named.
fn begin(services: &[&str], data: &Path, prefix: &str, at: usize, port: u16) -> Server {
    let rows = data.join(format!("rows-{at}")).display().to_string();
    let (log, own) = (format!("kafka://{}", kafka()), format!("http://127.0.0.1:{port}"));
    let args = ["--log", &log, "--topic-prefix", prefix, "--data", &rows, "--advertised-url", &own];
    let args = [services, &args, &["--development-hash-key"]].concat();
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    Server::begin(&args, port, &data.join(format!("{at}.log")))
}

/// Goods come in, at once; whether that was done.
async fn receive(http: &Http, quantity: u32) -> bool {
    let body = json!({ "quantity": quantity });
    let answer = http.send(Method::POST, &format!("/stock/{SKU}/receive"), &[], Some(&body)).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

/// How many commands this instance has handed over.
async fn n_handed_over(http: &Http) -> u64 {
    let series = r#"orderlog_commands_handed_over_total{outcome="answered",service="inventory"}"#;
    http.metrics().await.get(series).map_or(0, |value| *value as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_one_sku_fairly() {
    share_one_sku::<2>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_share_one_sku_fairly() {
    share_one_sku::<3>().await;
}

/// Each has the same load, gets at least two thirds of its even share through, and nobody is refused.
async fn share_one_sku<const N: usize>() {
    let instances = Instances::<N>::start().await;
    let holder = instances.holder().await;
    let before = void_and_all(&instances.servers[holder].http).await;
    let done: [_; N] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for at in (0..N).cycle().take(N * N_CLIENTS) {
        let (http, done) = (instances.servers[at].http.anew(), done.clone());
        clients.spawn(async move {
            while done.iter().map(|done| done.load(Ordering::Relaxed)).sum::<u64>() < N_COMMANDS {
                let body = json!({ "quantity": 1 });
                let answer = http.send(Method::POST, &format!("/stock/{SKU}/receive"), &[], Some(&body)).await.unwrap();
                assert_eq!(answer.status, 200, "nobody is refused for losing a race: {}", answer.body);
                done[at].fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let done = done.map(|done| done.load(Ordering::Relaxed));
    let all: u64 = done.iter().sum();
    assert!(done.iter().all(|done| done * 3 * N as u64 >= all * 2), "some get too little through: {done:?}");
    let after = void_and_all(&instances.servers[holder].http).await;
    let (void, records) = (after.0 - before.0, after.1 - before.1);
    assert!(void * 100 < records, "{void} of {records} records are void");
    eprintln!("{done:?} done, {void} of {records} records void");
}

/// How many records of the journal are void, and how many there are.
async fn void_and_all(http: &Http) -> (u64, u64) {
    let metrics = http.metrics().await;
    let folded = |verdict| {
        let series = format!(r#"orderlog_records_folded_total{{service="inventory",verdict="{verdict}"}}"#);
        metrics.get(&series).map_or(0, |value| *value as u64)
    };
    (folded("void"), folded("void") + folded("accepted"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_holder_costs_no_command_and_its_work_moves_on() {
    let mut two = Instances::<2>::start().await;
    let holder = two.holder().await;
    let other = two.servers[1 - holder].http.clone();
    two.servers[holder].kill();
    // The first one may wait until it is clear that nobody answers; none is lost.
    for _ in 0..20 {
        let begun = Instant::now();
        assert!(receive(&other, 1).await, "a command after the holder's death");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let begun = Instant::now();
    eventually("the relay runs at the other one", async || {
        let metrics = other.metrics().await;
        let runs = |series: &String| series.starts_with("orderlog_duty_position") && series.contains("\"relay\"");
        metrics.keys().any(runs).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    two.restart(holder);
    two.servers[holder].ready().await;
    assert_eq!(two.holder().await, 1 - holder, "who comes later takes nothing from who holds the lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_3_s_of_the_holders_stop_another_instance_does_its_work() {
    let (data, prefix) = (tempfile::tempdir().unwrap(), format!("i{}.", uuid::Uuid::new_v4().simple()));
    let start = async |at: usize| {
        let server = begin(&[], data.path(), &prefix, at, free_port());
        server.ready().await;
        server
    };
    let holder = start(0).await;
    let shop = Shop::from(&holder.http);
    shop.receive(SKU, 100).await;
    // So many that the positions have marks of records in every partition.
    let customers = join_all((0..10).map(|_| shop.customer("Ada"))).await;
    let orders = join_all(customers.iter().map(|customer| shop.order(customer, &[(SKU, 1)]))).await;
    join_all(orders.iter().map(|order| shop.order_becomes(order, "confirmed", "unpaid"))).await;

    let other = start(1).await;
    let begun = Instant::now();
    assert!(holder.stop().await);
    let shop = Shop::from(&other.http);
    let order = shop.order(&customers[0], &[(SKU, 1)]).await;
    shop.order_becomes(&order, "confirmed", "unpaid").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_over_is_as_if_it_were_done_here() {
    let two = Instances::<2>::start().await;
    let holder = two.holder().await;
    let other = &two.servers[1 - holder].http;
    let name = "basket";
    let ask = |key: &'static str, quantity: u32| async move {
        let reserve = json!({ "reservation_id": name, "lines": [{ "sku": SKU, "quantity": quantity }] });
        other.send(Method::POST, "/stock/reserve", &[("Idempotency-Key", key)], Some(&reserve)).await.unwrap()
    };
    let first = ask("a", 1).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(
        (first.header("Idempotent-Replayed"), first.header("Location")),
        (None, Some("/stock/reservations/basket"))
    );
    // At once, at the instance that was asked: it waits for its own rows.
    let read = other.get("/stock/reservations/basket").await.expect(200);
    assert_eq!(read["reservation_id"], json!(name));
    let again = ask("a", 1).await;
    assert_eq!((again.status, again.header("Idempotent-Replayed")), (first.status, Some("true")), "{}", again.body);
    ask("b", 2).await.expect_problem(409, "reservation_exists");
    other.post("/stock/reserve", json!({ "lines": [] })).await.expect_problem(400, "invalid_request");
    let forged = [("Orderlog-Handed-Over", "00000000000000000000000000000000")];
    let body = json!({ "quantity": 1 });
    let path = format!("/stock/{SKU}/receive");
    let before = n_handed_over(other).await;
    assert_eq!(other.send(Method::POST, &path, &forged, Some(&body)).await.unwrap().status, 200);
    assert_eq!(n_handed_over(other).await, before + 1, "nobody is fooled");
}
