//! What librdkafka is told in its own words, and which of it a configuration may not change.

use super::{ConnectError, KafkaConfig, lease, points, producer, reader};

/// Settings of every client, as far as the configuration says nothing else.
pub(super) const COMMON: &[(&str, &str)] = &[
    ("client.id", "orderlog"),
    ("enable.metrics.push", "false"),
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "15000"),
    // The default gives up to ten seconds of silence after a broker has come back.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "60000"),
    // How long a topic may be missing from the metadata before it counts as unknown.
    ("topic.metadata.propagation.max.ms", "3000"),
];

/// Settings of everything that reads.
pub(super) const CONSUMER: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // The default skips to the end: it would lose records silently.
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
    // Nothing here writes transactions; a foreign one that hangs must not hold up readers.
    ("isolation.level", "read_uncommitted"),
    ("fetch.error.backoff.ms", "50"),
];

/// Other names of what we set ourselves, and what would undo it.
const ALSO_RESERVED: &[&str] = &[
    "bootstrap.servers",
    "metadata.broker.list",
    "request.required.acks",
    "delivery.timeout.ms",
    "queue.buffering.max.ms",
    "max.partition.fetch.bytes",
    "auto.commit.enable",
    // A record that was given up could still arrive.
    "retries",
    "message.send.max.retries",
    // The order of records.
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "queuing.strategy",
    // Other kinds of producers; one that reports no success.
    "transactional.id",
    "enable.gapless.guarantee",
    "delivery.report.only.error",
    // Who holds a lease, and where positions are kept.
    "group.id",
    "group.instance.id",
    "group.protocol.type",
    "group.remote.assignor",
    "offset.store.method",
    // Without the brokers' versions, idempotence and the check for lost records are switched off.
    "api.version.request",
    "api.version.fallback.ms",
    "broker.version.fallback",
    // Topics that exist would be missing.
    "topic.blacklist",
];

/// Whether the configuration leaves alone what the log's guarantees rest on.
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
