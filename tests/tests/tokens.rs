//! Tokens of somebody else: who has one is let in as with a key, and an issuer changes its keys whenever it likes.

use orderlog_tests::{
    deployment::{Embedded, free_port, orderlog},
    eventually,
    keys::key,
    story::text,
    tokens::{Issuer, Publisher, believing},
};
use reqwest::Method;
use serde_json::json;

/// One that is not started yet and believes what is signed with the keys at this place.
fn believer(jwks: &str, further: &[&str]) -> Embedded {
    let mut deployment = Embedded::stopped();
    let options = believing(jwks);
    let options: Vec<&str> = options.iter().map(String::as_str).chain(further.iter().copied()).collect();
    deployment.options(&options);
    deployment
}

#[tokio::test]
async fn tokens_and_keys_are_taken_side_by_side_and_nobody_comes_in_without() {
    let (issuer, dir) = (Issuer::new("one"), tempfile::tempdir().expect("a folder"));
    let jwks = dir.path().join("jwks.json");
    issuer.publish(&jwks);
    let deployment = believer(&jwks.display().to_string(), &["--rate-limit", "1", "--rate-burst", "3"]);
    let shop = key(&deployment.rows(), "shop", &["stock:read"], &[]).await;
    let deployment = deployment.started().await;
    let http = deployment.http();
    http.get("/stock").await.expect_problem(401, "unauthenticated");
    http.with_key(&shop).get("/stock").await.expect(200);
    let ada = http.with_key(&issuer.token("ada", &["openid", "stock:read"], json!({})));
    // A share of its own, whatever the token.
    let again = http.with_key(&issuer.token("ada", &["stock:read"], json!({ "jti": "another" })));
    let left = async |http: &orderlog_tests::http::Http| {
        http.get("/stock").await.header("ratelimit").unwrap_or_default().chars().take(14).collect::<String>()
    };
    assert_eq!([left(&ada).await, left(&again).await], ["\"requests\";r=2", "\"requests\";r=1"]);
    ada.post("/stock/beans/receive", json!({ "quantity": 1 })).await.expect_problem(403, "insufficient_scope");
    ada.get("/stock").await.expect_problem(429, "rate_limited");

    let old = http.with_key(&issuer.token("eve", &["stock:read"], json!({ "exp": 1 }))).get("/stock").await;
    assert!(old.header("www-authenticate").is_some_and(|it| it.contains("invalid_token")), "{old:?}");
    let problem = old.expect_problem(401, "invalid_token");
    assert!(text(&problem, "detail").contains("expired"), "{problem}");
    assert!(!deployment.told().contains("eyJ"), "no token is told");
}

#[tokio::test]
async fn idempotency_keys_belong_to_whom_the_token_is_for() {
    let (issuer, dir) = (Issuer::new("one"), tempfile::tempdir().expect("a folder"));
    let jwks = dir.path().join("jwks.json");
    issuer.publish(&jwks);
    let deployment = believer(&jwks.display().to_string(), &[]).started().await;
    let notified = async |subject: &str, jti: u32| {
        let token = issuer.token(subject, &["notifications:write"], json!({ "jti": jti.to_string() }));
        let news = json!({ "recipient": "operations", "subject": "s", "body": "b" });
        let answer = deployment.http().with_key(&token).post_once("/notify", "same", news).await.expect(201);
        text(&answer, "notification_id")
    };
    let first = notified("ada", 1).await;
    assert_eq!(notified("ada", 2).await, first, "a new token of the same caller");
    assert_ne!(notified("bob", 3).await, first);
}

#[tokio::test]
async fn a_new_file_of_keys_replaces_the_old_keys_and_a_wrong_one_does_not() {
    let (old, new, dir) = (Issuer::new("one"), Issuer::new("two"), tempfile::tempdir().expect("a folder"));
    let jwks = dir.path().join("jwks.json");
    old.publish(&jwks);
    let deployment = believer(&jwks.display().to_string(), &[]).started().await;
    let asking = |issuer: &Issuer| deployment.http().with_key(&issuer.token("ada", &["stock:read"], json!({})));
    asking(&old).get("/stock").await.expect(200);
    asking(&new).get("/stock").await.expect_problem(401, "invalid_token");
    std::fs::write(&jwks, "{").expect("a file");
    eventually("it is told", async || {
        asking(&old).get("/stock").await.expect(200);
        deployment.told().contains("those of before are used on").then_some(())
    })
    .await;
    new.publish(&jwks);
    eventually("the new key counts", async || (asking(&new).get("/stock").await.status == 200).then_some(())).await;
    asking(&old).get("/stock").await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_when_they_are_needed_and_not_for_every_invented_name() {
    let publisher = Publisher::start().await;
    let (issuer, inventor) = (Issuer::new("one"), Issuer::new("invented"));
    let deployment = believer(&publisher.url, &[]).started().await;
    let asking = |issuer: &Issuer| deployment.http().with_key(&issuer.token("ada", &["stock:read"], json!({})));
    let answer = asking(&issuer).get("/stock").await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    answer.expect_problem(503, "issuer_unavailable");
    publisher.tell(&issuer);
    eventually("the issuer is there", async || (asking(&issuer).get("/stock").await.status == 200).then_some(())).await;

    let before = publisher.n_asked();
    for _ in 0..50 {
        asking(&inventor).get("/stock").await.expect_problem(401, "invalid_token");
    }
    assert!(publisher.n_asked() <= before + 1, "it is asked once in ten seconds");
    // Its keys change: who brings the new one is let in as soon as it may be asked again, and who brings the old one is not.
    publisher.tell(&inventor);
    eventually("the new key counts", async || (asking(&inventor).get("/stock").await.status == 200).then_some(()))
        .await;
    asking(&issuer).get("/stock").await.expect_problem(401, "invalid_token");
}

#[tokio::test]
async fn a_server_says_what_is_wrong_with_what_it_was_told_of_tokens() {
    let data = tempfile::tempdir().expect("a folder");
    let told = async |args: &[&str], code: i32| {
        let listen = format!("127.0.0.1:{}", free_port());
        orderlog(&[&["serve", "--listen", &listen], args].concat(), data.path()).await.ended_with(code).stderr
    };
    let all = |jwks: &str| believing(jwks);
    let half = told(&["--oidc-issuer", "https://id.example"], 2).await;
    assert!(half.contains("--oidc-audience") && half.contains("--oidc-jwks"), "{half}");
    let (missing, plain) = (all("/nowhere/jwks.json"), all("http://id.example/jwks"));
    let as_args = |options: &[String]| options.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
    let run = async |options: Vec<String>, code: i32| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        told(&options, code).await
    };
    let missing = run(as_args(&missing), 1).await;
    assert!(missing.contains("/nowhere/jwks.json"), "{missing}");
    let plain = run(as_args(&plain), 5).await;
    assert!(plain.contains("--insecure=no-tls"), "{plain}");
}

#[tokio::test]
async fn with_tokens_alone_others_are_listened_to() {
    let (issuer, dir) = (Issuer::new("one"), tempfile::tempdir().expect("a folder"));
    let jwks = dir.path().join("jwks.json");
    issuer.publish(&jwks);
    let port = free_port();
    let listen = format!("0.0.0.0:{port}");
    let mut args = vec!["all".to_owned(), "--listen".to_owned(), listen, "--insecure=no-tls".to_owned()];
    args.extend(believing(&jwks.display().to_string()));
    args.extend(["--data".to_owned(), dir.path().join("data").display().to_string()]);
    let server = orderlog_tests::deployment::Server::start(&args, port, &dir.path().join("log")).await;
    let asked = server.http.send(Method::GET, "/stock", &[], None).await.expect("an answer");
    asked.expect_problem(401, "unauthenticated");
    server.http.with_key(&issuer.token("ada", &["stock:read"], json!({}))).get("/stock").await.expect(200);
}
