//! A command on a data folder talks to the server of that folder, and to nothing else that answers at its address.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::path::Path;

use orderlog_tests::{
    deployment::{Embedded, Server, orderlog, orderlog_anywhere},
    ends::ends_at_rest,
    eventually,
    http::Http,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A server with some goods that was killed, and its port, which is free by now.
async fn killed() -> (Embedded, u16) {
    let mut deployment = Embedded::start().await;
    let http = deployment.http();
    http.post("/stock/tea/receive", json!({ "quantity": 3 })).await.expect(200);
    ends_at_rest(&http).await;
    orderlog(&["health"], &deployment.rows()).await.ended_with(0);
    deployment.server().kill();
    assert!(deployment.rows().join("server.json").exists());
    (deployment, http.base.rsplit_once(':').unwrap().1.parse().unwrap())
}

/// Another server at `port`, which needs no key, on a folder of its own.
async fn another(port: u16, dir: &Path) -> Server {
    let data = dir.join("data").display().to_string();
    let server = Server::start(&["--data".to_owned(), data], port, &dir.join("log")).await;
    server.http.post("/stock/milk/receive", json!({ "quantity": 5 })).await.expect(200);
    server
}

async fn generations(http: &Http) -> Vec<Value> {
    let statuses = http.get("/admin/projections").await.expect(200);
    statuses["projections"].as_array().unwrap().iter().map(|status| status["generation"].clone()).collect()
}

#[tokio::test]
async fn a_command_on_a_folder_whose_server_was_killed_leaves_the_one_at_its_port_alone() {
    let (one, port) = killed().await;
    let (data, dir) = (one.rows(), tempfile::tempdir().unwrap());
    let two = another(port, dir.path()).await;

    let export = dir.path().join("export");
    orderlog(&["log", "export", export.to_str().unwrap()], &data).await.ended_with(0);
    let replay = ["log", "replay", "inventory", "--type", "stock_received"];
    let replayed = orderlog(&replay, &data).await.ended_with(0).stdout;
    assert!(replayed.contains("tea") && !replayed.contains("milk"), "{replayed}");
    let new = dir.path().join("imported");
    let key = data.join("hash.key").display().to_string();
    let import = ["log", "import", export.to_str().unwrap(), "--hash-key-file", &key];
    orderlog(&import, &new).await.ended_with(0);
    let imported = orderlog(&replay, &new).await.ended_with(0).stdout;
    assert!(imported.contains("tea") && !imported.contains("milk"), "{imported}");

    orderlog(&["projection", "rebuild", "--yes"], &data).await.ended_with(0);
    assert_eq!(generations(&two.http).await, vec![json!(1); 5], "the other server's read models are as they were");
    let status = orderlog(&["projection", "status", "inventory", "--json"], &data).await.ended_with(0).json();
    assert_eq!(status["generation"], 2);
    orderlog(&["parked", "list"], &data).await.ended_with(0);
    orderlog(&["health"], &data).await.ended_with(4);

    // Named by its URL, it is meant.
    let named = ["projection", "status", "inventory", "--json", "--server", &two.http.base];
    assert_eq!(orderlog(&named, &data).await.ended_with(0).json()["generation"], 1);
    assert!(two.stop().await);
}

/// A program at `port` that answers each request with what `answer` makes of its path.
async fn stranger(port: u16, answer: impl Fn(&str) -> String + Send + 'static) -> tokio::task::JoinHandle<()> {
    let listener = eventually("the port is free", async || TcpListener::bind(("127.0.0.1", port)).await.ok()).await;
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let n = connection.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..n]);
            let path = request.split(' ').nth(1).unwrap_or_default();
            drop(connection.write_all(answer(path).as_bytes()).await);
        }
    })
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_answers_there_without_being_orderlog_is_not_asked() {
    let (one, port) = killed().await;
    let (data, base) = (one.rows(), format!("http://127.0.0.1:{port}"));
    let running = Embedded::start().await;
    let ready = format!("location: {}/readyz\r\n", running.http().base);
    for answer in [
        response("200 OK", "content-type: text/html\r\n", "<h1>It works</h1>"),
        response("200 OK", "content-type: application/json\r\n", r#"{"ready":true}"#),
        response("302 Found", &ready, ""),
    ] {
        let stranger = stranger(port, move |_| answer.clone()).await;
        let status = orderlog(&["projection", "status", "inventory", "--json"], &data).await.ended_with(0).json();
        assert!(status["position"].as_u64() > Some(1), "{status}");
        orderlog(&["health"], &data).await.ended_with(4);
        for url in [base.clone(), format!("{base}/readyz"), format!("{base}/")] {
            let said = orderlog_anywhere(&["health", "--url", &url]).await.ended_with(1);
            assert!(said.stdout.is_empty() && said.stderr.contains("something else than orderlog"), "{said:?}");
        }
        let said = orderlog(&["projection", "status", "--server", &base], &data).await;
        assert!([1, 5].contains(&said.code) && said.stdout.is_empty(), "{said:?}");
        stranger.abort();
    }
}

#[tokio::test]
async fn a_port_that_changes_hands_between_two_requests_is_noticed() {
    let (one, port) = killed().await;
    let data = one.rows();
    let server: Value = serde_json::from_slice(&std::fs::read(data.join("server.json")).unwrap()).unwrap();
    let instance = format!("orderlog-instance: {}\r\n", server["instance"].as_str().unwrap());
    let answer = move |path: &str| match path {
        "/livez" => response("200 OK", &instance, r#"{"alive":true}"#),
        _ => response("200 OK", "content-type: application/json\r\n", "[]"),
    };
    let stranger = stranger(port, answer).await;
    let export = one.data.path().join("export");
    for args in [&["log", "export", export.to_str().unwrap()][..], &["parked", "list"], &["projection", "rebuild"]] {
        let said = orderlog(args, &data).await.ended_with(4);
        assert!(said.stderr.contains("something else answers"), "{args:?}: {said:?}");
    }
    assert!(!export.join("manifest.json").exists());
    stranger.abort();
}

#[tokio::test]
async fn health_takes_only_the_readiness_of_a_running_server() {
    let mut deployment = Embedded::start().await;
    let (data, base) = (deployment.rows(), deployment.http().base);
    let said = orderlog(&["health"], &data).await.ended_with(0);
    assert_eq!(said.json()["ready"], true);
    for (path, code) in
        [("", 0), ("/", 0), ("/readyz", 0), ("/livez", 1), ("/docs", 1), ("/openapi.json", 1), ("/no", 1)]
    {
        orderlog_anywhere(&["health", "--url", &format!("{base}{path}")]).await.ended_with(code);
    }
    orderlog_anywhere(&["health", "--url", "127.0.0.1"]).await.ended_with(2);
    assert!(deployment.stop().await);
    let said = orderlog(&["health"], &data).await.ended_with(4);
    assert!(said.stderr.contains("no server runs on the data folder"), "{said:?}");
    orderlog(&["health"], &data.join("nowhere")).await.ended_with(4);
    orderlog_anywhere(&["health", "--url", &base]).await.ended_with(1);
}
