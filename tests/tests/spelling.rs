//! The same person, spelled differently: texts that look alike are refused or recognised.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;

use orderlog_core::{header::Origin, key::HashKey};
use orderlog_domain::{
    customers::{Address, Command, Customers},
    values::{CustomerId, Email, Name},
};
use orderlog_eventlog::{
    EventLog,
    embedded::EmbeddedLog,
    kafka::{KafkaConfig, KafkaLog},
};
use orderlog_readmodel::Store;
use orderlog_runtime::{
    assembly,
    environment::Machine,
    now_ms,
    replica::{Replica, Setup, State},
};
use orderlog_tests::{
    deployment::{Distributed, Embedded, kafka, orderlog},
    http::{Answer, Http},
};
use serde_json::{Value, json};
use uuid::Uuid;

const SECRET: &str = "a secret for tests";
const COMPOSED: &str = "ren\u{e9}e@b\u{fc}cher.example";
const DECOMPOSED: &str = "rene\u{301}e@xn--bcher-kva.example";

/// The code and the pointer of each fault of a 400.
fn faults(problem: &Value) -> Vec<(&str, &str)> {
    let faults = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    faults.iter().filter_map(|fault| Some((fault["code"].as_str()?, fault["pointer"].as_str()?))).collect()
}

async fn create(http: &Http, name: &str, email: &str) -> Answer {
    http.post("/customers", json!({ "name": name, "email": email })).await
}

#[tokio::test]
async fn what_nobody_sees_is_in_no_name_and_no_address() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    for hidden in ["\u{202e}", "\u{2067}", "\u{200b}", "\u{feff}", "\u{e0041}"] {
        let problem = create(&http, &format!("Ada{hidden} Lovelace"), "ada@example.com").await.expect(400);
        assert_eq!(faults(&problem), [("invalid_text", "#/name")], "{hidden:?}");
    }
    for wrong in ["mailto:ada@example.com", "<ada@example.com>", "\u{202e}ada@example.com", "ada@[127.0.0.1]"] {
        let problem = create(&http, "Ada", wrong).await.expect(400);
        let found = faults(&problem);
        assert!(matches!(found[..], [("invalid_email" | "invalid_text", "#/email")]), "{wrong:?}: {found:?}");
        assert!(!problem.to_string().contains("ada@"), "an address is not repeated: {problem}");
    }
    // A Persian name is written with a non-joiner.
    let customer = create(&http, "\u{62e}\u{627}\u{646}\u{647}\u{200c}\u{6cc}", "ada@example.com").await.expect(201);
    let path = format!("/customers/{}", customer["customer_id"].as_str().unwrap_or_default());
    http.patch(&path, json!({ "name": "Ada\u{2066}" })).await.expect(400);
    http.patch(&path, json!({ "email": "<ada@example.com>" })).await.expect(400);
}

/// Customers with these addresses, recorded as by an earlier version, which compared addresses in lower case only.
async fn customers_from_before<const N: usize>(log: Arc<dyn EventLog>, emails: [&str; N]) -> [String; N] {
    log.prepare(&assembly::topics(orderlog_domain::SERVICES)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let hash_key = HashKey::from_secret(SECRET);
    let (writer, environment) = (Uuid::now_v7(), Arc::new(Machine));
    let setup = Setup { log: Arc::clone(&log), hash_key, writer, n_slots_max: 100, environment };
    let store = Arc::new(Store::open(folder.path(), &orderlog_projections::customers::TABLES).await.unwrap());
    let replica = Replica::<Customers>::start(setup, store).await.unwrap();
    replica.ready().await.unwrap();
    let ids = emails.map(|email| (Uuid::now_v7(), email));
    for (id, email) in ids {
        let email: Email = serde_json::from_value(email.into()).unwrap();
        let address = Address { canonical_key: None, ..Address::new(email, replica.hash_key()) };
        let command = Command::Create { customer_id: CustomerId(id), name: Name::new("Ada").unwrap(), address };
        replica.execute(command, None, Origin::default(), now_ms() + 60_000).await.unwrap();
    }
    // The server that comes next can open the log only once the replica has let go of it.
    let mut state = replica.state();
    drop(replica);
    drop(state.wait_for(|state| matches!(state, State::Stopped(_))).await);
    log.close().await;
    ids.map(|(id, _)| id.to_string())
}

/// How many records of this kind the journal of customers has.
async fn count(http: &Http, kind: &str) -> usize {
    let records = http.get("/admin/log/customers/0").await.expect(200);
    let records = records["records"].as_array().unwrap();
    records.iter().filter(|record| record["type"] == kind).count()
}

const FROM_BEFORE: [&str; 5] =
    [COMPOSED, DECOMPOSED, "\u{39f}\u{394}\u{39f}\u{3a3}@example.com", "ada@example.com", "\u{ff41}da@example.com"];

/// The customers of [`FROM_BEFORE`], as a server has them that was just started on their journal.
async fn addresses_from_before_are_unique_however_they_are_spelled(http: &Http, ids: &[String; 5]) {
    assert_eq!(count(http, "customer_email_key_claimed").await, 2, "one for each spelling that is free");
    for taken in [
        DECOMPOSED,
        "REN\u{c9}E@B\u{dc}CHER.example",
        "\u{3bf}\u{3b4}\u{3bf}\u{3c3}@example.com",
        "a\u{200b}da@example.com",
    ] {
        create(http, "Eve", taken).await.expect_problem(409, "duplicate_email");
    }
    let status = http.get("/admin/projections/customers").await.expect(200);
    let collision = |customer: usize, held_by: usize| json!({ "customer_id": ids[customer], "held_by": ids[held_by] });
    assert_eq!(status["email_collisions"], json!([collision(1, 0), collision(4, 3)]));

    // Who collides can change everything else, and is answered with the address as it was written.
    let collided = format!("/customers/{}", ids[1]);
    let changed = http.patch(&collided, json!({ "name": "Ren\u{e9}e", "email": DECOMPOSED })).await.expect(200);
    assert_eq!((&changed["name"], &changed["email"]), (&json!("Ren\u{e9}e"), &json!(DECOMPOSED)));
    http.patch(&collided, json!({ "email": COMPOSED })).await.expect_problem(409, "duplicate_email");
    http.post_nothing(&format!("{collided}/deactivate")).await.expect(200);

    // Another address frees both spellings of the old one.
    http.patch(&format!("/customers/{}", ids[2]), json!({ "email": "street@example.com" })).await.expect(200);
    create(http, "Odos", "\u{3bf}\u{3b4}\u{3bf}\u{3c3}@example.com").await.expect(201);
}

#[tokio::test]
async fn addresses_from_before_are_claimed_in_all_spellings_before_the_service_is_ready() {
    let mut deployment = Embedded::stopped();
    deployment.options(&["--hash-key", SECRET]);
    let data = deployment.rows();
    std::fs::create_dir_all(&data).unwrap();
    let ids = customers_from_before(EmbeddedLog::open(&data).await.unwrap(), FROM_BEFORE).await;
    deployment.restart().await;
    addresses_from_before_are_unique_however_they_are_spelled(&deployment.http(), &ids).await;

    deployment.restart().await;
    assert_eq!(count(&deployment.http(), "customer_email_key_claimed").await, 2, "a restart claims nothing twice");
    let table = orderlog(&["projection", "status", "customers"], &data).await.ended_with(0).stdout;
    let told = format!("customers {} and {} have one e-mail address", ids[4], ids[3]);
    assert!(table.contains(&told), "{table}");
    orderlog(&["projection", "verify", "customers"], &data).await.ended_with(0);
    let log = deployment.told();
    assert!(log.contains(&ids[4]) && !log.contains("@example.com"), "ids and no addresses: {log}");
}

#[tokio::test]
async fn addresses_from_before_are_claimed_on_kafka_too() {
    let topic_prefix = format!("t{}.", Uuid::new_v4().simple());
    let log = KafkaLog::connect(KafkaConfig { topic_prefix: topic_prefix.clone(), ..KafkaConfig::new(kafka()) });
    let ids = customers_from_before(log.unwrap(), FROM_BEFORE).await;
    let deployment = Distributed::start_as(topic_prefix, &["--hash-key", SECRET]).await;
    addresses_from_before_are_unique_however_they_are_spelled(&deployment.http("customers"), &ids).await;
}
