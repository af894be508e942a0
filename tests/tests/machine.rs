//! On a machine that others use too, and behind a proxy: who reads the files, and whom a server without keys believes.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use orderlog_tests::{
    deployment::{Embedded, Server, free_port, orderlog},
    http::Http,
    keys::key,
    raw::{Last, Raw},
};
use reqwest::Method;
use serde_json::json;

/// Everything in the folder and the folder itself that others than its owner may do something with.
fn open_to_others(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(open_to_others(&path)) } else { all.push(path) }
    }
    // The mode of a link means nothing: that of its target counts.
    all.retain(|path| !path.is_symlink() && fs::metadata(path).expect("it is there").mode() & 0o077 != 0);
    all
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[tokio::test]
async fn nobody_else_on_the_machine_reads_names_and_addresses() {
    // Whatever the umask of whoever starts it is, and so that of the tests.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut deployment = Embedded::start().await;
    let data = deployment.rows();
    deployment.http().post("/customers", json!({ "name": "Ada", "email": "ada@example.com" })).await.expect(201);
    orderlog(&["projection", "snapshot"], &data).await.ended_with(0);
    key(&data, "shop", &["*"], &[]).await;
    let export = deployment.data.path().join("of/export");
    orderlog(&["log", "export", export.to_str().expect("a plain name")], &data).await.ended_with(0);
    assert!(data.join("snapshots").is_dir() && data.join("server.json").exists());
    assert_eq!(open_to_others(&data), [] as [PathBuf; 0]);
    assert_eq!(open_to_others(&deployment.data.path().join("of")), [] as [PathBuf; 0]);

    // As an earlier version left them.
    assert!(deployment.stop().await);
    for path in [&data, &data.join("snapshots")] {
        chmod(path, 0o755);
    }
    for entry in fs::read_dir(&data).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            chmod(&path, 0o644);
        }
    }
    deployment.restart().await;
    assert_eq!(open_to_others(&data), [] as [PathBuf; 0]);
}

/// A request with these headers.
async fn asked(http: &Http, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = http.send(Method::GET, path, headers, None).await.expect("an answer");
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn behind_a_proxy_nobody_is_the_operator_without_a_key() {
    let deployment = Embedded::start_with(&["--allowed-host", "shop.example"]).await;
    let (http, data) = (deployment.http(), deployment.rows());
    assert_eq!(asked(&http, "/stock", &[]).await, is(200, ""));
    assert_eq!(asked(&http, "/admin/projections", &[("host", "shop.example")]).await, is(200, ""));
    for name in ["X-Forwarded-For", "Forwarded", "x-forwarded-host", "X-Forwarded-Proto", "X-Real-IP"] {
        for path in ["/stock", "/admin/projections", "/metrics"] {
            assert_eq!(asked(&http, path, &[(name, "127.0.0.1")]).await, is(401, "unauthenticated"), "{name} {path}");
        }
        assert_eq!(asked(&http, "/readyz", &[(name, "127.0.0.1")]).await, is(200, ""), "{name}");
    }
    for (headers, told) in [
        (&[("host", "elsewhere.example")][..], is(403, "foreign_host")),
        (&[("host", "localhost.elsewhere.example")], is(403, "foreign_host")),
        (&[("host", "Shop.Example.:443"), ("origin", "https://shop.example")], is(200, "")),
        (&[("origin", "null")], is(403, "foreign_origin")),
        (&[("origin", "https://elsewhere.example")], is(403, "foreign_origin")),
    ] {
        assert_eq!(asked(&http, "/stock", headers).await, told, "{headers:?}");
    }

    // With keys any name will do, but not any page, and a proxy's caller needs one as everybody does.
    let shop = http.with_key(&key(&data, "shop", &["stock:read"], &[]).await);
    orderlog_tests::eventually("the server is closed", async || {
        (asked(&http, "/stock", &[]).await == is(401, "unauthenticated")).then_some(())
    })
    .await;
    let forwarded = ("x-forwarded-for", "192.0.2.1");
    assert_eq!(asked(&shop, "/stock", &[("host", "elsewhere.example"), forwarded]).await, is(200, ""));
    assert_eq!(asked(&shop, "/stock", &[("origin", "https://elsewhere.example")]).await, is(403, "foreign_origin"));
    assert_eq!(asked(&shop, "/stock", &[("origin", "https://shop.example")]).await, is(200, ""));
    // A key that opens nothing is no reason to doubt that the process is well.
    let wrong = http.with_key("olk_000000000000_0");
    for path in ["/livez", "/readyz", "/openapi.json", "/docs", "/problems"] {
        assert_eq!(asked(&wrong, path, &[]).await.0, 200, "{path}");
    }
    for path in ["/stock", "/metrics", "/admin/projections"] {
        assert_eq!(asked(&wrong, path, &[]).await, is(401, "invalid_token"), "{path}");
    }
}

#[tokio::test]
async fn an_insecure_server_makes_nobody_the_operator_and_knows_its_peers_by_name() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let (rows, port) = (data.path().join("data"), free_port());
    let listen = format!("0.0.0.0:{port}");
    let options =
        ["--insecure", "--listen", &listen, "--orders-url", "http://orders:8080", "--advertised-url", "http://me:1"];
    let args = options.iter().map(|it| (*it).to_owned()).chain(["--data".to_owned(), rows.display().to_string()]);
    let server = Server::start(&args.collect::<Vec<_>>(), port, &data.path().join("server.log")).await;
    let http = &server.http;
    for path in ["/admin/projections", "/metrics", "/admin/log/orders/0"] {
        assert_eq!(asked(http, path, &[]).await, is(403, "insufficient_scope"), "{path}");
    }
    for (host, told) in [
        ("orders:8080", is(200, "")),
        ("me", is(200, "")),
        ("192.0.2.1:8080", is(200, "")),
        ("billing:8080", is(403, "foreign_host")),
        ("elsewhere.example", is(403, "foreign_host")),
    ] {
        assert_eq!(asked(http, "/stock", &[("host", host)]).await, told, "{host}");
    }
    assert_eq!(asked(http, "/stock", &[("origin", "https://elsewhere.example")]).await, is(403, "foreign_origin"));
    assert_eq!(asked(http, "/stock", &[("x-forwarded-for", "192.0.2.1")]).await, is(200, ""));
    // Whoever may read its data folder has the key of the process.
    orderlog(&["projection", "status"], &rows).await.ended_with(0);
}

#[tokio::test]
async fn a_head_is_within_its_bounds_and_names_one_host() {
    let deployment = Embedded::start().await;
    let http = deployment.http();
    let answer = async |head: String| -> Last {
        let mut raw = Raw::to(&http.base).await.expect("a connection");
        raw.send(head).await.expect("sent");
        raw.answer(orderlog_tests::PATIENCE).await
    };
    let first = "GET /livez HTTP/1.1\r\n";
    let rest = 64 * 1024 - first.len() - "Host: localhost\r\nX-A: \r\n\r\n".len();
    let large = |n| format!("{first}Host: localhost\r\nX-A: {}\r\n\r\n", "a".repeat(n));
    assert_eq!(answer(large(rest)).await.status, 200);
    for beyond in [1, 1_000, 30_000, 60_000] {
        let refused = answer(large(rest + beyond)).await;
        assert_eq!(refused.status, 431, "{beyond} bytes beyond");
    }
    let many = |n: usize| {
        let others: String = (1..n).map(|i| format!("X-{i}: a\r\n")).collect();
        format!("{first}Host: localhost\r\n{others}\r\n")
    };
    assert_eq!([answer(many(100)).await.status, answer(many(101)).await.status], [200, 431]);

    for (hosts, status) in [
        ("", 400),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
        ("Host: localhost\r\nhost: elsewhere.example\r\n", 400),
        ("Host:\r\n", 403),
        ("Host: localhost\r\n", 200),
    ] {
        assert_eq!(answer(format!("{first}{hosts}\r\n")).await.status, status, "{hosts:?}");
    }
    assert_eq!(answer("GET /livez HTTP/1.0\r\n\r\n".to_owned()).await.status, 200);
    let absolute = |target: &str, host: &str| format!("GET http://{target}/livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(answer(absolute("localhost", "localhost")).await.status, 200);
    assert_eq!(answer(absolute("elsewhere.example", "localhost")).await.status, 403);
    assert_eq!(answer(absolute("localhost", "elsewhere.example")).await.status, 403);
}
