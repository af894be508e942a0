//! Opens the log to serve, to change it, or to read it. An incomplete log, or another deployment's, is rejected.

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use orderlog_core::machine::Genesis;
use orderlog_eventlog::{
    EventLog,
    embedded::{EmbeddedLog, OpenError},
    kafka::{KafkaConfig, KafkaLog, PlannedTopic},
};
use orderlog_http::names::ServiceName;
use orderlog_runtime::{
    archive, cloudevents,
    environment::Machine,
    identity::{self, IdentityError},
    replica::Setup,
};
use uuid::Uuid;

use super::{StartError, hash_key};
use crate::{
    config::{LogUrl, Storage},
    private,
    registry::Registry,
};

/// How long a start waits for its journals to begin before it stops comparing hash keys with processes that start at
/// the same time.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often it checks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Opens the log for a server, begins it if it is empty, and prepares what else every replica needs.
///
/// # Errors
/// [`StartError`], for example if the log was begun with another hash key.
pub(super) async fn open(registry: &Registry, storage: &Storage) -> Result<Setup, StartError> {
    hash_key::check(storage)?;
    let log = open_log(registry, storage).await?;
    let begun = identity::begun(log.as_ref(), &registry.published()).await;
    settled(storage, log, begun.map_err(StartError::from)).await
}

/// Opens the log for a command on a stopped server: the log must exist and have begun.
pub async fn open_begun(registry: &Registry, storage: &Storage) -> Result<Setup, StartError> {
    hash_key::check(storage)?;
    begun(registry, storage, open_existing(registry, storage).await?).await
}

/// Like [`open_begun`], for reading only: no file or topic is created or changed.
pub async fn open_begun_to_read(registry: &Registry, storage: &Storage) -> Result<Setup, StartError> {
    hash_key::check(storage)?;
    begun(registry, storage, open_to_read(registry, storage).await?).await
}

/// Like [`open_begun`], on a log that a running server has checked and opened.
pub async fn open_begun_on(
    registry: &Registry,
    storage: &Storage,
    log: Arc<dyn EventLog>,
) -> Result<Setup, StartError> {
    hash_key::check(storage)?;
    begun(registry, storage, log).await
}

async fn begun(registry: &Registry, storage: &Storage, log: Arc<dyn EventLog>) -> Result<Setup, StartError> {
    let begun = match identity::begun(log.as_ref(), &registry.published()).await {
        Ok(begun) if begun.is_empty() => Err(no_log(storage)),
        begun => begun.map_err(StartError::from),
    };
    settled(storage, log, begun).await
}

/// Replicas use `log` only if its journals have begun with this deployment's hash key; otherwise it is closed.
async fn settled(
    storage: &Storage,
    log: Arc<dyn EventLog>,
    begun: Result<Vec<Genesis>, StartError>,
) -> Result<Setup, StartError> {
    match begun.and_then(|begun| Ok(hash_key::find(storage, &begun)?)) {
        Ok(hash_key) => {
            storage.schemas_url.iter().for_each(|url| cloudevents::install_schemas_url(url));
            let (writer, n_slots_max) = (Uuid::now_v7(), storage.keys_in_memory);
            Ok(Setup { log, hash_key, writer, n_slots_max, environment: Arc::new(Machine) })
        }
        Err(error) => {
            log.close().await;
            Err(error)
        }
    }
}

/// Processes that begin an empty log on Kafka together may have different hash keys, and none sees what the others are
/// about to write. So each checks again once its own journals have begun; the last one sees all.
pub(super) async fn agree_on_hash_key(
    registry: &Registry,
    storage: &Storage,
    setup: &Setup,
    services: &[ServiceName],
) -> Result<(), StartError> {
    if storage.log == LogUrl::Embedded {
        // Only one process has it open.
        return Ok(());
    }
    let is_of = |genesis: &Genesis, service: &ServiceName| genesis.journal == service.as_str();
    let deadline = Instant::now() + BEGIN_WITHIN;
    loop {
        match identity::begun(setup.log.as_ref(), &registry.published()).await {
            Ok(begun) if services.iter().all(|service| begun.iter().any(|genesis| is_of(genesis, service))) => {
                return Ok(hash_key::find(storage, &begun).map(drop)?);
            }
            Ok(_) | Err(IdentityError::Read(_)) if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            Ok(_) | Err(IdentityError::Read(_)) => {
                tracing::warn!(
                    "the journals have not begun yet: the next start compares hash keys with other processes"
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens an existing log with a complete history.
async fn open_existing(registry: &Registry, storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    match &storage.log {
        LogUrl::Embedded if !EmbeddedLog::is_in(&storage.data) => Err(no_log(storage)),
        LogUrl::Embedded | LogUrl::Kafka(_) => open_log(registry, storage).await,
    }
}

/// Opens an existing log for reading only: no file or topic is created or changed.
pub async fn open_to_read(registry: &Registry, storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    let log = open_to_check(registry, storage).await?.ok_or_else(|| no_log(storage))?;
    whole(storage, log).await
}

/// Opens the log for reading only, without checking its contents; `None` if there is no embedded log.
pub async fn open_to_check(registry: &Registry, storage: &Storage) -> Result<Option<Arc<dyn EventLog>>, StartError> {
    Ok(Some(match &storage.log {
        LogUrl::Embedded if !EmbeddedLog::is_in(&storage.data) => return Ok(None),
        LogUrl::Embedded => match EmbeddedLog::open_to_read(&storage.data, &registry.topics()).await {
            Err(OpenError::NotBegun { .. }) => return Ok(None),
            log => log?,
        },
        LogUrl::Kafka(brokers) => kafka(storage, brokers).await?,
    }))
}

fn no_log(storage: &Storage) -> StartError {
    match std::fs::read_dir(&storage.data) {
        Err(source) if source.kind() == ErrorKind::PermissionDenied => {
            return StartError::Data { dir: storage.data.clone(), source };
        }
        Ok(_) | Err(_) => {}
    }
    StartError::NoLog {
        place: match &storage.log {
            LogUrl::Embedded => storage.data.display().to_string(),
            LogUrl::Kafka(brokers) => format!("Kafka at {brokers}, under the topic prefix `{}`", storage.topic_prefix),
        },
    }
}

/// Opens the log, which must have a complete history.
async fn open_log(registry: &Registry, storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    whole(storage, open_topics(registry, storage).await?).await
}

/// Returns the log unless it contains half of an import.
async fn whole(storage: &Storage, log: Arc<dyn EventLog>) -> Result<Arc<dyn EventLog>, StartError> {
    match archive::unfinished(log.as_ref()).await {
        Ok(None) => {}
        Ok(Some(export_id)) => return Err(StartError::HalfImport { export_id, log: storage.log_options() }),
        Err(error) => tracing::warn!("whether an import was interrupted is not known: {error}"),
    }
    Ok(log)
}

/// Opens the embedded log without checking its contents.
pub async fn open_embedded(storage: &Storage) -> Result<Arc<EmbeddedLog>, StartError> {
    private::tighten(&storage.data);
    Ok(EmbeddedLog::open(&storage.data).await?)
}

/// Opens the log without checking its contents, and prepares its topics.
pub async fn open_topics(registry: &Registry, storage: &Storage) -> Result<Arc<dyn EventLog>, StartError> {
    let log: Arc<dyn EventLog> = match &storage.log {
        LogUrl::Embedded => open_embedded(storage).await?,
        LogUrl::Kafka(brokers) => kafka(storage, brokers).await?,
    };
    for warning in log.prepare(&registry.topics()).await? {
        tracing::warn!("{warning}");
    }
    Ok(log)
}

/// The topics of these services on Kafka, and the one that imports use, as they are created.
pub fn planned_topics(registry: &Registry, storage: &Storage) -> Vec<PlannedTopic> {
    let imports = archive::imports();
    kafka_config(storage, "").plan(&[registry.topics(), vec![imports]].concat())
}

fn kafka_config(storage: &Storage, brokers: &str) -> KafkaConfig {
    let defaults = KafkaConfig::new(brokers);
    KafkaConfig {
        topic_prefix: storage.topic_prefix.clone(),
        public_partitions: storage.public_partitions,
        replication: storage.kafka_replication.unwrap_or(defaults.replication),
        creates_topics: !storage.no_create_topics,
        reached_at: storage.advertised_url.clone(),
        ..defaults
    }
}

async fn kafka(storage: &Storage, brokers: &str) -> Result<Arc<KafkaLog>, StartError> {
    let mut extra = storage.kafka.settings()?;
    extra.extend(storage.kafka_settings.iter().cloned());
    let log = KafkaLog::connect(KafkaConfig { extra, ..kafka_config(storage, brokers) })?;
    log.reach().await?;
    Ok(log)
}
