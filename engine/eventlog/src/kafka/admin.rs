//! Creates topics with explicit settings that keep every record, and refuses topics whose settings have been changed. Kafka's
//! default deletes records after seven days, which would lose the system of record.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::runtime::Handle;

use super::{
    Cluster, ONE_CALL, PATIENCE, Talk,
    metadata::{Shape, UNKNOWN_FOR, Unseen, ask_again, look},
    plan::{CLEAN_ELECTIONS, KEPT_FOR_EVER, PlannedTopic, SAFE_COPIES, SAFE_IN_SYNC},
};
use crate::{TopicError, TopicFault, TopicKind, TopicSpec};

/// By default a metadata request creates a missing topic, on brokers that allow it, with a retention of seven days.
pub(super) const SETTINGS: &[(&str, &str)] = &[("allow.auto.create.topics", "false")];

/// The setting that limits the size of a request to a topic, and the minimum it must allow: librdkafka's `batch.size`, which is
/// slightly above the largest record.
const LARGEST: (&str, usize) = ("max.message.bytes", 1_000_000);

/// Warnings, to which the names of the topics are appended.
const NOT_SHOWN: &str =
    "whether these topics keep their records could not be checked, Kafka does not show their settings";
const UNSAFE: &str = "losing one broker can lose acknowledged records of these topics, or stop appends to them, because \
                      min.insync.replicas is not at least 2 and below the number of copies";

/// Creates missing topics and checks all of them. Blocks.
pub(super) fn prepare(cluster: &Cluster, topics: &[TopicSpec], runtime: &Handle) -> Result<Vec<String>, TopicError> {
    create_and_check(cluster, topics, runtime).map_err(|error| match error {
        TopicError::Unavailable { reason } => TopicError::Unavailable { reason: cluster.said.explain(reason) },
        TopicError::Missing { .. } | TopicError::Drift { .. } => error,
    })
}

fn create_and_check(cluster: &Cluster, topics: &[TopicSpec], runtime: &Handle) -> Result<Vec<String>, TopicError> {
    let admin: AdminClient<Talk> =
        cluster.client(&[SETTINGS]).create_with_context(Talk).map_err(|e| unavailable(&e))?;
    let (begun, mut missing) = (Instant::now(), find_missing(cluster, &admin, topics)?);
    // Topics that somebody else has just created may not be known to the broker yet.
    while !cluster.config.creates_topics && !missing.is_empty() && begun.elapsed() < UNKNOWN_FOR {
        std::thread::sleep(Duration::from_millis(50));
        missing = find_missing(cluster, &admin, topics)?;
    }
    create(cluster, &admin, &missing, runtime)?;

    let mut shapes = Vec::with_capacity(topics.len());
    for spec in topics {
        let shape = look_until_seen(&admin, cluster, spec, PATIENCE).map_err(|unseen| match unseen {
            Unseen::Missing => TopicError::Unavailable { reason: format!("topic {} was not created", spec.name) },
            Unseen::Refused(reason) | Unseen::Trouble(reason) => TopicError::Unavailable { reason },
        })?;
        if let Some(fault) = wrong_shape(spec, &shape) {
            return Err(drift(spec, fault));
        }
        shapes.push((spec, shape));
    }
    check(cluster, &admin, &shapes, runtime)
}

fn find_missing(
    cluster: &Cluster,
    admin: &AdminClient<Talk>,
    topics: &[TopicSpec],
) -> Result<Vec<TopicSpec>, TopicError> {
    let mut missing = Vec::new();
    for spec in topics {
        match look_until_seen(admin, cluster, spec, Duration::ZERO) {
            Ok(_) => {}
            Err(Unseen::Missing) => missing.push(spec.clone()),
            Err(Unseen::Refused(reason) | Unseen::Trouble(reason)) => return Err(TopicError::Unavailable { reason }),
        }
    }
    Ok(missing)
}

fn create(
    cluster: &Cluster,
    admin: &AdminClient<Talk>,
    missing: &[TopicSpec],
    runtime: &Handle,
) -> Result<(), TopicError> {
    if missing.is_empty() {
        return Ok(());
    }
    let planned = cluster.config.plan(missing);
    if !cluster.config.creates_topics {
        return Err(TopicError::Missing { topics: planned.into_iter().map(|topic| topic.name).collect() });
    }
    let wanted: Vec<NewTopic<'_>> = planned.iter().map(PlannedTopic::new_topic).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let results = runtime.block_on(admin.create_topics(&wanted, &options)).map_err(|error| unavailable(&error))?;
    for result in results {
        match result {
            // Another instance created it first. It is checked like any other.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(TopicError::Unavailable { reason: format!("topic {name} can't be created: {code}") });
            }
        }
    }
    Ok(())
}

/// Compares the settings on the brokers with the required ones. Returns warnings.
fn check(
    cluster: &Cluster,
    admin: &AdminClient<Talk>,
    topics: &[(&TopicSpec, Shape)],
    runtime: &Handle,
) -> Result<Vec<String>, TopicError> {
    let names: Vec<String> = topics.iter().map(|(spec, _)| cluster.name(&spec.name)).collect();
    let configs = describe(admin, &names, runtime)?;
    let (mut undescribed, mut unsafe_copies) = (Vec::new(), Vec::new());
    for ((spec, shape), name) in topics.iter().zip(&names) {
        let Some(config) = configs.get(name) else {
            undescribed.push(&*spec.name);
            continue;
        };
        if let Some(fault) = wrong_setting(config) {
            return Err(drift(spec, fault));
        }
        if !survives_a_broker(shape.copies, value(config, SAFE_IN_SYNC.0)) {
            unsafe_copies.push(&*spec.name);
        }
    }
    let warning = |what: &str, topics: &[&str]| (!topics.is_empty()).then(|| format!("{what}: {}", topics.join(", ")));
    Ok([warning(NOT_SHOWN, &undescribed), warning(UNSAFE, &unsafe_copies)].into_iter().flatten().collect())
}

/// Returns whether every acknowledged record is on two brokers, and one broker more than appends need exists.
fn survives_a_broker(copies: usize, in_sync: Option<&str>) -> bool {
    match in_sync.and_then(|in_sync| in_sync.parse::<usize>().ok()) {
        Some(in_sync) => in_sync >= 2 && in_sync < copies,
        None => copies >= SAFE_COPIES,
    }
}

/// Returns the settings of these topics, except those that Kafka does not show to us.
fn describe(
    admin: &AdminClient<Talk>,
    names: &[String],
    runtime: &Handle,
) -> Result<HashMap<String, ConfigResource>, TopicError> {
    let started = Instant::now();
    loop {
        let configs = describe_once(admin, names, runtime)?;
        // If the broker does not show a topic's settings, the topic is missing here without a reason. It may have been created
        // only now, so that the broker does not know it yet.
        if configs.len() == names.len() || started.elapsed() >= UNKNOWN_FOR {
            return Ok(configs);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn describe_once(
    admin: &AdminClient<Talk>,
    names: &[String],
    runtime: &Handle,
) -> Result<HashMap<String, ConfigResource>, TopicError> {
    let wanted: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = match runtime.block_on(admin.describe_configs(&wanted, &options)) {
        Ok(described) => described,
        Err(KafkaError::AdminOp(code)) if is_forbidden(code) => return Ok(HashMap::new()),
        Err(error) => return Err(unavailable(&error)),
    };
    let mut configs = HashMap::with_capacity(names.len());
    for described in described {
        match described {
            Ok(config) if config.entries.is_empty() => {}
            Ok(config) => {
                if let OwnedResourceSpecifier::Topic(name) = &config.specifier {
                    configs.insert(name.clone(), config);
                }
            }
            Err(code) if is_forbidden(code) => {}
            Err(code) => return Err(TopicError::Unavailable { reason: format!("topics can't be described: {code}") }),
        }
    }
    Ok(configs)
}

fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)
}

/// A setting of a topic that differs from what it must be.
pub(super) struct Drift {
    setting: &'static str,
    found: String,
    wanted: String,
}

impl From<Drift> for TopicFault {
    fn from(Drift { setting, found, wanted }: Drift) -> Self {
        Self::Setting { setting: setting.to_owned(), found, wanted }
    }
}

pub(super) fn wrong_shape(spec: &TopicSpec, shape: &Shape) -> Option<Drift> {
    let is_wrong = spec.kind == TopicKind::Journal && shape.partitions != 1;
    is_wrong.then(|| Drift { setting: "partitions", found: shape.partitions.to_string(), wanted: "1".to_owned() })
}

/// Returns the first setting that loses or refuses records.
pub(super) fn wrong_setting(config: &ConfigResource) -> Option<Drift> {
    for (setting, wanted) in KEPT_FOR_EVER.iter().chain([&CLEAN_ELECTIONS]) {
        match value(config, setting) {
            Some(found) if found != *wanted => {
                return Some(Drift { setting, found: found.to_owned(), wanted: (*wanted).to_owned() });
            }
            Some(_) | None => {}
        }
    }
    let found = largest(config).filter(|found| *found < LARGEST.1)?;
    Some(Drift { setting: LARGEST.0, found: found.to_string(), wanted: format!("at least {}", LARGEST.1) })
}

fn largest(config: &ConfigResource) -> Option<usize> {
    value(config, LARGEST.0)?.parse().ok()
}

/// Returns the maximum size of a request to this topic in bytes, if Kafka shows it. Blocks.
pub(super) fn largest_of(cluster: &Cluster, topic: &str, runtime: &Handle) -> Option<usize> {
    let admin: AdminClient<Talk> = cluster.client(&[SETTINGS]).create_with_context(Talk).ok()?;
    let name = cluster.name(topic);
    let described = describe_once(&admin, std::slice::from_ref(&name), runtime);
    described.inspect_err(|error| tracing::debug!("{topic}: {error}")).ok()?.get(&name).and_then(largest)
}

fn value<'a>(config: &'a ConfigResource, setting: &str) -> Option<&'a str> {
    config.get(setting).and_then(|entry| entry.value.as_deref())
}

fn drift(spec: &TopicSpec, Drift { setting, found, wanted }: Drift) -> TopicError {
    TopicError::Drift { topic: Arc::clone(&spec.name), setting: setting.to_owned(), found, wanted }
}

/// Describes a topic. Waits up to [`PATIENCE`] for brokers to answer, and up to `missing_for` for a missing topic to appear.
pub(super) fn look_until_seen(
    admin: &AdminClient<Talk>,
    cluster: &Cluster,
    spec: &TopicSpec,
    missing_for: Duration,
) -> Result<Shape, Unseen> {
    let (started, name) = (Instant::now(), cluster.name(&spec.name));
    ask_again(|| look(admin.inner(), &name, ONE_CALL), missing_for, || started.elapsed() >= PATIENCE)
}

fn unavailable(error: &KafkaError) -> TopicError {
    TopicError::Unavailable { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_of_a_broker_is_survived_where_two_have_each_record_and_one_can_be_missed() {
        for (copies, in_sync, survives) in
            [(1, "1", false), (2, "1", false), (2, "2", false), (3, "1", false), (3, "2", true), (3, "3", false)]
        {
            assert_eq!(survives_a_broker(copies, Some(in_sync)), survives, "{copies} copies, {in_sync} in sync");
        }
        assert!(survives_a_broker(3, None) && !survives_a_broker(2, None));
    }
}
