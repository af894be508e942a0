//! `/metrics`: counters and positions of a process, in the text format of Prometheus.
//!
//! Counts are atomics that are updated as things happen. Positions are looked up on request, with a timeout: if the log
//! does not answer, only the metrics that depend on it are missing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use orderlog_eventlog::{EventLog, Partition, TopicFault, TopicKind, TopicState};
use orderlog_http::{measures::HttpMeasures, names::ServiceName, probe::Probe, problem::ApiError};
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
use crate::{output, server::Topics};

/// How long read models and log may take to report their positions.
const WAIT: Duration = Duration::from_secs(2);
/// A service's sources of metrics.
pub struct Measured {
    pub name: ServiceName,
    pub probe: Arc<dyn Probe>,
    pub projection: Arc<dyn Projection>,
}

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    services: Vec<Measured>,
    troubles: Troubles,
    log: Arc<dyn EventLog>,
    topics: Topics,
}

impl Metrics {
    /// Metrics of these services and of their requests.
    pub fn new(
        services: Vec<Measured>,
        troubles: Troubles,
        http: &HttpMeasures,
        (log, topics): (Arc<dyn EventLog>, Topics),
    ) -> Self {
        let registry = Registry::new();
        let of_services = services.iter().map(|service| service.probe.measures().collector());
        for collector in http.collectors().into_iter().chain(of_services) {
            registry.register(collector).expect("each service has a label of its own");
        }
        process::begin();
        Self { registry, services, troubles, log, topics }
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
        process::write(&mut sheet);
        for (output, n) in output::dropped() {
            let help = "Lines lost because the reader is gone or has stalled, or the disk is full";
            #[expect(clippy::cast_precision_loss, reason = "a count of 2^53 lines is not reached")]
            sheet.counter("orderlog_output_lines_dropped_total", help, &[("output", output)], n as f64);
        }
        let standings = self.services.iter().map(|service| async move {
            let status = tokio::time::timeout(WAIT, service.projection.status()).await;
            (service, status.ok().and_then(Result::ok))
        });
        for (service, status) in join_all(standings).await {
            let name = service.name.as_str();
            lag(&mut sheet, name, service.probe.behind().ms);
            if let Some(status) = status {
                rows(&mut sheet, name, &status);
            }
        }
        self.task_positions(&mut sheet).await;
        self.blocked(&mut sheet);
        topics(&mut sheet, &self.topics.states());
        let mut families = self.registry.gather();
        families.extend(sheet.families());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let text = TextEncoder::new().encode_to_string(&families).map_err(|error| ApiError::internal(&error))?;
        Ok(Response::builder().content_type(TEXT_FORMAT).header("cache-control", "no-store").body(text))
    }

    /// The positions of this process's relays, reactors and deliveries in their inputs.
    async fn task_positions(&self, sheet: &mut Sheet) {
        let mut all = Vec::new();
        for Measured { name, probe, .. } in &self.services {
            all.extend(probe.measures().task_positions().into_iter().map(|task| (name.as_str(), task)));
        }
        let mut partitions: Vec<Partition> = all.iter().map(|(_, (_, partition, _))| partition.clone()).collect();
        partitions.sort();
        partitions.dedup();
        let ends = tokio::time::timeout(WAIT, self.log.ends(&partitions)).await.ok().and_then(Result::ok);
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

    /// Which of this process's background tasks wait for a record to be repaired.
    fn blocked(&self, sheet: &mut Sheet) {
        let help = "Age of the parked record that a background task waits for; 0 if it waits for none";
        let mut set = |service: &str, task: &str, seconds: f64| {
            sheet.gauge("orderlog_duty_blocked_seconds", help, &[("service", service), ("duty", task)], seconds);
        };
        for Measured { name, probe, .. } in &self.services {
            probe.measures().task_positions().iter().for_each(|(task, ..)| set(name.as_str(), task, 0.0));
        }
        for Trouble { service, task, waits_for, .. } in self.troubles.all() {
            if let Some(record) = waits_for {
                set(service, task, record.age(now_ms()).as_secs_f64());
            }
        }
    }
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
