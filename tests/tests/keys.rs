//! Keys, from the first one to a revoked one, and what a server demands before it listens to others.

use orderlog_tests::{
    deployment::{Embedded, Server, free_port, orderlog},
    eventually,
    http::Http,
    keys::{id_of, key},
    story::text,
};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn the_first_key_closes_a_server_and_a_revoked_one_opens_nothing() {
    let deployment = Embedded::start().await;
    let (http, data) = (deployment.http(), deployment.rows());
    http.get("/customers").await.expect(200);
    let first = key(&data, "shop", &["customers:read"], &[]).await;
    eventually("nobody comes in without a key", async || (http.get("/customers").await.status == 401).then_some(()))
        .await;
    http.with_key(&first).get("/customers").await.expect(200);
    http.get("/livez").await.expect(200);
    http.get("/readyz").await.expect(200);
    http.get("/openapi.json").await.expect(200);

    let listed = orderlog(&["key", "list", "--json"], &data).await.ended_with(0).json();
    assert_eq!((listed["name"].as_str(), listed["id"].as_str()), (Some("shop"), Some(id_of(&first))));
    assert!(!listed.to_string().contains(first.rsplit('_').next().unwrap_or_default()), "{listed}");
    orderlog(&["key", "revoke", id_of(&first)], &data).await.ended_with(0);
    let revoked = http.with_key(&first);
    eventually("the key is revoked", async || (revoked.get("/customers").await.status == 401).then_some(())).await;
    orderlog(&["key", "revoke", id_of(&first)], &data).await.ended_with(5);
}

#[tokio::test]
async fn operators_of_the_same_data_folder_need_no_key_others_need_the_scope() {
    let deployment = Embedded::stopped();
    let data = deployment.rows();
    let (shop, admin) = (key(&data, "shop", &["orders:*"], &[]).await, key(&data, "ops", &["admin:read"], &[]).await);
    let deployment = deployment.started().await;
    orderlog(&["projection", "status", "orders"], &data).await.ended_with(0);
    let http = deployment.http();
    http.get("/admin/projections").await.expect_problem(401, "unauthenticated");
    http.with_key(&shop).get("/admin/projections").await.expect_problem(403, "insufficient_scope");
    http.with_key(&admin).get("/admin/projections").await.expect(200);
    let rebuild = http.with_key(&admin).post("/admin/snapshots/orders", json!({})).await;
    rebuild.expect_problem(403, "insufficient_scope");
    let file = data.join("ops.key");
    std::fs::write(&file, admin).expect("a file");
    let args = ["projection", "status", "orders", "--server", &http.base, "--key-file", &file.display().to_string()];
    orderlog(&args, &data).await.ended_with(0);
    let told = orderlog(&args[..5], &data).await.ended_with(5);
    assert!(told.stderr.contains("key"), "{told:?}");
}

#[tokio::test]
async fn an_operator_key_is_created_at_the_first_start_only() {
    let mut deployment = Embedded::stopped();
    let (data, file) = (deployment.rows(), deployment.data.path().join("operator.key"));
    deployment.options(&["--operator-key-file", &file.display().to_string()]);
    let check = [
        "config",
        "check",
        "--listen",
        "0.0.0.0:0",
        "--insecure=no-tls",
        "--operator-key-file",
        &file.display().to_string(),
    ];
    orderlog(&check, &data).await.ended_with(0);
    assert!(!file.exists() && !data.exists(), "a check creates nothing");
    let mut deployment = deployment.started().await;
    let first = std::fs::read_to_string(&file).expect("a key");
    assert!(deployment.told().contains(&file.display().to_string()) && !deployment.told().contains(first.trim()));
    deployment.http().get("/customers").await.expect(401);
    deployment.http().with_key(first.trim()).get("/admin/projections").await.expect(200);

    deployment.restart().await;
    assert_eq!(std::fs::read_to_string(&file).expect("a key"), first);
    deployment.http().with_key(first.trim()).get("/customers").await.expect(200);
    assert!(deployment.stop().await);
    // Without its keys the server must neither be open to everybody on the machine nor accept the old key.
    std::fs::remove_file(data.join("keys.json")).expect("keys");
    let args = ["serve", "--listen", "127.0.0.1:0", "--operator-key-file", &file.display().to_string()];
    let refused = orderlog(&args, &data).await.ended_with(5);
    assert!(refused.stderr.contains(&file.display().to_string()), "{refused:?}");
}

#[tokio::test]
async fn a_key_can_be_created_in_a_file_that_only_its_owner_reads() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let file = data.path().join("shop.key").display().to_string();
    let create = ["key", "create", "--name", "shop", "--scope", "orders:*", "--out", &file];
    let said = orderlog(&create, data.path()).await.ended_with(0);
    let key = std::fs::read_to_string(&file).expect("a key");
    assert!(said.stdout.is_empty() && said.stderr.contains(id_of(&key)) && !said.stderr.contains(key.trim()));
    assert!(orderlog(&create, data.path()).await.ended_with(5).stderr.contains(&file));
    orderlog(&[&create[..], &["--if-none"]].concat(), data.path()).await.ended_with(0);
    assert_eq!(std::fs::read_to_string(&file).expect("a key"), key);
    let listed = orderlog(&["key", "list", "--json"], data.path()).await.ended_with(0).stdout;
    assert_eq!(listed.lines().count(), 1, "{listed}");
}

#[tokio::test]
async fn scripts_get_keys_as_json() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let said = async |args: &[&str]| orderlog(args, data.path()).await.ended_with(0);
    let create = ["key", "create", "--name", "shop", "--scope", "orders:read", "--json"];
    let created = said(&create).await.json();
    let (id, key) = (created["id"].as_str().expect("an id"), created["key"].as_str().expect("a key"));
    assert_eq!(id_of(key), id);
    let file = data.path().join("other.key").display().to_string();
    let other = said(&[&create[..], &["--out", &file]].concat()).await;
    let secret = std::fs::read_to_string(&file).expect("a key");
    assert_eq!(other.json()["id"], id_of(&secret));
    assert!(!other.stdout.contains(secret.trim()), "{other:?}");
    assert_eq!(said(&["key", "revoke", id, "--json"]).await.json()["id"], id);
    assert_eq!(said(&["key", "list", "--json"]).await.json(), other.json(), "the other one is left");
}

#[tokio::test]
async fn idempotency_keys_belong_to_their_caller() {
    let deployment = Embedded::stopped();
    let data = deployment.rows();
    let scopes = ["notifications:write"];
    let (one, two) = (key(&data, "one", &scopes, &[]).await, key(&data, "two", &scopes, &[]).await);
    let rotated = key(&data, "one", &scopes, &[]).await;
    let deployment = deployment.started().await;
    let notified = async |key: &str| {
        let news = json!({ "recipient": "operations", "subject": "s", "body": "b" });
        let answer = deployment.http().with_key(key).post_once("/notify", "same", news).await.expect(201);
        text(&answer, "notification_id")
    };
    let first = notified(&one).await;
    assert_eq!(notified(&one).await, first);
    assert_eq!(notified(&rotated).await, first, "two keys of one name are the same caller");
    assert_ne!(notified(&two).await, first);
}

#[tokio::test]
async fn pages_of_other_sites_do_not_act_for_the_operator() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let asked = async |headers: &[(&str, &str)]| http.send(Method::POST, "/orders/0/cancel", headers, None).await;
    let refused = asked(&[("origin", "https://elsewhere.example")]).await.expect("an answer");
    refused.expect_problem(403, "foreign_origin");
    let refused = asked(&[("host", "elsewhere.example")]).await.expect("an answer");
    refused.expect_problem(403, "foreign_host");
    asked(&[("origin", &http.base)]).await.expect("an answer").expect_problem(400, "invalid_request");
}

#[tokio::test]
async fn an_address_of_ipv4_is_the_same_in_the_form_of_ipv6() {
    let dir = tempfile::tempdir().expect("a place for a data folder");
    let serve = |host: &str, name: &str, further: &[&str]| {
        let data = ["--data".to_owned(), dir.path().join(name).display().to_string()];
        let args: Vec<String> = data.into_iter().chain(further.iter().map(|it| (*it).to_owned())).collect();
        let port = free_port();
        (Server::begin_at(host, &args, port, (&dir.path().join("server.log"), &[]), &[]), port)
    };
    let (local, port) = serve("[::ffff:127.0.0.1]", "local", &[]);
    local.ready().await;
    Http::new(format!("http://127.0.0.1:{port}")).get("/admin/projections").await.expect(200);

    // A socket of both families sees callers by IPv4 in the form of IPv6. Those of this machine have no rate.
    let (open, port) = serve("[::]", "open", &["--insecure"]);
    open.ready().await;
    let answer = Http::new(format!("http://127.0.0.1:{port}")).get("/customers").await;
    assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (200, None));
}

#[tokio::test]
async fn a_server_is_not_opened_to_others_by_accident() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let listen = format!("0.0.0.0:{}", free_port());
    let told = orderlog(&["serve", "--listen", &listen], data.path()).await.ended_with(5);
    assert!(told.stderr.contains("orderlog key create"), "{told:?}");
    key(data.path(), "shop", &["*"], &[]).await;
    let told = orderlog(&["serve", "--listen", &listen], data.path()).await.ended_with(5);
    assert!(told.stderr.contains("--insecure=no-tls"), "{told:?}");
    assert!(!data.path().join("log.sqlite").exists(), "nothing was opened yet");
}
