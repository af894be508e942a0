//! `/metrics`: counters and positions of a process, in the text format of Prometheus.
//!
//! Counts are atomics that are updated as things happen. Positions are looked up on request, with a timeout: if the log
//! does not answer, only the metrics that depend on it are missing.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::join_all;
use orderlog_eventlog::{EventLog, Lease, Partition, TopicFault, TopicKind, TopicState, Traffic};
use orderlog_http::{
    measures::HttpMeasures, names::ServiceName, probe::Probe, problem::ApiError, service::mounted::Dependency,
};
use orderlog_runtime::{
    background::{Trouble, Troubles},
    now_ms,
    projection::{Projection, Status},
    rebuild::Stage,
};
use poem::{
    EndpointExt, Response,
    endpoint::{BoxEndpoint, make},
};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};

use super::{
    process,
    sheet::{Label, Sheet},
};
use crate::{output, topics::Topics};

/// How long read models and log may take to report their positions.
const WAIT: Duration = Duration::from_secs(2);
/// The ages at which objects that wait for an outcome are counted, with the label of each, in seconds.
const AGES: [(Duration, &str); 4] = [
    (Duration::ZERO, "0"),
    (Duration::from_secs(60), "60"),
    (Duration::from_secs(600), "600"),
    (Duration::from_secs(3_600), "3600"),
];

/// A service's sources of metrics.
pub struct Measured {
    pub name: ServiceName,
    pub probe: Arc<dyn Probe>,
    pub projection: Arc<dyn Projection>,
    pub lease: Arc<dyn Lease>,
}

/// The sources of a process's metrics.
pub struct Sources {
    pub services: Vec<Measured>,
    /// Other systems that the services use, by name.
    pub dependencies: Vec<(&'static str, Arc<dyn Dependency>)>,
    /// Failures of their background tasks.
    pub troubles: Troubles,
    pub log: Arc<dyn EventLog>,
    pub topics: Topics,
    /// The data folder.
    pub data: PathBuf,
}

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    sources: Sources,
}

impl Metrics {
    /// Metrics of these sources, and of HTTP requests.
    pub fn new(sources: Sources, http: &HttpMeasures) -> Self {
        let registry = Registry::new();
        let of_services = sources.services.iter().map(|service| service.probe.measures().collector());
        let of_dependencies = sources.dependencies.iter().flat_map(|(_, dependency)| dependency.collectors());
        for collector in http.collectors().into_iter().chain(of_services).chain(of_dependencies) {
            registry.register(collector).expect("each service and dependency has metrics of its own");
        }
        process::begin();
        Self { registry, sources }
    }

    pub fn endpoint(self) -> BoxEndpoint<'static> {
        let metrics = Arc::new(self);
        let endpoint = make(move |_| {
            let metrics = Arc::clone(&metrics);
            async move { Ok::<_, poem::Error>(metrics.answer().await?) }
        });
        endpoint.boxed()
    }

    async fn answer(&self) -> Result<Response, ApiError> {
        let mut sheet = Sheet::default();
        sheet.count("orderlog_build_info", "The version of the program", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        process::write(&mut sheet, &self.sources.data);
        for (output, n) in output::dropped() {
            let help = "Lines lost because the reader is gone or has stalled, or the disk is full";
            #[expect(clippy::cast_precision_loss, reason = "a count of 2^53 lines is not reached")]
            sheet.counter("orderlog_output_lines_dropped_total", help, &[("output", output)], n as f64);
        }
        let standings = self.sources.services.iter().map(|service| async move {
            let status = tokio::time::timeout(WAIT, service.projection.status()).await;
            (service, status.ok().and_then(Result::ok))
        });
        for (service, status) in join_all(standings).await {
            let name = service.name.as_str();
            lag(&mut sheet, name, service.probe.behind().ms);
            let is_held = u64::from(*service.lease.held().borrow());
            sheet.count(
                "orderlog_lease_held",
                "1 on the instance that holds the journal's lease",
                &[("service", name)],
                is_held,
            );
            if let Some(status) = status {
                rows(&mut sheet, name, &status);
                // Before it is ready, the rows may lack the index that makes counting cheap.
                if status.state == "ready" {
                    pending(&mut sheet, service).await;
                }
            }
        }
        self.task_positions(&mut sheet).await;
        self.blocked(&mut sheet);
        topics(&mut sheet, &self.sources.topics.states());
        self.dependencies(&mut sheet).await;
        if let Some(traffic) = self.sources.log.traffic() {
            kafka(&mut sheet, traffic);
        }
        let mut families = self.registry.gather();
        families.extend(sheet.families());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let text = TextEncoder::new().encode_to_string(&families).map_err(|error| ApiError::internal(&error))?;
        Ok(Response::builder().content_type(TEXT_FORMAT).header("cache-control", "no-store").body(text))
    }

    /// The positions of this process's relays, reactors and deliveries in their inputs.
    async fn task_positions(&self, sheet: &mut Sheet) {
        let mut all = Vec::new();
        for Measured { name, probe, .. } in &self.sources.services {
            all.extend(probe.measures().task_positions().into_iter().map(|task| (name.as_str(), task)));
        }
        let mut partitions: Vec<Partition> = all.iter().map(|(_, (_, partition, _))| partition.clone()).collect();
        partitions.sort();
        partitions.dedup();
        let ends = tokio::time::timeout(WAIT, self.sources.log.ends(&partitions)).await.ok().and_then(Result::ok);
        let ends: BTreeMap<&Partition, u64> = partitions.iter().zip(ends.unwrap_or_default()).collect();
        for (service, (task, partition, position)) in &all {
            let index = partition.index.to_string();
            let labels: [Label<'_>; 4] =
                [("service", service), ("duty", task), ("topic", &partition.topic), ("partition", &index)];
            let help = "Position of a background task in what it reads; only reported by the instance that runs it";
            sheet.count("orderlog_duty_position", help, &labels, *position);
            if let Some(end) = ends.get(partition) {
                let lag = end.saturating_sub(*position);
                sheet.count(
                    "orderlog_duty_lag_events",
                    "Records that a background task has not processed yet",
                    &labels,
                    lag,
                );
            }
        }
    }

    async fn dependencies(&self, sheet: &mut Sheet) {
        let answers = self.sources.dependencies.iter().map(|(name, dependency)| async move {
            (name, matches!(tokio::time::timeout(WAIT, dependency.answers()).await, Ok(Ok(()))))
        });
        for (name, is_up) in join_all(answers).await {
            let help = "1 if another system that the services use answers";
            sheet.count("orderlog_dependency_up", help, &[("dependency", name)], u64::from(is_up));
        }
    }

    /// Which of this process's background tasks wait for a record to be repaired.
    fn blocked(&self, sheet: &mut Sheet) {
        let help = "Age of the parked record that a background task waits for; 0 if it waits for none";
        let mut set = |service: &str, task: &str, seconds: f64| {
            sheet.gauge("orderlog_duty_blocked_seconds", help, &[("service", service), ("duty", task)], seconds);
        };
        for Measured { name, probe, .. } in &self.sources.services {
            probe.measures().task_positions().iter().for_each(|(task, ..)| set(name.as_str(), task, 0.0));
        }
        for Trouble { service, task, waits_for, .. } in self.sources.troubles.all() {
            if let Some(record) = waits_for {
                set(service, task, record.age(now_ms()).as_secs_f64());
            }
        }
    }
}

/// The objects of a service that wait for an outcome, by age.
async fn pending(sheet: &mut Sheet, service: &Measured) {
    let ages = AGES.map(|(age, _)| age);
    let counting = service.projection.pending(&ages);
    let Ok(Ok(found)) = tokio::time::timeout(WAIT, counting).await else { return };
    for (kind, counts) in found {
        for ((_, seconds), n) in AGES.iter().zip(counts) {
            let help = "Objects that have waited for an outcome for at least this long; at most 100000 are counted";
            let labels = [("service", service.name.as_str()), ("kind", kind), ("min_age_seconds", *seconds)];
            sheet.count("orderlog_pending_objects", help, &labels, n);
        }
    }
}

/// The requests of the Kafka client.
fn kafka(sheet: &mut Sheet, Traffic { requests, errors, throttled_ms }: Traffic) {
    #[expect(clippy::cast_precision_loss, reason = "2^53 requests are not reached")]
    for (name, help, n) in [
        ("orderlog_kafka_requests_total", "Requests of the Kafka producer to the brokers", requests as f64),
        (
            "orderlog_kafka_request_errors_total",
            "Requests of the Kafka producer that failed or timed out",
            errors as f64,
        ),
    ] {
        sheet.counter(name, help, &[], n);
    }
    let help = "How long a broker throttled the Kafka producer at most, in the last seconds";
    #[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are not reached")]
    sheet.gauge("orderlog_kafka_throttle_seconds", help, &[], throttled_ms as f64 / 1_000.0);
}

fn lag(sheet: &mut Sheet, service: &str, ms: u64) {
    let help = "How long a record has been missing from the read model";
    #[expect(clippy::cast_precision_loss, reason = "a lag of 2^53 milliseconds is not reached")]
    sheet.gauge("orderlog_projection_lag_seconds", help, &[("service", service)], ms as f64 / 1_000.0);
}

/// The first offsets of journals, and the faults of all topics.
fn topics(sheet: &mut Sheet, states: &[TopicState]) {
    for TopicState { topic, kind, starts, faults } in states {
        if let (TopicKind::Journal, Some(start)) = (kind, starts.first()) {
            let help = "The first offset of the journal; above 0, its first records are gone";
            sheet.count("orderlog_log_start_offset", help, &[("service", topic)], *start);
        }
        for fault in ["missing", "setting", "trimmed"] {
            let n = faults.iter().filter(|it| name_of(it) == fault).count() as u64;
            let help =
                "What is wrong with a topic: it is missing, a setting loses records, or its first records are gone";
            let labels = [("topic", &**topic), ("kind", name_of_kind(*kind)), ("fault", fault)];
            sheet.count("orderlog_topic_faults", help, &labels, n);
        }
    }
}

const fn name_of_kind(kind: TopicKind) -> &'static str {
    match kind {
        TopicKind::Journal => "journal",
        TopicKind::Public => "public",
    }
}

const fn name_of(fault: &TopicFault) -> &'static str {
    match fault {
        TopicFault::Missing => "missing",
        TopicFault::Setting { .. } => "setting",
        TopicFault::Trimmed { .. } => "trimmed",
    }
}

/// The metrics of a service's read model.
fn rows(sheet: &mut Sheet, service: &str, status: &Status) {
    let labels = [("service", service)];
    let lag = "Records of the journal that are missing from the read model";
    let snapshot = status.snapshots.last().copied().unwrap_or(0);
    for (name, help, value) in [
        ("orderlog_projection_position", "One past the last record in the read model", status.position),
        ("orderlog_log_end_offset", "One past the last record of the journal", status.end),
        ("orderlog_projection_lag_events", lag, status.lag),
        ("orderlog_projection_generation", "The serving generation of the read model", u64::from(status.generation)),
        ("orderlog_projection_snapshot_position", "Position of the newest snapshot; 0 if there is none", snapshot),
        ("orderlog_parked_records", "Parked records", status.n_parked),
        (
            "orderlog_dead_letters",
            "The former name of orderlog_parked_records, removed in the next version",
            status.n_parked,
        ),
    ] {
        sheet.count(name, help, &labels, value);
    }
    for state in ["catching_up", "preparing", "ready", "stopped"] {
        let help = "1 for the current status";
        let labels = [("service", service), ("status", state)];
        sheet.count("orderlog_projection_status", help, &labels, u64::from(status.state == state));
    }
    rebuild(sheet, service, status);
}

fn rebuild(sheet: &mut Sheet, service: &str, status: &Status) {
    let labels = [("service", service)];
    let running = status.rebuild.as_ref().filter(|rebuild| rebuild.report.is_none() && rebuild.error.is_none());
    let help = "1 while another generation of the read model is being built or compared";
    sheet.count("orderlog_projection_rebuild_running", help, &labels, u64::from(running.is_some()));
    if let Some(progress) = running.and_then(|rebuild| rebuild.progress) {
        let ratio = match progress.stage {
            #[expect(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
            Stage::Replaying => progress.position as f64 / progress.end.max(1) as f64,
            Stage::Comparing | Stage::Switching | Stage::Done => 1.0,
        };
        let help = "Fraction of the journal that the new generation has folded";
        sheet.gauge("orderlog_projection_rebuild_progress_ratio", help, &labels, ratio.min(1.0));
    }
}
