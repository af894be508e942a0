//! Ready means able: what can't be written is refused at the start, or a reason not to be ready.

use std::fs;

use orderlog_tests::{
    deployment::{Embedded, Server, free_port, orderlog, orderlog_with_read_only},
    disk::Disk,
    ends::ends_at_rest,
    eventually,
    http::Http,
};
use rusqlite::Connection;
use serde_json::{Value, json};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A stopped server with some goods.
async fn stopped() -> Embedded {
    let mut deployment = Embedded::start().await;
    deployment.http().post("/stock/tea/receive", json!({ "quantity": 3 })).await.expect(200);
    ends_at_rest(&deployment.http()).await;
    assert!(deployment.stop().await);
    deployment
}

#[tokio::test]
async fn a_log_or_read_model_that_can_not_be_written_is_refused_at_the_start() {
    let mut deployment = stopped().await;
    let data = deployment.rows();
    for file in ["log.sqlite", "inventory.1.sqlite"] {
        let said = orderlog_with_read_only(&data.join(file), &SERVE, &data).await.ended_with(4);
        assert!(said.stdout.is_empty(), "there is no banner: {said:?}");
        assert!(said.stderr.contains(file) && said.stderr.contains("readonly"), "{said:?}");
    }
    let said = orderlog_with_read_only(&data, &SERVE, &data).await.ended_with(4);
    assert!(said.stdout.is_empty() && said.stderr.contains(&data.display().to_string()), "{said:?}");
    for file in ["log.sqlite", "orders.1.sqlite"] {
        let lock = Connection::open(data.join(file)).unwrap();
        lock.execute_batch("begin immediate").unwrap();
        let said = orderlog(&SERVE, &data).await.ended_with(4);
        assert!(said.stdout.is_empty() && said.stderr.contains("locked"), "{said:?}");
    }
    deployment.restart().await;
    deployment.http().post("/stock/tea/receive", json!({ "quantity": 1 })).await.expect(200);
}

#[tokio::test]
async fn a_full_disk_is_a_reason_not_to_be_ready_and_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&folder.path().join("disk"));
    let data = disk.at().join("data");
    let args = ["--data".to_owned(), data.display().to_string()];
    let start = async || Server::start(&args, free_port(), &folder.path().join("out")).await;
    let server = start().await;
    server.http.post("/stock/tea/receive", json!({ "quantity": 3 })).await.expect(200);
    ends_at_rest(&server.http).await;
    let filling = disk.fill();
    let told = not_ready(&server.http).await;
    assert!(told["services"]["inventory"]["log"].as_str().unwrap().contains("full"), "{told}");
    fs::remove_file(&filling).unwrap();
    ready(&server.http).await;
    server.http.post("/stock/tea/receive", json!({ "quantity": 1 })).await.expect(200);
    assert!(server.stop().await);

    let filling = disk.fill();
    let said = orderlog(&SERVE, &data).await.ended_with(4);
    assert!(said.stdout.is_empty() && said.stderr.contains("has room"), "{said:?}");
    fs::remove_file(&filling).unwrap();
    let server = start().await;
    assert_eq!(server.http.get("/stock/tea").await.expect(200)["on_hand"], 4);
}

async fn not_ready(http: &Http) -> Value {
    eventually("it is not ready", async || {
        let answer = http.get("/readyz").await;
        (answer.status == 503).then_some(answer.body)
    })
    .await
}

async fn ready(http: &Http) {
    eventually("it is ready again", async || (http.get("/readyz").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_log_that_takes_nothing_any_more_is_a_reason_not_to_be_ready() {
    let deployment = Embedded::start().await;
    let (http, data) = (deployment.http(), deployment.rows());
    let log = Connection::open(data.join("log.sqlite")).unwrap();
    let topic = "select 'topic_' || id from topics where name = 'inventory'";
    let topic: String = log.query_row(topic, [], |row| row.get(0)).unwrap();
    let refusing = "begin select raise(abort, 'no room'); end";
    log.execute_batch(&format!("create trigger refuse before insert on {topic} {refusing}")).unwrap();
    let told = not_ready(&http).await;
    assert!(told["services"]["inventory"]["log"].as_str().unwrap().contains("no room"), "{told}");
    http.post("/stock/tea/receive", json!({ "quantity": 1 })).await.expect(503);
    log.execute_batch("drop trigger refuse").unwrap();
    ready(&http).await;
    http.post("/stock/tea/receive", json!({ "quantity": 1 })).await.expect(200);
}

#[tokio::test]
async fn a_read_model_that_another_program_locks_is_a_reason_not_to_be_ready() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    ready(&http).await;
    let lock = Connection::open(deployment.rows().join("inventory.1.sqlite")).unwrap();
    for quantity in [0, 3] {
        lock.execute_batch("begin immediate").unwrap();
        if quantity > 0 {
            http.post("/stock/tea/receive", json!({ "quantity": quantity })).await.expect(200);
        }
        let told = not_ready(&http).await;
        assert!(told["services"]["inventory"]["why"].as_str().unwrap().contains("locked"), "{told}");
        assert_eq!(told["services"]["billing"]["why"], Value::Null, "{told}");
        lock.execute_batch("rollback").unwrap();
        ready(&http).await;
    }
    assert_eq!(http.get("/stock/tea").await.expect(200)["on_hand"], 3, "nothing was lost");
}
