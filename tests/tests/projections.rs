//! `orderlog projection` as its operator meets it, on a running server and on a stopped one. The exit codes are part of the
//! contract.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{
    fs::File,
    path::Path,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use orderlog_tests::{
    deployment::{Distributed, Embedded, SERVICES, binary, kafka, orderlog},
    ends::ends_at_rest,
    eventually,
    http::Http,
    story::{self, Shop, text},
};
use serde_json::{Value, json};

/// Orders are placed and read back all the time.
async fn keep_busy(http: Http, customer: String, stop: Arc<AtomicBool>, n: Arc<AtomicU64>) {
    let lines = json!([{"sku": "beans", "quantity": 1, "unit_price": 5}]);
    while !stop.load(Ordering::Relaxed) {
        let body = json!({"customer_id": customer, "currency": "EUR", "lines": lines});
        let order = http.post("/orders", body).await.expect(201);
        http.get(&format!("/orders/{}", text(&order, "order_id"))).await.expect(200);
        n.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_rebuilt_on_a_running_server_while_it_is_busy() {
    let deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    story::play(&shop, "a").await;
    let customer = shop.customer("Ada").await;
    shop.receive("beans", 1_000_000).await;
    let (stop, n) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy: Vec<_> = (0..4)
        .map(|_| tokio::spawn(keep_busy(deployment.http(), customer.clone(), Arc::clone(&stop), Arc::clone(&n))))
        .collect();

    let rebuilt = orderlog(&["projection", "rebuild", "all", "--json"], &data).await.ended_with(0);
    for service in rebuilt.json_lines() {
        assert_eq!(service["report"]["differences"], json!([]), "{service}");
        assert!(service["report"]["serves_from"].is_u64(), "{service}");
    }
    let verified = orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    assert!(verified.stdout.contains("every row is what the log says"), "{verified:?}");
    assert!(!verified.stderr.contains('\x1b'), "progress is plain lines outside of a terminal: {verified:?}");
    orderlog(&["projection", "rollback", "orders"], &data).await.ended_with(0);
    let status = orderlog(&["projection", "status", "--json"], &data).await.ended_with(0).json_lines();
    let of = |service: &str| status.iter().find(|it| it["service"] == service).unwrap().clone();
    assert_eq!((&of("orders")["generation"], &of("billing")["generation"]), (&json!(1), &json!(2)));

    stop.store(true, Ordering::Relaxed);
    for busy in busy {
        busy.await.unwrap();
    }
    assert!(n.load(Ordering::Relaxed) > 0, "it was busy meanwhile");
}

#[tokio::test]
async fn wrong_rows_are_found_and_replaced_on_a_stopped_server() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    let running = orderlog(&["projection", "status", "orders"], &data).await.ended_with(0);
    assert!(running.stdout.contains("ready"), "{running:?}");
    assert!(deployment.stop().await);

    orderlog(&["projection", "verify", "all"], &data).await.ended_with(0);
    let file = data.join("orders.1.sqlite");
    let sql =
        "update orders set doc = replace(doc, 'widget', 'wodget') where offset = (select min(offset) from orders)";
    let status = Command::new("python3")
        .args(["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"])
        .arg(&file)
        .arg(sql)
        .status();
    assert!(status.unwrap().success());

    let verified = orderlog(&["projection", "verify", "all"], &data).await.ended_with(3);
    assert!(verified.stdout.contains("1 row differs") && verified.stdout.contains("wodget"), "{verified:?}");
    let rebuilt = orderlog(&["projection", "rebuild", "orders"], &data).await.ended_with(3);
    assert!(rebuilt.stdout.contains("--yes"), "it says how to go on: {rebuilt:?}");
    orderlog(&["projection", "rebuild", "orders", "--yes"], &data).await.ended_with(0);
    orderlog(&["projection", "verify", "orders"], &data).await.ended_with(0);
    orderlog(&["projection", "rebuild", "--dry-run"], &data).await.ended_with(0);

    let refused = orderlog(&["projection", "rollback", "billing"], &data).await.ended_with(5);
    assert!(refused.stderr.contains("no generation of billing"), "{refused:?}");
    deployment.restart().await;
    assert!(deployment.http().get("/orders").await.expect(200).to_string().contains("widget"));
}

#[tokio::test]
async fn rows_are_rebuilt_and_verified_on_kafka_and_redis() {
    let mut deployment = Distributed::start().await;
    story::play(&Shop::from(&deployment), "a").await;
    let inbox = Shop::from(&deployment).told("operations", "").await;
    for service in SERVICES {
        let data = deployment.rows(service);
        let rebuilt = orderlog(&["projection", "rebuild", service, "--json"], &data).await.ended_with(0).json();
        assert!(rebuilt["report"]["n_records"].as_u64() > Some(1), "{service}: {rebuilt}");
        orderlog(&["projection", "verify", service], &data).await.ended_with(0);
        let status = orderlog(&["projection", "status", service, "--json"], &data).await.ended_with(0).json();
        assert_eq!((&status["generation"], &status["state"]), (&json!(2), &json!("ready")), "{status}");
        deployment.restart(service).await;
    }
    one_of_five_processes_names_the_others(&mut deployment).await;
    let shop = Shop::from(&deployment);
    assert_eq!(shop.told("operations", "").await, inbox, "the inbox in Redis follows the new rows");
    // After a restart it takes a moment until the relay holds its lease again: until then new customers are unknown.
    let customer = shop.customer("Ada").await;
    eventually("news of customers flow again", async || {
        let lines = json!([{"sku": "none", "quantity": 1, "unit_price": 5}]);
        let order = json!({"customer_id": customer, "currency": "EUR", "lines": lines});
        (shop.orders.post("/orders", order).await.status == 201).then_some(())
    })
    .await;
    story::play(&shop, "b").await;
}

/// `all` is what a process has, whether it runs or not.
async fn one_of_five_processes_names_the_others(deployment: &mut Distributed) {
    let data = deployment.rows("billing");
    let (log, prefix) = (format!("kafka://{}", kafka()), deployment.topic_prefix.clone());
    let here = ["--log", &log, "--topic-prefix", &prefix, "--development-hash-key"];
    let mut topics = Vec::new();
    for is_running in [true, false] {
        let status = orderlog(&[&["projection", "status", "--json"], &here[..]].concat(), &data).await.ended_with(0);
        assert_eq!(status.json()["service"], "billing", "{status:?}");
        let verified = orderlog(&[&["projection", "verify"], &here[..]].concat(), &data).await.ended_with(5);
        let elsewhere = "not looked at: customers, orders, inventory, notifications";
        assert!(verified.stdout.starts_with("billing: ") && verified.stderr.contains(elsewhere), "{verified:?}");
        let listed = orderlog(&[&["log", "topics", "--json"], &here[..]].concat(), &data).await.ended_with(0);
        topics.push(listed.json_lines());
        if is_running {
            deployment.stop("billing").await;
        }
    }
    deployment.restart("billing").await;
    let of = |topic: &str| topics[0].iter().find(|it| it["topic"] == topic).expect("the topic is listed");
    assert!(of("orders")["n_records"].as_u64() > Some(1) && of("orders")["last_time_ms"].is_u64(), "{topics:?}");
    assert_eq!((&of("order.created")["n_partitions"], &of("order.created")["bytes"]), (&json!(3), &json!(null)));
    assert_eq!(topics[0], topics[1]);
}

#[tokio::test]
async fn nothing_is_told_again_because_of_a_replay() {
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    story::play(&Shop::from(&deployment), "a").await;
    let told = ends_at_rest(&deployment.http()).await;
    assert!(told["low.stock"] > 0 && told["notifications"] > 1, "there is something to tell: {told:?}");

    orderlog(&["projection", "rebuild", "all"], &data).await.ended_with(0);
    assert_eq!(ends_at_rest(&deployment.http()).await, told, "after a rebuild");
    orderlog(&["projection", "rollback", "all"], &data).await.ended_with(0);
    assert_eq!(ends_at_rest(&deployment.http()).await, told, "after going back");

    assert!(deployment.stop().await);
    for entry in std::fs::read_dir(&data).expect("a data folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if SERVICES.iter().any(|service| name.starts_with(&format!("{service}."))) {
            std::fs::remove_file(&path).expect("it can be deleted");
        }
    }
    deployment.restart().await;
    assert_eq!(ends_at_rest(&deployment.http()).await, told, "after all rows were lost");
}

#[tokio::test]
async fn what_can_not_be_done_ends_with_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let refused = orderlog(&["projection", "status"], &nowhere).await.ended_with(5);
    assert!(refused.stderr.contains("nowhere"), "it names the folder: {refused:?}");
    orderlog(&["projection", "status", "shipping"], &nowhere).await.ended_with(2);
    orderlog(&["projection", "destroy"], &nowhere).await.ended_with(2);
    let server = ["projection", "status", "--server", "http://127.0.0.1:9"];
    let unavailable = orderlog(&server, &nowhere).await.ended_with(4);
    assert!(unavailable.stderr.contains("does not answer"), "{unavailable:?}");
}

/// Makes the serving read model one of a version with other tables: the program compares only the name of the schema.
fn age(data: &Path, service: &str) {
    let file = data.join(format!("{service}.1.sqlite"));
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=10); \
                  c.execute(\"update meta set schema = '0.0.earlier'\"); c.commit()";
    assert!(Command::new("python3").args(["-c", script]).arg(file).status().unwrap().success());
}

/// `projection prepare` in the background.
fn preparing(args: &[&str], data: &Path, told: &Path) -> Child {
    let told = File::options().create(true).append(true).open(told).unwrap();
    let mut command = Command::new(binary());
    command.args(["projection", "prepare"]).args(args).arg("--data").arg(data);
    command.stdout(told.try_clone().unwrap()).stderr(told).spawn().unwrap()
}

async fn tells(told: &Path, text: &str, n: usize) {
    eventually(text, async || (std::fs::read_to_string(told).unwrap().matches(text).count() >= n).then_some(())).await;
}

/// The read models were prepared, they serve, and every row is what the log says.
async fn were_adopted(data: &Path, log: &Path, services: &[&str]) {
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("rebuilt from the log"), "{log}");
    for service in services {
        assert!(
            log.contains(&format!("the read model of {service} was prepared up to {service}@")),
            "{service}: {log}"
        );
        assert!(data.join(format!("{service}.1.sqlite.0.0.earlier")).exists(), "the earlier one is kept");
        assert!(!data.join(format!("prepared/{service}.0.sqlite")).exists(), "{service}");
    }
    let service = if services.len() == 1 { services[0] } else { "all" };
    let verified = orderlog(&["projection", "verify", service], data).await.ended_with(0);
    let n_good = verified.stdout.matches("\n  every row is what the log says").count();
    assert_eq!(n_good, services.len(), "{verified:?}");
}

async fn newest_orders(http: &Http) -> Vec<Value> {
    let orders = http.get("/orders?limit=100").await.expect(200);
    orders["items"].as_array().unwrap().iter().map(|order| order["order_id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_are_prepared_beside_a_busy_server_and_adopted_by_the_next_start() {
    let mut deployment = Embedded::start().await;
    let (shop, data) = (Shop::from(&deployment), deployment.rows());
    story::play(&shop, "a").await;
    orderlog(&["projection", "snapshot", "orders"], &data).await.ended_with(0);
    let nothing = orderlog(&["projection", "prepare"], &data).await.ended_with(0);
    assert!(nothing.stderr.contains("orders: the read model has the tables of this version already"), "{nothing:?}");
    SERVICES.iter().for_each(|service| age(&data, service));
    let customer = shop.customer("Ada").await;
    shop.receive("beans", 1_000_000).await;
    let (stop, n) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let busy = tokio::spawn(keep_busy(deployment.http(), customer, Arc::clone(&stop), Arc::clone(&n)));

    let told = deployment.data.path().join("prepare.log");
    let mut killed = preparing(&["--until-stopped"], &data, &told);
    tells(&told, "everything is prepared", 1).await;
    let refused = orderlog(&["projection", "prepare", "orders"], &data).await.ended_with(5);
    assert!(refused.stderr.contains("orders is being prepared by another process"), "{refused:?}");
    killed.kill().unwrap();
    killed.wait().unwrap();

    let mut prepare = preparing(&["--until-stopped"], &data, &told);
    tells(&told, "everything is prepared", 2).await;
    let status = orderlog(&["projection", "status", "orders", "--json"], &data).await.ended_with(0).json();
    assert!(status["prepared"]["position"].as_u64() > Some(1) && status["prepared"]["schema"].is_string(), "{status}");
    stop.store(true, Ordering::Relaxed);
    busy.await.unwrap();
    assert!(n.load(Ordering::Relaxed) > 0, "it was busy meanwhile");
    let before = newest_orders(&deployment.http()).await;
    // The next server starts before the command has noticed.
    deployment.server().kill();
    deployment.restart().await;
    let ended = eventually("it ends with the server", || {
        let ended = prepare.try_wait().unwrap();
        async move { ended }
    });
    let ended = ended.await;
    let told = std::fs::read_to_string(&told).unwrap();
    assert!(ended.success() && told.contains("resumed at orders@") && told.contains("adopts it"), "{told}");

    assert_eq!(newest_orders(&deployment.http()).await, before);
    were_adopted(&data, &deployment.data.path().join("server.log"), &SERVICES).await;
    let status = orderlog(&["projection", "status", "orders", "--json"], &data).await.ended_with(0).json();
    assert!(status["prepared"].is_null() && status["snapshots"][0].is_u64(), "{status}");
}

#[tokio::test]
async fn read_models_are_prepared_from_kafka_with_the_facts_that_they_copy() {
    let mut deployment = Distributed::start().await;
    let shop = Shop::from(&deployment);
    story::play(&shop, "a").await;
    let (log, prefix) = (format!("kafka://{}", kafka()), deployment.topic_prefix.clone());
    let prepare =
        ["projection", "prepare", "--log", &log, "--topic-prefix", &prefix, "--development-hash-key", "--json"];
    for service in ["orders", "notifications"] {
        let data = deployment.rows(service);
        age(&data, service);
        let prepared = orderlog(&prepare, &data).await.ended_with(5);
        assert!(prepared.stderr.contains("not looked at: customers"), "{prepared:?}");
        let prepared = prepared.json();
        assert_eq!((&prepared["service"], &prepared["near"]), (&json!(service), &json!(true)), "{prepared}");
    }
    story::play(&shop, "b").await;
    for service in ["orders", "notifications"] {
        deployment.restart(service).await;
        let log = deployment.data.path().join(format!("{service}.log"));
        were_adopted(&deployment.rows(service), &log, &[service]).await;
    }
}
