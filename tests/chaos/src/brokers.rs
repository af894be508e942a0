//! Three Apache Kafka brokers, each its own process, and each also one of three controllers.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use orderlog_tests::deployment::free_port;

use crate::signal::{Signal, send};

/// How many there are.
pub const N: usize = 3;
/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// The cluster; gone when dropped.
pub struct Brokers {
    folder: PathBuf,
    host: String,
    ports: [u16; N],
    processes: [Option<Child>; N],
}

/// A Java program of Kafka's, with the heap that a small broker needs.
fn java(class: &str) -> Result<Command> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate is in a folder of tests")?;
    let jars = tests.join(".cache/kafka");
    ensure!(jars.is_dir(), "no Kafka in {}: `tests/run` fetches it", jars.display());
    let mut java = Command::new("java");
    java.args(["-Xmx384m", "-Xms192m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true"]);
    java.arg(format!("-Dlog4j2.configurationFile={}", tests.join("kafka/log4j2.xml").display()));
    java.arg("-cp").arg(jars.join("*")).arg(class).stdin(Stdio::null());
    Ok(java)
}

impl Brokers {
    /// Start them, with their data below `folder`, reached at `host`.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start(folder: &Path, host: &str) -> Result<Self> {
        let ports = [(); N].map(|()| free_port());
        let controllers = [(); N].map(|()| free_port());
        let voters: Vec<_> = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        for at in 0..N {
            let home = folder.join(format!("broker-{at}"));
            fs::create_dir(&home)?;
            let (id, port, controller) = (at + 1, ports[at], controllers[at]);
            let config = format!(
                "process.roles=broker,controller\n\
                 node.id={id}\n\
                 listeners=PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://{host}:{port}\n\
                 controller.listener.names=CONTROLLER\n\
                 controller.quorum.voters={voters}\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 inter.broker.listener.name=PLAINTEXT\n\
                 log.dirs={data}\n\
                 auto.create.topics.enable=false\n\
                 default.replication.factor={N}\n\
                 min.insync.replicas=2\n\
                 offsets.topic.replication.factor={N}\n\
                 offsets.topic.num.partitions=4\n\
                 transaction.state.log.replication.factor={N}\n\
                 transaction.state.log.min.isr=2\n\
                 share.coordinator.state.topic.replication.factor={N}\n\
                 share.coordinator.state.topic.min.isr=2\n\
                 group.initial.rebalance.delay.ms=0\n\
                 group.min.session.timeout.ms=1000\n\
                 broker.session.timeout.ms=3000\n\
                 broker.heartbeat.interval.ms=500\n\
                 replica.lag.time.max.ms=4000\n\
                 num.network.threads=2\n\
                 num.io.threads=2\n\
                 log.cleaner.dedupe.buffer.size=8388608\n",
                voters = voters.join(","),
                data = home.join("data").display(),
            );
            fs::write(home.join("server.properties"), config)?;
            let format = java("kafka.tools.StorageTool")?
                .args(["format", "-t", "b3JkZXJsb2ctY2hhb3M9AA", "-c"])
                .arg(home.join("server.properties"))
                .output()?;
            ensure!(format.status.success(), "a broker's folder: {}", String::from_utf8_lossy(&format.stderr));
        }
        let mut brokers =
            Self { folder: folder.to_owned(), host: host.to_owned(), ports, processes: [const { None }; N] };
        (0..N).try_for_each(|at| brokers.begin(at))?;
        brokers.are_there()?;
        Ok(brokers)
    }

    /// `host:port` of all, separated by commas.
    pub fn addresses(&self) -> String {
        self.ports.map(|port| format!("{}:{port}", self.host)).join(",")
    }

    /// Start one again, and do not wait for it.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn begin(&mut self, at: usize) -> Result<()> {
        let home = self.folder.join(format!("broker-{at}"));
        let told: File = OpenOptions::new().create(true).append(true).open(home.join("broker.log"))?;
        let mut java = java("kafka.Kafka")?;
        java.arg(home.join("server.properties")).stdout(told.try_clone()?).stderr(told);
        self.processes[at] = Some(java.spawn().context("java")?);
        Ok(())
    }

    /// Send a signal to one.
    pub fn signal(&self, at: usize, signal: Signal) {
        if let Some(process) = &self.processes[at] {
            send(process.id(), signal);
        }
    }

    /// Wait until one has ended that was told to.
    pub fn reap(&mut self, at: usize) {
        if let Some(mut process) = self.processes[at].take() {
            drop(process.wait());
        }
    }

    /// Wait until all of them answer.
    ///
    /// # Errors
    /// If one does not.
    pub fn are_there(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for port in self.ports {
            let asks = || {
                let address = format!("{}:{port}", self.host);
                let asked = Command::new("kcat").args(["-L", "-b", &address, "-m", "1", "-X", "log_level=0"]).output();
                asked.is_ok_and(|it| it.status.success())
            };
            while !asks() {
                ensure!(Instant::now() < until, "the broker on port {port} does not answer");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(())
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
