//! Common librdkafka settings, and those that a configuration may not change.

use super::{ConnectError, KafkaConfig, lease, points, producer, reader};

/// Default settings of every client. The configuration may override them.
pub(super) const COMMON: &[(&str, &str)] = &[
    ("client.id", "orderlog"),
    ("enable.metrics.push", "false"),
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "15000"),
    // With the default, it can take ten seconds to notice that a broker is back.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    // How soon events are also published to partitions that were added to a topic.
    ("topic.metadata.refresh.interval.ms", "10000"),
    // How long a topic may be missing from the metadata before it counts as unknown.
    ("topic.metadata.propagation.max.ms", "3000"),
];

/// Settings of every consumer.
pub(super) const CONSUMER: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // The default skips to the end, which would silently lose records.
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
    // orderlog writes no transactions, and another program's hanging transaction must not block readers.
    ("isolation.level", "read_uncommitted"),
    ("fetch.error.backoff.ms", "50"),
];

/// Aliases of our settings, and settings that would undo them.
const ALSO_RESERVED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "request.required.acks",
    "delivery.timeout.ms",
    "queue.buffering.max.ms",
    "max.partition.fetch.bytes",
    "auto.commit.enable",
    // A record whose retries are exhausted could still arrive.
    "retries",
    "message.send.max.retries",
    // These affect the order of records.
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "queuing.strategy",
    // Other kinds of producers, and not reporting success.
    "transactional.id",
    "enable.gapless.guarantee",
    "delivery.report.only.error",
    // These affect leases and the storage of positions.
    "group.id",
    "group.instance.id",
    "group.protocol.type",
    "group.remote.assignor",
    "offset.store.method",
    // Without the brokers' versions, idempotence and the detection of lost records are disabled.
    "api.version.request",
    "api.version.fallback.ms",
    "broker.version.fallback",
    // Existing topics would look missing.
    "topic.blacklist",
];

/// Rejects a configuration that has no brokers or changes a reserved setting.
pub(super) fn check(config: &KafkaConfig) -> Result<(), ConnectError> {
    if config.brokers.trim().is_empty() {
        return Err(ConnectError::NoBrokers);
    }
    if let Some(name) = config.extra.keys().find(|name| is_reserved(name)) {
        return Err(ConnectError::Reserved { name: name.clone() });
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    let ours = [CONSUMER, producer::SETTINGS, lease::SETTINGS, reader::SETTINGS, points::SETTINGS];
    ours.into_iter().flatten().any(|(ours, _)| *ours == name) || ALSO_RESERVED.contains(&name)
}
