//! The engine's example, `engine/examples/first-service`: a service of one file has all that the engine promises.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{path::PathBuf, process::Command};

use orderlog_tests::{
    deployment::{Said, Server, free_port, kafka, program, run},
    eventually,
    http::Answer,
};
use reqwest::Method;
use serde_json::{Value, json};

const PROGRAM: &str = "first-service";

/// The program with a data folder and a log of its own.
struct Vouchers {
    folder: tempfile::TempDir,
    /// The options that name the log.
    log: Vec<String>,
    port: u16,
}

impl Vouchers {
    fn on_embedded_log() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), log: Vec::new(), port: free_port() }
    }

    fn on_kafka() -> Self {
        let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
        let log = ["--log", &format!("kafka://{}", kafka()), "--topic-prefix", &prefix, "--development-hash-key"];
        Self { log: log.map(str::to_owned).to_vec(), ..Self::on_embedded_log() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn serve(&self) -> Server {
        let (mut command, address) = (Command::new(program(PROGRAM)), format!("127.0.0.1:{}", self.port));
        command.args(["serve", "--listen", &address, "--data"]).arg(self.data()).args(&self.log);
        let server = Server::spawn(command, format!("http://{address}"), &self.folder.path().join("server.log"));
        server.ready().await;
        server
    }

    /// Deletes the read model; the embedded log stays.
    fn forget_read_model(&self) {
        for file in std::fs::read_dir(self.data()).unwrap().map(Result::unwrap) {
            if file.file_name().to_string_lossy().starts_with("vouchers.") {
                std::fs::remove_file(file.path()).unwrap();
            }
        }
    }

    async fn cli(&self, args: &[&str]) -> Said {
        let data = self.data();
        let place = ["--data", data.to_str().unwrap()].into_iter().chain(self.log.iter().map(String::as_str));
        run(PROGRAM, &args.iter().copied().chain(place).collect::<Vec<_>>()).await
    }

    /// The balances that were published as low.
    async fn low(&self) -> Vec<Value> {
        let said = self.cli(&["log", "replay", "voucher.low"]).await.ended_with(0);
        let records = said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| record["value"]["balance"].clone()).collect()
    }
}

fn of(answer: &Answer, header: &str) -> String {
    answer.header(header).unwrap_or_else(|| panic!("{header} is missing: {answer:?}")).to_owned()
}

async fn get(server: &Server, path: &str, position: &str) -> Value {
    let headers = [("Orderlog-Min-Position", position)];
    server.http.send(Method::GET, path, &headers, None).await.unwrap().expect(200)
}

/// Issues a voucher and redeems parts of it: where it is found, and the position that its last command answered.
async fn issue_and_redeem(server: &Server) -> (String, String) {
    let http = &server.http;
    let issued = http.post_once("/vouchers", "issue", json!({ "cents": 1_000 })).await;
    let again = http.post_once("/vouchers", "issue", json!({ "cents": 1_000 })).await;
    assert_eq!((issued.header("idempotent-replayed"), again.header("idempotent-replayed")), (None, Some("true")));
    assert_eq!(of(&issued, "orderlog-position"), of(&again, "orderlog-position"));
    assert_eq!(issued.clone().expect(201), again.expect(201));
    http.post_once("/vouchers", "issue", json!({ "cents": 2_000 })).await.expect_problem(422, "idempotency_key_reused");

    let (voucher, redeem) = (of(&issued, "location"), format!("{}/redeem", of(&issued, "location")));
    http.post(&redeem, json!({ "cents": 300 })).await.expect(200);
    let mut redeemed = http.post_once(&redeem, "low", json!({ "cents": 300 })).await;
    for _ in 0..2 {
        assert_eq!(redeemed.clone().expect(200)["balance"], 400);
        redeemed = http.post_once(&redeem, "low", json!({ "cents": 300 })).await;
    }
    assert_eq!(of(&redeemed, "idempotent-replayed"), "true");
    http.post(&redeem, json!({ "cents": 401 })).await.expect_problem(409, "balance_too_low");
    http.post(&redeem, json!({ "cents": 0 })).await.expect_problem(400, "invalid_request");
    let stale = [("If-Match", "\"1\"")];
    let stale = http.send(Method::POST, &redeem, &stale, Some(&json!({ "cents": 1 }))).await.unwrap();
    stale.expect_problem(412, "precondition_failed");
    let nobodys = format!("/vouchers/{}/redeem", uuid::Uuid::nil());
    http.post(&nobodys, json!({ "cents": 1 })).await.expect_problem(404, "unknown_voucher");
    let last = http.post(&redeem, json!({ "cents": 100 })).await;
    let position = of(&last, "orderlog-position");
    assert_eq!(get(server, &voucher, &position).await, last.expect(200));
    (voucher, position)
}

async fn is_described(server: &Server) {
    let document = server.http.get("/openapi.json").await.expect(200);
    assert_eq!(document["info"]["title"], PROGRAM);
    assert_eq!(document["paths"]["/vouchers"]["post"]["operationId"], "issue_voucher");
    assert_eq!(document["paths"]["/vouchers"]["post"]["tags"], json!(["vouchers"]));
    assert_eq!(document["tags"], json!([{ "name": "vouchers", "description": "Vouchers, and what they are worth." }]));
    assert_eq!(server.http.get("/docs").await.status, 200);
    assert_eq!(server.http.get("/problems/balance_too_low").await.status, 200);
}

async fn has_everything(vouchers: Vouchers) {
    let server = vouchers.serve().await;
    is_described(&server).await;
    let (voucher, position) = issue_and_redeem(&server).await;
    let list = get(&server, "/vouchers", &position).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    eventually("the low balance is published once", async || (vouchers.low().await == [400]).then_some(())).await;
    assert!(server.stop().await);

    vouchers.forget_read_model();
    let server = vouchers.serve().await;
    assert_eq!(get(&server, "/vouchers", &position).await, list, "the read model comes from the log");
    assert_eq!(get(&server, &voucher, &position).await["balance"], 300);
    vouchers.cli(&["projection", "rebuild", "vouchers"]).await.ended_with(0);
    vouchers.cli(&["projection", "verify", "all"]).await.ended_with(0);
    assert_eq!(vouchers.cli(&["parked", "list"]).await.ended_with(0).stdout.matches('@').count(), 0);
    let again = server.http.post_once("/vouchers", "issue", json!({ "cents": 1_000 })).await;
    assert_eq!(of(&again, "idempotent-replayed"), "true", "keys are remembered by the log");
    assert!(server.stop().await);

    let export = vouchers.folder.path().join("export");
    let exported = vouchers.cli(&["log", "export", export.to_str().unwrap(), "--json"]).await.ended_with(0);
    assert!(exported.stdout.contains("\"vouchers\""), "{exported:?}");
    assert_eq!(vouchers.low().await, [400], "nothing was published twice");
}

#[tokio::test]
async fn a_service_of_one_file_has_everything_on_the_embedded_log() {
    has_everything(Vouchers::on_embedded_log()).await;
}

#[tokio::test]
async fn a_service_of_one_file_has_everything_on_kafka() {
    has_everything(Vouchers::on_kafka()).await;
}

#[tokio::test]
async fn a_program_without_a_demo_offers_none() {
    let help = run(PROGRAM, &["help"]).await.ended_with(0).stdout;
    assert!(help.contains("--vouchers-url") && !help.contains("--demo") && !help.contains("orders"), "{help}");
    let refused = run(PROGRAM, &["serve", "--demo"]).await.ended_with(2);
    assert!(refused.stderr.contains("no demo"), "{refused:?}");
}
