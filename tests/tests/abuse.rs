//! Abuse: while others do what they must not, a caller who behaves is served as well as before, and memory stays below a cap.
//!
//! How the comparison holds on a machine that others use as well, and yet fails if service really gets worse:
//!
//! - the caller who behaves asks at an even, low rate from a thread of its own; what counts is the 99th percentile of a window of
//!   its requests, and of several windows the median: one hiccup of the machine spoils one window;
//! - each abuse is compared with calm windows right before and right after it, of which the worse counts;
//! - p99 may be twice that, but differences below [`FLOOR`] are noise: a process that really waits for an abuser does so for the
//!   hundreds of milliseconds that its limits are set to here, or for its whole queue;
//! - what is too slow is measured again, at most [`ATTEMPTS`] times: noise passes, a worse process fails each time.
//!
//! The abusers have a pace: they share two processors with the process and whoever measures it, and anything that uses up a
//! processor slows down all three, whatever the process does about it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]
#![expect(clippy::print_stdout, reason = "what was measured is worth reading in a log of the tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use orderlog_tests::{deployment::Embedded, http::Http, keys::key, raw::Raw};
use serde_json::json;
use tokio::task::JoinSet;

/// The most memory that the process may ever have had, with 5,000 idle connections and all the rest.
const MEMORY_MIB: u64 = 320;
/// A difference that small says nothing.
const FLOOR: Duration = Duration::from_millis(25);
/// How often an abuse is measured until service was good enough.
const ATTEMPTS: usize = 3;
/// How many windows there are, and how many requests in each.
const N_WINDOWS: usize = 5;
const N_REQUESTS: usize = 200;
/// How often the caller who behaves asks: 250 times a second, below the limit of 300.
const PACE: Duration = Duration::from_millis(4);
/// What a limit takes at most to cut off who is slow.
const PATIENCE: Duration = Duration::from_secs(10);
const N_IDLE: usize = 5_000;

const OPTIONS: [&str; 8] = [
    "--rate-limit",
    "300",
    "--body-timeout-ms",
    "1000",
    "--header-timeout-ms",
    "1000",
    "--log-filter",
    "info,access=off",
];

/// The caller who behaves: reads and writes in turn.
struct Good {
    http: Http,
    sku: &'static str,
}

impl Good {
    /// The 99th percentile of a window, the median of several.
    fn p99(&self) -> Duration {
        let mut windows: Vec<Duration> = std::thread::scope(|scope| {
            let measured = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                // A client of its own: connections belong to the runtime that made them.
                let http = self.http.anew();
                (0..N_WINDOWS).map(|_| runtime.block_on(self.window(&http))).collect()
            });
            measured.join().unwrap()
        });
        windows.sort();
        windows[N_WINDOWS / 2]
    }

    async fn window(&self, http: &Http) -> Duration {
        let mut took = Vec::with_capacity(N_REQUESTS);
        for i in 0..N_REQUESTS {
            let begun = Instant::now();
            if i % 4 == 0 {
                http.post(&format!("/stock/{}/receive", self.sku), json!({ "quantity": 1 })).await.expect(200);
            } else {
                http.get(&format!("/stock/{}", self.sku)).await.expect(200);
            }
            took.push(begun.elapsed());
            tokio::time::sleep(PACE.saturating_sub(begun.elapsed())).await;
        }
        took.sort();
        took[N_REQUESTS * 99 / 100]
    }
}

/// Whom abusers are after, and with what.
struct Target {
    http: Http,
    /// A key that opens what they ask for.
    key: String,
}

impl Target {
    fn head(&self, further: &str) -> String {
        let key = &self.key;
        format!(
            "POST /stock/beans/receive HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\n{further}\r\n\r\n"
        )
    }

    async fn raw(&self) -> Option<Raw> {
        Raw::to(&self.http.base).await.ok()
    }
}

/// Who misbehaves, until dropped; and how often they were put in their place.
struct Abusers {
    tasks: JoinSet<()>,
    refused: Arc<AtomicU64>,
}

impl Abusers {
    /// `n` who do this again and again, and say whether they were refused.
    fn who<F>(n: usize, target: &Arc<Target>, act: impl Fn(Arc<Target>) -> F + Copy + Send + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let (mut tasks, refused) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
        for _ in 0..n {
            let (target, refused) = (Arc::clone(target), Arc::clone(&refused));
            tasks.spawn(async move {
                loop {
                    if act(Arc::clone(&target)).await {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Self { tasks, refused }
    }

    fn n_refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A head that comes byte by byte and never ends.
async fn slow_head(target: Arc<Target>) -> bool {
    let Some(mut raw) = target.raw().await else { return false };
    for byte in target.head("X-Slow: ").bytes() {
        if raw.send([byte]).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// A body that comes byte by byte and never ends.
async fn slow_body(target: Arc<Target>) -> bool {
    let Some(mut raw) = target.raw().await else { return false };
    let sent = raw.send(target.head("Content-Length: 100000")).await;
    for _ in 0..5 {
        if sent.is_err() || raw.send(" ").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    raw.last(PATIENCE).await.is_some_and(|last| last.status == 408)
}

/// 1 GiB, declared or in pieces, sent until the process has enough of it.
async fn huge_body(target: Arc<Target>) -> bool {
    const PIECE: usize = 64 * 1024;
    let piece = format!("{PIECE:x}\r\n{}\r\n", " ".repeat(PIECE));
    for further in ["Content-Length: 1073741824", "Transfer-Encoding: chunked"] {
        let Some(mut raw) = target.raw().await else { return false };
        let mut sent = raw.send(target.head(further)).await;
        let mut n_bytes = 0;
        while sent.is_ok() && n_bytes < 1 << 30 {
            sent = raw.send(&piece).await;
            n_bytes += PIECE;
        }
        if sent.is_ok() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    true
}

/// As deep as a body can be.
async fn deep_json(target: Arc<Target>) -> bool {
    let Some(mut raw) = target.raw().await else { return false };
    let mut is_refused = true;
    for body in ["[".repeat(1 << 20), format!("{{\"quantity\":{}", "{\"a\":".repeat(200_000))] {
        drop(raw.send(target.head(&format!("Content-Length: {}", body.len())) + &body).await);
        is_refused &= raw.answer(PATIENCE).await.status == 400;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_refused
}

/// Keys that are none, each another one.
async fn wrong_keys(target: Arc<Target>) -> bool {
    static N: AtomicU64 = AtomicU64::new(0);
    let key = format!("olk_{:012x}_{}", N.fetch_add(1, Ordering::Relaxed), "0".repeat(61));
    asked_too_much(&target.http.with_key(&key), &[401, 429]).await
}

/// A key that is one, far beyond its rate.
async fn greedy_key(target: Arc<Target>) -> bool {
    asked_too_much(&target.http.with_key(&target.key), &[200, 429]).await
}

async fn asked_too_much(http: &Http, expected: &[u16]) -> bool {
    let status = http.get("/stock/beans").await.status.as_u16();
    assert!(expected.contains(&status), "{status}");
    tokio::time::sleep(Duration::from_millis(10)).await;
    status == 429
}

/// A connection that does nothing.
async fn idle(target: Arc<Target>) -> bool {
    let connection = target.raw().await;
    tokio::time::sleep(PATIENCE).await;
    connection.is_none()
}

/// The most memory that a process has had so far.
fn peak_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") / 1024
}

/// The process, and the caller who behaves.
struct Bench {
    good: Good,
    process: u32,
    /// What was measured last while nobody misbehaved.
    calm: Duration,
}

impl Bench {
    fn measured(&self) -> Duration {
        tokio::task::block_in_place(|| self.good.p99())
    }

    /// Measure during this and after it, until service was good enough; panic if it never was.
    async fn compare(&mut self, what: &str, abuse: impl Fn() -> Abusers) {
        let mut told = Vec::new();
        for _ in 0..ATTEMPTS {
            let mut abusers = abuse();
            // They have begun, and the first ones have come to their limits.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let during = self.measured();
            let n_refused = abusers.n_refused();
            assert!(
                abusers.tasks.try_join_next().is_none(),
                "{what}: an abuser was answered otherwise than it should be"
            );
            drop(abusers);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let after = self.measured();
            let calm = after.max(std::mem::replace(&mut self.calm, after));
            let peak = peak_mib(self.process);
            told.push(format!("{what}: p99 {during:.1?}, {calm:.1?} without; {n_refused} refused; {peak} MiB so far"));
            if during <= (2 * calm).max(calm + FLOOR) {
                println!("{}", told.join("\n"));
                assert!(n_refused > 0 || what == "idle connections", "{what}: nobody was refused");
                return;
            }
        }
        panic!("a caller who behaves has to wait for others: {told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_behaves_is_served_as_before_and_memory_stays_below_its_cap() {
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(8_192), maximum: Some(8_192) },
    )
    .unwrap();
    let mut deployment = Embedded::stopped();
    let data = deployment.rows();
    let scopes = ["stock:*"];
    let (good, greedy) = (key(&data, "good", &scopes, &[]).await, key(&data, "greedy", &scopes, &[]).await);
    deployment.options(&OPTIONS);
    let mut deployment = deployment.started().await;
    let process = deployment.server().id();
    let http = deployment.http().with_key(&good);
    http.post("/stock/beans/receive", json!({ "quantity": 1 })).await.expect(200);
    let good = Good { http, sku: "beans" };
    let target = Arc::new(Target { http: deployment.http(), key: greedy });
    let mut bench = Bench { good, process, calm: Duration::ZERO };
    // The first windows warm everything up.
    bench.measured();
    bench.calm = bench.measured();

    bench.compare("slow heads", || Abusers::who(200, &target, slow_head)).await;
    bench.compare("slow bodies", || Abusers::who(100, &target, slow_body)).await;
    bench.compare("bodies of 1 GiB", || Abusers::who(2, &target, huge_body)).await;
    bench.compare("deeply nested JSON", || Abusers::who(4, &target, deep_json)).await;
    bench.compare("wrong keys", || Abusers::who(10, &target, wrong_keys)).await;
    bench.compare("a greedy key", || Abusers::who(10, &target, greedy_key)).await;
    bench.compare("idle connections", || Abusers::who(N_IDLE, &target, idle)).await;
    let peak = peak_mib(process);
    assert!(peak <= MEMORY_MIB, "the process had {peak} MiB");
}
