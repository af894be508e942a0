//! TLS: with a certificate, keys and answers go over the wire encrypted, and services of several processes ask each other so.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::{fs, path::PathBuf};

use orderlog_tests::{
    certificates::{Authority, put},
    deployment::{Server, free_port, orderlog, orderlog_anywhere},
    eventually,
    http::Http,
    keys::key,
};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

/// A folder with `ca.pem`, and `cert.pem` with `key.pem`.
struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let files = Self { dir, authority };
        fs::write(files.at("ca.pem"), files.authority.pem()).unwrap();
        files.authority.issue_at(&files.at("cert.pem"), &files.at("key.pem"));
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn options(&self) -> Vec<String> {
        ["--tls-cert", &self.text("cert.pem"), "--tls-key", &self.text("key.pem")].map(str::to_owned).to_vec()
    }

    /// A server with TLS and these further arguments, on a data folder of its own.
    async fn serve(&self, name: &str, port: u16, args: &[&str]) -> Server {
        let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        all.extend(self.options());
        all.extend(["--data".to_owned(), self.text(name)]);
        let mut server = Server::begin(&all, port, &self.at(&format!("{name}.log")));
        server.http = Http::trusting(format!("https://localhost:{port}"), &self.authority.pem());
        server.ready().await;
        server
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_speaks_tls_only_and_takes_a_new_one_when_it_comes() {
    let files = Files::new();
    let port = free_port();
    let server = files.serve("data", port, &[]).await;
    server.http.post("/stock/beans/receive", json!({ "quantity": 1 })).await.expect(200);
    let plain = Http::new(format!("http://localhost:{port}")).send(Method::GET, "/livez", &[], None).await;
    assert!(plain.is_err(), "{plain:?}");

    // Commands on the data folder find it all the same.
    orderlog(&["projection", "status", "orders"], &files.at("data")).await.ended_with(0);
    let url = format!("https://localhost:{port}/readyz");
    orderlog_anywhere(&["health", "--url", &url, "--ca", &files.text("ca.pem")]).await.ended_with(0);
    orderlog_anywhere(&["health", "--url", &url]).await.ended_with(1);

    let other = Authority::new();
    other.issue_at(&files.at("cert.pem"), &files.at("key.pem"));
    eventually("the new certificate is shown", async || {
        let http = Http::trusting(server.http.base.clone(), &other.pem());
        http.send(Method::GET, "/livez", &[], None).await.ok()
    })
    .await;
    // What can't be used is not taken, and said.
    put(&files.at("cert.pem"), "nonsense");
    eventually("it is told", async || {
        let http = Http::trusting(server.http.base.clone(), &other.pem());
        http.get("/livez").await.expect(200);
        fs::read_to_string(files.at("data.log")).unwrap().contains("used on").then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_keys_and_a_certificate_others_are_listened_to() {
    let files = Files::new();
    let secret = key(&files.at("data"), "shop", &["stock:read"], &[]).await;
    let port = free_port();
    let listen = format!("0.0.0.0:{port}");
    let server = files.serve("data", port, &["all", "--listen", &listen]).await;
    server.http.get("/stock").await.expect_problem(401, "unauthenticated");
    server.http.with_key(&secret).get("/stock").await.expect(200);
}

#[tokio::test]
async fn services_of_several_processes_ask_each_other_over_tls() {
    let files = Files::new();
    let (customers, orders) = (free_port(), free_port());
    let _orders = files.serve("orders", orders, &["orders"]).await;
    let (url, ca) = (format!("https://localhost:{orders}"), files.text("ca.pem"));
    let customers = files.serve("customers", customers, &["customers", "--orders-url", &url, "--ca", &ca]).await;
    let ada = json!({ "name": "Ada", "email": "ada@example.com" });
    let ada = customers.http.post("/customers", ada).await.expect(201);
    let path = format!("/customers/{}/orders", ada["customer_id"].as_str().unwrap());
    assert_eq!(customers.http.get(&path).await.expect(200)["items"], json!([]));

    // Whose certificate stands on something else is not believed.
    let foreign = Authority::new();
    fs::write(files.at("foreign.pem"), foreign.pem()).unwrap();
    let (port, ca) = (free_port(), files.text("foreign.pem"));
    let wary = files.serve("wary", port, &["customers", "--orders-url", &url, "--ca", &ca]).await;
    let bob = wary.http.post("/customers", json!({ "name": "Bob", "email": "bob@example.com" })).await.expect(201);
    let path = format!("/customers/{}/orders", bob["customer_id"].as_str().unwrap());
    wary.http.get(&path).await.expect_problem(503, "service_unavailable");
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_is_named() {
    let files = Files::new();
    let other = files.at("other.pem");
    Authority::new().issue_at(&files.at("unused.pem"), &other);
    let told = async |cert: &str, key: &str, ca: &str| {
        let (cert, key, ca) = (files.text(cert), files.text(key), files.text(ca));
        let orders = "https://localhost:1";
        let args = ["serve", "--tls-cert", &cert, "--tls-key", &key, "--ca", &ca, "--orders-url", orders];
        orderlog(&[&args[..], &["--listen", "127.0.0.1:0"]].concat(), &files.at("data")).await.ended_with(1).stderr
    };
    let missing = told("none.pem", "key.pem", "ca.pem").await;
    assert!(missing.contains("none.pem can't be read") && missing.contains("No such file"), "{missing}");
    let swapped = told("key.pem", "cert.pem", "ca.pem").await;
    assert!(swapped.contains("there is no certificate in") && swapped.contains("key.pem"), "{swapped}");
    let alien = told("cert.pem", "other.pem", "ca.pem").await;
    assert!(alien.contains("other.pem can't be used"), "{alien}");
    let no_ca = told("cert.pem", "key.pem", "none.pem").await;
    assert!(no_ca.contains("none.pem can't be read"), "{no_ca}");
    let half = ["serve", "--tls-cert", &files.text("cert.pem")];
    let half = orderlog(&half, &files.at("data")).await.ended_with(2).stderr;
    assert!(half.contains("--tls-key"), "{half}");
}
