//! Two instances of each service on three brokers and Redis: brokers, instances and Redis are killed and stopped, and the network of
//! half of the instances is cut.

#![expect(clippy::print_stdout, reason = "a program for developers prints what it finds")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use orderlog_eventlog::kafka::{KafkaConfig, KafkaLog};
use orderlog_tests::{
    PATIENCE,
    deployment::{SERVICES, Server, free_port},
};

use crate::{
    book::Book,
    brokers::{self, Brokers},
    client::SECRET,
    gather,
    network::Network,
    report::Report,
    signal::{Signal, send},
    workload::Load,
};

/// How many instances of each service there are. The second ones are in a network of their own.
const N_INSTANCES: usize = 2;
/// How many clients there are.
const N_CLIENTS: u64 = 8;
/// A group's member that is not heard of for longer is taken for dead.
const SESSION_MS: u64 = 6_000;
/// Everything is as it was, after a fault, within this time.
const RECOVERY: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A broker is killed, and started again.
    KillBroker,
    /// A broker is stopped in order, and started again.
    StopBroker,
    /// A broker stands still for longer than its session.
    PauseBroker,
    /// All brokers are killed at once.
    KillAllBrokers,
    /// An instance is killed.
    KillInstance,
    /// An instance stands still for longer than its group waits for it.
    PauseInstance,
    /// Redis is killed, and comes back empty.
    KillRedis,
    FlushRedis,
    /// The second instances reach neither brokers nor Redis nor each other's clients.
    CutNetwork,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::KillBroker,
        Self::StopBroker,
        Self::PauseBroker,
        Self::KillAllBrokers,
        Self::KillInstance,
        Self::PauseInstance,
        Self::KillRedis,
        Self::FlushRedis,
        Self::CutNetwork,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::KillBroker => "broker killed",
            Self::StopBroker => "broker stopped",
            Self::PauseBroker => "broker paused",
            Self::KillAllBrokers => "all brokers killed",
            Self::KillInstance => "instance killed",
            Self::PauseInstance => "instance paused",
            Self::KillRedis => "Redis killed",
            Self::FlushRedis => "Redis flushed",
            Self::CutNetwork => "network cut",
        }
    }
}

/// A Redis that keeps nothing.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start(port: u16, folder: &Path) -> Result<Self> {
        let port_text = port.to_string();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port_text,
                "--bind",
                "0.0.0.0",
                "--protected-mode",
                "no",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server")?;
        Ok(Self { port, process })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// One process of a service.
struct Instance {
    service: &'static str,
    host: String,
    port: u16,
    data: PathBuf,
    within: Vec<String>,
    server: Option<Server>,
}

struct Site {
    brokers: Brokers,
    redis: Redis,
    network: Network,
    instances: Vec<Instance>,
    folder: PathBuf,
    report: Report,
}

impl Site {
    async fn start(folder: &Path) -> Result<Self> {
        let network = Network::new()?;
        let brokers = Brokers::start(folder, &network.outside)?;
        let redis = Redis::start(free_port(), folder)?;
        let mut instances = Vec::new();
        for number in 0..N_INSTANCES {
            let (host, within) =
                if number == 0 { (&network.outside, Vec::new()) } else { (&network.inside, network.within()) };
            instances.extend(SERVICES.map(|service| Instance {
                service,
                host: host.clone(),
                port: free_port(),
                data: folder.join(format!("{service}-{number}")),
                within: within.clone(),
                server: None,
            }));
        }
        let mut site =
            Self { brokers, redis, network, instances, folder: folder.to_owned(), report: Report::default() };
        (0..site.instances.len()).for_each(|at| site.begin(at));
        site.recover().await?;
        Ok(site)
    }

    /// Where the log is, and under which secret values are keys.
    fn log(&self) -> Vec<String> {
        let log = format!("kafka://{}", self.brokers.addresses());
        ["--log", &log, "--hash-key", SECRET, "--kafka-replication", "3"].map(str::to_owned).to_vec()
    }

    fn redis_url(&self) -> String {
        format!("redis://{}:{}", self.network.outside, self.redis.port)
    }

    fn begin(&mut self, at: usize) {
        let mut args = vec![self.instances[at].service.to_owned()];
        args.extend(self.log());
        let redis = self.redis_url();
        let own = format!("http://{}:{}", self.instances[at].host, self.instances[at].port);
        args.extend(
            ["--redis", &redis, "--advertised-url", &own, "--rate-limit", "0", "--insecure", "--data"]
                .map(str::to_owned),
        );
        args.push(self.instances[at].data.display().to_string());
        // Those of the same network.
        for peer in self.instances.iter().filter(|peer| peer.host == self.instances[at].host) {
            args.extend([format!("--{}-url", peer.service), format!("http://{}:{}", peer.host, peer.port)]);
        }
        let instance = &mut self.instances[at];
        args.extend(["--listen".to_owned(), format!("{}:{}", instance.host, instance.port)]);
        let told = instance.data.with_extension("log");
        instance.server = Some(Server::begin_at(&instance.host, &args, instance.port, (&told, &instance.within), &[]));
    }

    /// Everything is there and answers.
    async fn recover(&mut self) -> Result<()> {
        self.brokers.are_there()?;
        for at in 0..self.instances.len() {
            let until = Instant::now() + RECOVERY;
            loop {
                match self.instances[at].server.as_mut() {
                    None => self.begin(at),
                    Some(server) => {
                        if server.has_ended() {
                            self.report.n_ended += 1;
                            self.begin(at);
                        } else if server.is_ready().await {
                            break;
                        }
                    }
                }
                let name = self.instances[at].data.display();
                ensure!(Instant::now() < until, "{name} does not become ready again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn inject(&mut self, fault: Fault, chance: &mut fastrand::Rng) -> Result<()> {
        let broker = chance.usize(..brokers::N);
        let at = chance.usize(..self.instances.len());
        let lasts = Duration::from_millis(chance.u64(500..4_000));
        match fault {
            Fault::KillBroker | Fault::StopBroker => {
                let signal = if fault == Fault::KillBroker { Signal::Kill } else { Signal::Term };
                self.brokers.signal(broker, signal);
                self.brokers.reap(broker);
                tokio::time::sleep(lasts).await;
                self.brokers.begin(broker)?;
            }
            Fault::PauseBroker => {
                self.brokers.signal(broker, Signal::Stop);
                tokio::time::sleep(lasts * 2).await;
                self.brokers.signal(broker, Signal::Cont);
            }
            Fault::KillAllBrokers => {
                (0..brokers::N).for_each(|at| self.brokers.signal(at, Signal::Kill));
                (0..brokers::N).for_each(|at| self.brokers.reap(at));
                tokio::time::sleep(lasts).await;
                (0..brokers::N).try_for_each(|at| self.brokers.begin(at))?;
            }
            Fault::KillInstance => {
                if let Some(mut server) = self.instances[at].server.take() {
                    server.kill();
                }
                tokio::time::sleep(lasts / 4).await;
                self.begin(at);
            }
            Fault::PauseInstance => {
                let process = self.instances[at].server.as_ref().map(Server::id).context("it runs")?;
                send(process, Signal::Stop);
                tokio::time::sleep(Duration::from_millis(SESSION_MS) + lasts).await;
                send(process, Signal::Cont);
            }
            Fault::KillRedis => {
                let port = self.redis.port;
                drop(self.redis.process.kill());
                drop(self.redis.process.wait());
                tokio::time::sleep(lasts / 4).await;
                self.redis = Redis::start(port, &self.folder)?;
            }
            Fault::FlushRedis => {
                let port = self.redis.port.to_string();
                let status = Command::new("redis-cli").args(["-p", &port, "flushall"]).output()?.status;
                ensure!(status.success(), "Redis can't be flushed");
            }
            Fault::CutNetwork => {
                self.network.cut()?;
                tokio::time::sleep(lasts * 3).await;
                self.network.mend()?;
            }
        }
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        for instance in &mut self.instances {
            if let Some(server) = instance.server.take() {
                ensure!(server.stop().await, "{} does not stop as it should", instance.data.display());
            }
        }
        Ok(())
    }

    /// What is still to be done may take a while; what can't be stays.
    async fn come_to_rest(&mut self, book: &Book) -> Result<()> {
        let log = KafkaLog::connect(KafkaConfig::new(self.brokers.addresses()))?;
        let until = Instant::now() + 2 * PATIENCE;
        loop {
            self.recover().await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.stop().await?;
            let mut found = Vec::new();
            for number in 0..N_INSTANCES {
                let rows = |service: &str| self.folder.join(format!("{service}-{number}")).into();
                let history = gather::history(log.as_ref(), rows, book.lines()).await?;
                self.report.count(&history);
                found.extend(orderlog_history::check(&history).iter().map(|it| format!("instances {number}: {it}")));
            }
            let rows = self.folder.join("notifications-0");
            found.extend(gather::inbox_differences(&self.redis_url(), &rows).await?);
            if found.is_empty() || Instant::now() > until {
                self.report.violations.extend(found);
                break;
            }
        }
        let log = self.log();
        self.instances.iter().try_for_each(|it| self.report.verify(it.service, &log, &it.data))
    }
}

/// So many faults of these kinds on one cluster, in turn, and what came of it.
///
/// # Errors
/// If the machine does not let it be done, or something does not recover.
pub async fn run(faults: &[Fault], n_faults: u64, seed: u64) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let mut site = Site::start(folder.path()).await?;
    let of = |service| {
        let instances = site.instances.iter().filter(|instance| instance.service == service);
        instances.filter_map(|instance| Some(instance.server.as_ref()?.http.anew())).collect::<Vec<_>>()
    };
    let load = Load::begin(SERVICES.map(|service| (service, of(service))), N_CLIENTS, seed);
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut turn = faults.iter().copied().cycle();
    while site.report.n_faults() < n_faults {
        let fault = turn.next().context("a kind of fault")?;
        load.is_under_way(&mut chance).await;
        let hits = load.book.n_in_flight() > 0;
        let began = Instant::now();
        site.inject(fault, &mut chance).await?;
        site.recover().await.with_context(|| format!("after: {}", fault.name()))?;
        println!("{}: all is well again after {:.1} s", fault.name(), began.elapsed().as_secs_f64());
        if hits {
            site.report.hit(fault.name());
        }
    }
    let book = load.end().await?;
    site.come_to_rest(&book).await?;
    let mut report = site.report;
    report.note(&book);
    Ok(report)
}
