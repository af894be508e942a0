//! Where a journal of a benchmark is, and on what it runs.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use orderlog_core::key::HashKey;
use orderlog_eventlog::{
    EventLog,
    embedded::{EmbeddedLog, OpenError},
    kafka::{KafkaConfig, KafkaLog},
};
use orderlog_runtime::{environment::Machine, replica::Setup};
use uuid::Uuid;

/// As many keys are kept in memory as the program keeps.
pub const N_SLOTS: usize = 200_000;
pub const SECRET: &str = "bench";

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where a journal is.
#[derive(Clone)]
pub enum Source {
    Embedded(PathBuf),
    Kafka { brokers: String, prefix: String },
}

impl Source {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Kafka { .. } => "kafka",
        }
    }

    pub async fn open(&self) -> Result<Arc<dyn EventLog>> {
        match self {
            Self::Embedded(folder) => loop {
                // Whoever had it open before may still be closing it.
                match EmbeddedLog::open(folder).await {
                    Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                    opened => return Ok(opened?),
                }
            },
            Self::Kafka { brokers, prefix } => {
                let config = KafkaConfig { topic_prefix: prefix.clone(), ..KafkaConfig::new(brokers.clone()) };
                Ok(KafkaLog::connect(config)?)
            }
        }
    }
}

/// A service's setup on this log.
pub fn setup(log: Arc<dyn EventLog>) -> Setup {
    let (hash_key, writer) = (HashKey::from_secret(SECRET), Uuid::now_v7());
    Setup { log, hash_key, writer, n_slots_max: N_SLOTS, environment: Arc::new(Machine) }
}

/// Processor seconds and peak memory in megabytes of this process, as Linux tells them.
pub fn used() -> Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let ticks: f64 = stat.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: f64 = peak.unwrap_or_default().trim().parse()?;
    Ok((ticks / 100.0, peak * 1024.0 / 1e6))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The processors and their number.
pub fn machine() -> Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |it| it.1);
    Ok(format!("{} cores, {model}", std::thread::available_parallelism()?))
}

/// What stands behind an option.
pub fn option(name: &str, otherwise: &str) -> String {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).unwrap_or_else(|| otherwise.to_owned())
}
