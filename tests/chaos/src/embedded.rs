//! One process on the embedded log: killed, out of space on its disk, or on a disk that does not keep what it is told to keep.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use orderlog_eventlog::{EventLog, embedded::EmbeddedLog};
use orderlog_tests::{
    PATIENCE,
    deployment::{SERVICES, Server, free_port},
};

use crate::{book::Book, client::SECRET, gather, report::Report, workload::Load};

/// How many clients there are.
const N_CLIENTS: u64 = 12;
/// How long a full disk or a failing sync lasts, at most.
const LASTS_MS: u64 = 400;
/// How long a process that was not killed may take to be of use again.
const RECOVERY: Duration = Duration::from_secs(15);
/// The size of the small disk, in MiB.
const DISK_MIB: u32 = 384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`.
    Kill,
    /// The disk is full, on a small one in memory, and now and then `kill -9` comes on top.
    FullDisk,
    /// `fsync` and `fdatasync` fail, and now and then `kill -9` comes on top.
    FailingSync,
}

/// A disk of its own, in memory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Self> {
        let size = format!("size={DISK_MIB}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "orderlog-chaos"]).arg(at).status()?;
        ensure!(status.success(), "a disk in memory can't be mounted at {}: only root may", at.display());
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// Where the server runs.
struct Site {
    data: PathBuf,
    port: u16,
    env: Vec<(String, String)>,
    server: Option<Server>,
    report: Report,
}

impl Site {
    fn args(&self) -> Vec<String> {
        let limits = ["--rate-limit", "0"];
        let data = self.data.display().to_string();
        ["--data", data.as_str(), "--hash-key", SECRET].into_iter().chain(limits).map(str::to_owned).collect()
    }

    async fn start(&mut self) {
        drop(self.server.take());
        let told = self.data.with_extension("log");
        let server = Server::begin_at("127.0.0.1", &self.args(), self.port, (&told, &[]), &self.env);
        server.ready().await;
        self.server = Some(server);
    }

    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// It is there and answers; if it ended by itself, or does not recover, it is started again.
    async fn recover(&mut self) {
        let until = Instant::now() + RECOVERY;
        while let Some(server) = self.server.as_mut().filter(|_| Instant::now() < until) {
            if server.has_ended() {
                break;
            }
            if server.is_ready().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if self.server.is_some() {
            self.report.n_ended += 1;
        }
        self.start().await;
    }

    async fn stop(&mut self) -> bool {
        match self.server.take() {
            Some(server) => server.stop().await,
            None => true,
        }
    }
}

/// A number of faults on one data folder, and what came of it.
///
/// # Errors
/// If the machine does not let it be done.
pub async fn round(fault: Fault, n_faults: u64, seed: u64) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    fs::create_dir(&data)?;
    let disk = if fault == Fault::FullDisk { Some(Disk::mount(&data)?) } else { None };
    let flag = folder.path().join("sync-fails");
    let env = if fault == Fault::FailingSync { failing_sync(folder.path(), &flag)? } else { Vec::new() };
    let mut site = Site { data, port: free_port(), env, server: None, report: Report::default() };
    site.start().await;

    let http = site.server.as_ref().context("just started")?.http.clone();
    let load = Load::begin(SERVICES.map(|service| (service, vec![http.anew()])), N_CLIENTS, seed);
    let mut chance = fastrand::Rng::with_seed(seed);
    while site.report.n_faults() < n_faults {
        load.is_under_way(&mut chance).await;
        match fault {
            Fault::Kill => kill(&mut site, &load.book),
            Fault::FullDisk => full_disk(&mut site, &load.book, &mut chance).await?,
            Fault::FailingSync => failing(&mut site, &flag, &mut chance).await?,
        }
        site.recover().await;
    }
    let book = load.end().await?;
    come_to_rest(&mut site, &book).await?;
    let mut report = site.report;
    report.note(&book);
    drop(disk);
    Ok(report)
}

fn kill(site: &mut Site, book: &Book) {
    let hits = book.n_in_flight() > 0;
    site.kill();
    if hits {
        site.report.hit("kill -9");
    }
}

/// What clients were not told for certain so far.
fn n_uncertain(book: &Book) -> u64 {
    let counts = book.counts();
    ["unknown", "not done"].iter().filter_map(|what| counts.get(what)).sum()
}

async fn full_disk(site: &mut Site, book: &Book, chance: &mut fastrand::Rng) -> Result<()> {
    let (before, ballast) = (n_uncertain(book), site.data.join("ballast"));
    let mut file = File::create(&ballast)?;
    // Until there is no more room.
    for piece in [1 << 20, 1 << 16, 1 << 12] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
    tokio::time::sleep(Duration::from_millis(chance.u64(20..LASTS_MS))).await;
    let on_top = chance.u32(..4) == 0;
    if on_top {
        site.kill();
    }
    drop(file);
    fs::remove_file(&ballast)?;
    if on_top {
        site.report.hit("kill -9 with a full disk");
    } else if n_uncertain(book) > before {
        site.report.hit("full disk");
    }
    Ok(())
}

async fn failing(site: &mut Site, flag: &Path, chance: &mut fastrand::Rng) -> Result<()> {
    let hit = flag.with_extension("hit");
    File::create(flag)?;
    tokio::time::sleep(Duration::from_millis(chance.u64(5..LASTS_MS))).await;
    let on_top = chance.u32(..4) == 0;
    if on_top {
        site.kill();
    }
    fs::remove_file(flag)?;
    if hit.exists() {
        site.report.hit(if on_top { "kill -9 with failing fsync" } else { "failing fsync" });
        fs::remove_file(hit)?;
    }
    Ok(())
}

/// The environment of a server whose syncs fail while `flag` is there.
fn failing_sync(folder: &Path, flag: &Path) -> Result<Vec<(String, String)>> {
    let (source, library) = (folder.join("failing_sync.c"), folder.join("failing_sync.so"));
    fs::write(&source, include_str!("failing_sync.c"))?;
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status()?;
    ensure!(status.success(), "{} can't be compiled", source.display());
    let text = |path: &Path| path.display().to_string();
    Ok(vec![("LD_PRELOAD".to_owned(), text(&library)), ("CHAOS_SYNC".to_owned(), text(flag))])
}

/// What is still to be done may take a while; what can't be stays.
async fn come_to_rest(site: &mut Site, book: &Book) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        site.recover().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        ensure!(site.stop().await, "the server does not stop as it should");
        let log = EmbeddedLog::open(&site.data).await?;
        let history = gather::history(log.as_ref(), |_| site.data.clone().into(), book.lines()).await?;
        // Else its lock may still be held when the server begins again.
        log.close().await;
        let found = orderlog_history::check(&history);
        if found.is_empty() || Instant::now() > until {
            site.report.violations.extend(found.iter().map(ToString::to_string));
            site.report.count(&history);
            break;
        }
    }
    site.report.verify("all", &["--hash-key", SECRET], &site.data)
}
