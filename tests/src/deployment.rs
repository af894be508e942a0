//! Running servers: one process on the embedded log, or five on real Kafka and Redis.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use serde_json::Value;

use crate::{PATIENCE, eventually, http::Http};

pub const SERVICES: [&str; 5] = ["customers", "orders", "inventory", "billing", "notifications"];

/// The `orderlog` binary, built beside the tests.
///
/// # Panics
/// If it is not there.
pub fn binary() -> PathBuf {
    program("orderlog")
}

/// A binary of the workspace, built beside the tests.
///
/// # Panics
/// If it is not there.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it runs");
    // Tests run in target/<profile>/deps, other programs beside it.
    let folder = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a folder");
    let binary = folder.join(name);
    assert!(binary.exists(), "{} is not built: run `cargo build`, or the whole workspace's tests", binary.display());
    binary
}

/// Kafka's address, which `tests/run` provides.
///
/// # Panics
/// If there is none: tests on Kafka are never skipped.
pub fn kafka() -> String {
    std::env::var("KAFKA").expect("KAFKA must name a broker (host:port): run `tests/run`, which starts one")
}

/// Redis' address, which `tests/run` provides.
///
/// # Panics
/// If there is none: tests on Redis are never skipped.
pub fn redis() -> String {
    std::env::var("REDIS").expect("REDIS must name a server (redis://host:port): run `tests/run`, which starts one")
}

/// A port that nothing listens on. Below the ports that the system gives to clients, so that none takes it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 2_000) as u16 * 10;
    loop {
        let port = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed) % 2_000).max(10_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Asks a process to stop (SIGTERM), and waits until it has.
///
/// # Panics
/// If it can't be waited for.
pub async fn stopped(process: &mut Child) -> ExitStatus {
    drop(Command::new("kill").args(["-TERM", &process.id().to_string()]).status());
    let status = eventually("the server stops", || {
        let status = process.try_wait().expect("a child can be waited for");
        async move { status }
    });
    status.await
}

/// A running `orderlog` process; killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// To ask it.
    pub http: Http,
}

impl Server {
    /// Start `orderlog serve` with these arguments and wait until it is ready.
    pub async fn start(args: &[String], port: u16, log_file: &Path) -> Self {
        let server = Self::begin(args, port, log_file);
        server.ready().await;
        server
    }

    /// Start `orderlog serve` with these arguments.
    ///
    /// # Panics
    /// If the process can't be started.
    pub fn begin(args: &[String], port: u16, log_file: &Path) -> Self {
        Self::begin_at("127.0.0.1", args, port, (log_file, &[]), &[])
    }

    /// The same on another address, by another program (such as one that goes into a network first), with more environment.
    ///
    /// # Panics
    /// If the process can't be started.
    pub fn begin_at(
        host: &str,
        args: &[String],
        port: u16,
        (log_file, within): (&Path, &[String]),
        env: &[(String, String)],
    ) -> Self {
        let listen = vec!["--listen".to_owned(), format!("{host}:{port}")];
        let mut program = within.iter().map(Into::into).chain([binary().into_os_string()]);
        let mut command = Command::new(program.next().expect("the binary at least"));
        command
            .args(program)
            .arg("serve")
            .args(args)
            .args(if args.iter().any(|arg| arg == "--listen") { Vec::new() } else { listen })
            .envs(env.iter().map(|(name, value)| (name, value)));
        Self::spawn(command, format!("http://{host}:{port}"), log_file)
    }

    /// Start a server by this command, which serves at `base`.
    ///
    /// # Panics
    /// If the process can't be started.
    pub fn spawn(mut command: Command, base: String, log_file: &Path) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file).expect("a log file");
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        Self { process, http: Http::new(base) }
    }

    /// Wait until the server says that it is ready.
    pub async fn ready(&self) {
        eventually(&format!("{} becomes ready", self.http.base), async || self.is_ready().await.then_some(())).await;
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.send(reqwest::Method::GET, "/readyz", &[], None).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Ask it to stop, and wait until it has. Whether it stopped as it should.
    pub async fn stop(mut self) -> bool {
        stopped(&mut self.process).await.success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One process with all five services on the embedded log.
#[derive(Debug)]
pub struct Embedded {
    /// Its data folder.
    pub data: tempfile::TempDir,
    port: u16,
    server: Option<Server>,
    options: Vec<String>,
}

impl Embedded {
    /// Start one with an empty data folder.
    pub async fn start() -> Self {
        Self::stopped().started().await
    }

    /// Start one with an empty data folder and these options.
    pub async fn start_with(options: &[&str]) -> Self {
        let mut deployment = Self::stopped();
        deployment.options(options);
        deployment.started().await
    }

    /// Have these options when it is started the next time.
    pub fn options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
    }

    /// The same, running.
    pub async fn started(self) -> Self {
        let mut deployment = self;
        deployment.restart().await;
        deployment
    }

    /// One that is not started yet, without a data folder.
    ///
    /// # Panics
    /// If there is no place for a data folder.
    pub fn stopped() -> Self {
        let data = tempfile::tempdir().expect("a place for a data folder");
        Self { data, port: free_port(), server: None, options: Vec::new() }
    }

    /// Start the server again on the same data folder.
    pub async fn restart(&mut self) {
        drop(self.server.take());
        let log_file = self.data.path().join("server.log");
        self.server = Some(Server::start(&self.args(), self.port, &log_file).await);
    }

    fn args(&self) -> Vec<String> {
        let data = ["--data".to_owned(), self.data.path().join("data").display().to_string()];
        data.into_iter().chain(self.options.iter().cloned()).collect()
    }

    /// The running server.
    ///
    /// # Panics
    /// If it is not running.
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("the server is running")
    }

    /// To ask it.
    ///
    /// # Panics
    /// If it is not running.
    pub fn http(&self) -> Http {
        self.server.as_ref().expect("the server is running").http.clone()
    }

    /// Stop the server as an operator would; whether it stopped as it should.
    pub async fn stop(&mut self) -> bool {
        match self.server.take() {
            Some(server) => server.stop().await,
            None => true,
        }
    }

    /// What the server has told so far.
    ///
    /// # Panics
    /// If it can't be read.
    pub fn told(&self) -> String {
        std::fs::read_to_string(self.data.path().join("server.log")).expect("the server's log can be read")
    }

    /// A service's rows.
    pub fn rows(&self) -> PathBuf {
        self.data.path().join("data")
    }
}

/// Five processes, one per service, on real Kafka and Redis.
#[derive(Debug)]
pub struct Distributed {
    /// Their data folders and logs.
    pub data: tempfile::TempDir,
    /// What the topics of this test are called before their names.
    pub topic_prefix: String,
    options: Vec<String>,
    ports: [u16; 5],
    servers: [Option<Server>; 5],
}

impl Distributed {
    /// Start five processes on topics of their own.
    ///
    /// # Panics
    /// If there is no place for data folders.
    pub async fn start() -> Self {
        Self::start_with_prefix(format!("t{}.", uuid::Uuid::new_v4().simple())).await
    }

    /// Start five processes on topics whose names begin so. At most one test may use the bare names.
    ///
    /// # Panics
    /// If there is no place for data folders.
    pub async fn start_with_prefix(topic_prefix: String) -> Self {
        Self::start_as(topic_prefix, &[]).await
    }

    /// Start five processes on topics of their own, with more options.
    ///
    /// # Panics
    /// If there is no place for data folders.
    pub async fn start_with(options: &[&str]) -> Self {
        Self::start_as(format!("t{}.", uuid::Uuid::new_v4().simple()), options).await
    }

    /// Start five processes on topics whose names begin so, with more options.
    ///
    /// # Panics
    /// If there is no place for data folders.
    pub async fn start_as(topic_prefix: String, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let data = tempfile::tempdir().expect("a place for data folders");
        let mut deployment =
            Self { data, topic_prefix, options, ports: SERVICES.map(|_| free_port()), servers: [const { None }; 5] };
        for service in SERVICES {
            deployment.begin(service);
        }
        for server in deployment.servers.iter().flatten() {
            server.ready().await;
        }
        deployment
    }

    fn index(service: &str) -> usize {
        SERVICES.iter().position(|name| *name == service).expect("one of the five services")
    }

    fn begin(&mut self, service: &str) {
        let i = Self::index(service);
        let rows = self.rows(service);
        let mut args = vec![service.to_owned(), "--log".to_owned(), format!("kafka://{}", kafka())];
        if !self.options.iter().any(|option| option == "--hash-key") {
            args.push("--development-hash-key".to_owned());
        }
        let options = [
            ("--redis", redis()),
            ("--topic-prefix", self.topic_prefix.clone()),
            ("--data", rows.display().to_string()),
        ];
        args.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        for (peer, port) in SERVICES.iter().zip(self.ports) {
            args.extend([format!("--{peer}-url"), format!("http://127.0.0.1:{port}")]);
        }
        args.extend(self.options.iter().cloned());
        let log_file = self.data.path().join(format!("{service}.log"));
        self.servers[i] = Some(Server::begin(&args, self.ports[i], &log_file));
    }

    /// A service's data folder.
    pub fn rows(&self, service: &str) -> PathBuf {
        self.data.path().join(service)
    }

    /// Stop a service as an operator would.
    pub async fn stop(&mut self, service: &str) {
        if let Some(server) = self.servers[Self::index(service)].take() {
            server.stop().await;
        }
    }

    /// Start a service again on the same data folder.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn restart(&mut self, service: &str) {
        self.stop(service).await;
        self.begin(service);
        self.servers[Self::index(service)].as_ref().expect("just started").ready().await;
    }

    /// To ask one service.
    ///
    /// # Panics
    /// If it is not running.
    pub fn http(&self, service: &str) -> Http {
        self.servers[Self::index(service)].as_ref().expect("the service is running").http.clone()
    }
}

/// What the program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its data.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
}

impl Said {
    /// The same, which ended with this code.
    ///
    /// # Panics
    /// If it ended with another.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Its data as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its data as a list: a JSON object on each line.
    ///
    /// # Panics
    /// If it is none.
    pub fn json_lines(&self) -> Vec<Value> {
        let object = |line| serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
        self.stdout.lines().map(|line| object(line).unwrap_or_else(|| panic!("no object: {line}"))).collect()
    }
}

/// Runs the program on a data folder.
///
/// # Panics
/// If it can't be run, or does not end in twice the usual patience.
pub async fn orderlog(args: &[&str], data: &Path) -> Said {
    let data = data.to_str().expect("a folder with a plain name");
    orderlog_anywhere(&[args, &["--data", data]].concat()).await
}

/// Runs the program on a data folder, where `read_only`, a file or folder, is mounted for reading only. Root ignores permissions, but
/// not this.
///
/// # Panics
/// If it can't be run, or does not end in twice the usual patience.
pub async fn orderlog_with_read_only(read_only: &Path, args: &[&str], data: &Path) -> Said {
    let mount = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount]).arg(read_only).arg(binary()).args(args).arg("--data").arg(data);
    command.env_remove("ORDERLOG_DATA");
    said(command, args).await
}

/// Runs the program without a data folder.
///
/// # Panics
/// If it can't be run, or does not end in twice the usual patience.
pub async fn orderlog_anywhere(args: &[&str]) -> Said {
    orderlog_with(&[], args).await
}

/// Runs the program with these environment variables.
///
/// # Panics
/// If it can't be run, or does not end in twice the usual patience.
pub async fn orderlog_with(variables: &[(&str, &str)], args: &[&str]) -> Said {
    let mut command = tokio::process::Command::new(binary());
    command.args(args).env_remove("ORDERLOG_DATA").envs(variables.iter().copied());
    said(command, args).await
}

/// Runs another program of the workspace.
///
/// # Panics
/// If it can't be run, or does not end in twice the usual patience.
pub async fn run(name: &str, args: &[&str]) -> Said {
    let mut command = tokio::process::Command::new(program(name));
    command.args(args);
    said(command, args).await
}

async fn said(mut command: tokio::process::Command, args: &[&str]) -> Said {
    command.kill_on_drop(true);
    let output = tokio::time::timeout(2 * PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} does not end")).expect("the binary starts");
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
