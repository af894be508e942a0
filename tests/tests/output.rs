//! What the program prints for people never stops it: nobody reads it, the disk is full, the reader has stalled.

use std::{
    fs::File,
    io::{PipeReader, pipe},
    process::{Child, Command, Stdio},
};

use orderlog_tests::{
    PATIENCE,
    deployment::{Embedded, Server, binary, free_port, kafka, orderlog, stopped},
    eventually,
    http::Http,
};
use serde_json::json;

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("Linux has it").into()
}

/// A pipe whose reader is gone.
fn unread() -> Stdio {
    pipe().expect("a pipe").1.into()
}

/// Serves with outputs of the test's choice.
struct Serving {
    process: Child,
    http: Http,
    _data: tempfile::TempDir,
}

impl Serving {
    async fn start(options: &[&str], stdout: Stdio, stderr: Stdio) -> Self {
        let (data, port) = (tempfile::tempdir().expect("a place for a data folder"), free_port());
        let http = Http::new(format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(binary());
        command.arg("serve").args(options).arg("--data").arg(data.path().join("data"));
        let process = command.args(["--listen", &format!("127.0.0.1:{port}")]).stdout(stdout).stderr(stderr).spawn();
        let serving = Self { process: process.expect("the binary starts"), http, _data: data };
        eventually("it is ready", async || {
            let answer = serving.http.send(reqwest::Method::GET, "/readyz", &[], None).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await;
        serving
    }

    /// How many lines could not be written.
    async fn n_dropped(&self, output: &str) -> u64 {
        let answer = reqwest::get(format!("{}/metrics", self.http.base)).await.expect("an answer");
        let text = answer.text().await.expect("text");
        let name = format!("orderlog_output_lines_dropped_total{{output=\"{output}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name)).expect("the metric is there");
        value.parse().expect("a number")
    }

    async fn serves(&self) {
        self.http.post("/stock/beans/receive", json!({ "quantity": 1 })).await.expect(200);
        self.http.get("/livez").await.expect(200);
    }

    /// SIGTERM, and how it ended.
    async fn stop(mut self) -> Option<i32> {
        stopped(&mut self.process).await.code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[tokio::test]
async fn a_server_goes_on_when_nobody_can_read_what_it_prints() {
    for (stdout, stderr, format) in [(unread(), unread(), "json"), (full(), full(), "text")] {
        let server = Serving::start(&["--demo", "--log-format", format], stdout, stderr).await;
        server.serves().await;
        eventually("every request has a line that is dropped", async || {
            (server.n_dropped("stderr").await > 0).then_some(())
        })
        .await;
        eventually("the demo plays to its end", async || {
            let cancelled = server.http.get("/orders?state=cancelled").await.expect(200);
            (cancelled["items"][0]["payment"] == "refunded").then_some(())
        })
        .await;
        assert!(server.n_dropped("stdout").await > 7, "banner and story");
        server.serves().await;
        assert_eq!(server.stop().await, Some(0));
    }
}

/// A pipe that nobody reads, though somebody could.
fn stalled() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().expect("a pipe");
    (reader, writer.into())
}

#[tokio::test]
async fn a_server_does_not_wait_for_a_reader_that_has_stalled() {
    let ((_stdout, stdout), (_stderr, stderr)) = (stalled(), stalled());
    let server = Serving::start(&["--log-filter", "trace"], stdout, stderr).await;
    eventually("lines are dropped", async || {
        for _ in 0..20 {
            server.serves().await;
        }
        (server.n_dropped("stderr").await > 0).then_some(())
    })
    .await;
    server.http.get("/readyz").await.expect(200);
    assert_eq!(server.stop().await, Some(0), "nor at its end");
}

#[tokio::test]
async fn what_is_read_is_complete_to_the_last_line() {
    let (mut reader, writer) = pipe().expect("a pipe");
    let server = Serving::start(&["--log-filter", "debug"], Stdio::null(), writer.into()).await;
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut reader));
    server.serves().await;
    assert_eq!(server.n_dropped("stderr").await, 0);
    assert_eq!(server.stop().await, Some(0));
    let log = reading.join().expect("it is read").expect("text");
    assert!(log.contains("POST /stock/{sku}/receive 200"), "{log}");
    assert!(log.trim_end().ends_with("stopped"), "{log}");
}

/// Runs the program; its exit code, and what it wrote on stderr if that can be read.
async fn ended(args: &[&str], data: &str, stdout: Stdio, stderr: Stdio) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(binary());
    command.args(args).env("ORDERLOG_DATA", data).stdout(stdout).stderr(stderr).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.spawn().expect("the binary starts").wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} does not end")).expect("it ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_command_ends_with_its_exit_code_whether_or_not_it_is_read() {
    let mut deployment = Embedded::start().await;
    let customer = json!({ "name": "Ada", "email": "ada@example.com" });
    deployment.http().post("/customers", customer).await.expect(201);
    assert!(deployment.stop().await);
    let rows = deployment.rows();
    let (data, export) = (rows.to_str().expect("a plain name"), deployment.data.path().join("export"));
    let export = export.to_str().expect("a plain name");
    orderlog(&["log", "export", export], &rows).await.ended_with(0);
    orderlog(&["key", "create", "--name", "shop", "--scope", "*"], &rows).await.ended_with(0);
    for args in [
        &["--help"][..],
        &["--version"],
        &["log", "replay", "--help"],
        &["openapi", "orders"],
        &["asyncapi"],
        &["key", "list"],
        &["log", "replay", "customers", "--json"],
        &["log", "lint"],
        &["log", "check", export],
        &["projection", "status", "orders"],
    ] {
        let (code, stderr) = ended(args, data, unread(), Stdio::piped()).await;
        assert!(code == Some(0) && !stderr.contains("error"), "{args:?} | head: {code:?} {stderr}");
        let (code, _) = ended(args, data, Stdio::null(), unread()).await;
        assert_eq!(code, Some(0), "{args:?} 2> a pipe without a reader");
        let (code, stderr) = ended(args, data, full(), Stdio::piped()).await;
        assert!(
            code == Some(1) && stderr.contains("stdout can't be written"),
            "{args:?} > /dev/full: {code:?} {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    // The answer is the exit code: what is printed is for people.
    let nowhere = format!("http://127.0.0.1:{}/readyz", free_port());
    for (args, code) in [
        (&["health", "--url", &nowhere][..], 1),
        (&["serve", "--no-such-option"], 2),
        (&["parked", "show", "orders", "7"], 5),
        (&["log", "export", export], 5),
    ] {
        for (stdout, stderr) in [(unread(), unread()), (full(), full())] {
            assert_eq!(ended(args, data, stdout, stderr).await.0, Some(code), "{args:?}");
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_printed_is_not_made() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let create = ["key", "create", "--name", "shop", "--scope", "*"];
    let folder = data.path().to_str().expect("a plain name");
    for (stdout, code) in [(full(), 1), (unread(), 1), (Stdio::null(), 5)] {
        let (ended_with, stderr) = ended(&create, folder, stdout, Stdio::piped()).await;
        assert!(ended_with == Some(code) && stderr.contains("key"), "{ended_with:?} {stderr}");
    }
    // Closed from the start.
    let mut closed = Command::new("bash");
    closed.args(["-c", "exec \"$@\" >&- 2>&-", "bash"]).arg(binary()).args(create).args(["--data", folder]);
    assert_eq!(closed.status().expect("it ends").code(), Some(5));
    assert!(!data.path().join("keys.json").exists(), "a server without keys still has none");
    orderlog(&create, data.path()).await.ended_with(0);
}

#[tokio::test]
async fn a_start_prints_the_banner_and_at_most_five_log_lines() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
    let brokers = format!("kafka://{}", kafka());
    let on_kafka = ["--log", &brokers, "--topic-prefix", &prefix, "--development-hash-key"];
    for (name, options) in [("embedded", &[][..]), ("kafka", &on_kafka)] {
        let (folder, log) = (data.path().join(name), data.path().join(format!("{name}.log")));
        let folder = folder.to_str().expect("a plain name");
        let args: Vec<String> = ["--data", folder].iter().chain(options).map(|arg| (*arg).to_owned()).collect();
        let server = Server::start(&args, free_port(), &log).await;
        let text = eventually("the banner and the log", async || {
            let text = std::fs::read_to_string(&log).ok()?;
            (text.contains("is listening at") && text.contains("started at")).then_some(text)
        })
        .await;
        let lines: Vec<_> = text.lines().filter(|line| line.contains(" INFO ") || line.contains(" WARN ")).collect();
        assert!((1..=5).contains(&lines.len()), "{name}: {lines:#?}");
        drop(server);
    }
}

#[tokio::test]
async fn what_prevents_a_start_is_one_line_with_the_next_step() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    let nobody = format!("127.0.0.1:{}", free_port());
    let brokers = format!("kafka://{nobody}");
    let on_kafka = ["--log", &brokers, "--development-hash-key"];
    let elsewhere = ["serve", "--listen", "127.0.0.1:0"];
    for (args, parts) in [
        (vec!["serve", "--listen", &taken], [&*taken, "another program listens there", "--listen"]),
        ([&elsewhere[..], &on_kafka].concat(), [&*nobody, "Connection refused", "--log"]),
        ([&["log", "lint"], &on_kafka[..]].concat(), [&*nobody, "Connection refused", "--log"]),
    ] {
        let said = orderlog(&args, data.path()).await.ended_with(4);
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{parts:?}: {said:?}");
    }
}

#[tokio::test]
async fn commands_say_what_comes_next() {
    let data = tempfile::tempdir().expect("a place for a data folder");
    let create = ["key", "create", "--name", "shop", "--scope", "*"];
    let first = orderlog(&create, data.path()).await.ended_with(0).stderr;
    assert!(first.contains("from now on the server asks every caller"), "{first}");
    let second = orderlog(&create, data.path()).await.ended_with(0).stderr;
    assert!(!second.contains("from now on"), "{second}");
    let quiet = orderlog(&[&create[..], &["-q"]].concat(), data.path()).await.ended_with(0);
    assert_eq!((quiet.stderr.as_str(), quiet.stdout.lines().count()), ("", 1));

    let folder = data.path().to_str().expect("a plain name").to_owned();
    let log = data.path().join("server.log");
    let server = Server::start(&["orders".to_owned(), "--data".to_owned(), folder], free_port(), &log).await;
    let verified = orderlog(&["projection", "verify", "all"], data.path()).await.ended_with(5);
    let told = format!("{}{}", verified.stdout, verified.stderr);
    assert!(told.contains("not looked at: customers, inventory, billing, notifications"), "{told}");
    assert!(told.contains("--server"), "{told}");
    drop(server);
}
