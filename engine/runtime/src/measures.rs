//! The metrics of a replica: commands, records, appends, and the progress of its background tasks. Updating one is an atomic
//! addition and never blocks.
//!
//! All services have the same families, distinguished by the label `service`. The number of series is fixed: no label has values
//! that callers choose.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use orderlog_core::{decider::Millis, machine::Tally};
use orderlog_eventlog::{AppendError, Landed, Partition, Position};
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// In seconds. An embedded append takes a few milliseconds; a Kafka cluster in trouble may take many seconds.
const BUCKETS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The outcomes of a command.
const OUTCOMES: [&str; 7] =
    ["accepted", "repeated", "rejected", "precondition_failed", "parked", "unavailable", "unknown"];

/// The outcomes of forwarding a command.
const HANDED_OVER: [&str; 2] = ["answered", "unanswered"];

/// The metrics of one service.
pub struct Measures {
    commands: IntCounterVec,
    command_seconds: HistogramVec,
    command_retries: IntCounter,
    handed_over: IntCounterVec,
    folded: IntCounterVec,
    foreign: IntCounter,
    appended: IntCounter,
    appended_bytes: IntCounter,
    append_failures: IntCounterVec,
    append_seconds: Histogram,
    heartbeat: Gauge,
    positions: Mutex<BTreeMap<(&'static str, Partition), u64>>,
}

impl Measures {
    /// Creates the metrics of `service`, all at zero.
    pub fn new(service: &'static str) -> Self {
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("service", service);
        let seconds = |name: &str, help: &str| HistogramOpts::from(opts(name, help)).buckets(BUCKETS.to_vec());
        let commands = IntCounterVec::new(
            opts("orderlog_commands_total", "Commands by outcome, including reactions of services"),
            &["outcome"],
        );
        let command_seconds = HistogramVec::new(
            seconds("orderlog_command_duration_seconds", "From a command's arrival to its response"),
            &["outcome"],
        );
        let handed_over = IntCounterVec::new(
            opts(
                "orderlog_commands_handed_over_total",
                "Commands forwarded to the lease holder, by whether it answered",
            ),
            &["outcome"],
        );
        let folded =
            IntCounterVec::new(opts("orderlog_records_folded_total", "Records read, by verdict"), &["verdict"]);
        let append_failures = IntCounterVec::new(
            opts("orderlog_append_failures_total", "Records that the log rejected, or whose outcome is unknown"),
            &["kind"],
        );
        let retries = "Attempts that lost a race in the log, so that the command was decided again";
        let counter = |name: &str, help: &str| well_formed(IntCounter::with_opts(opts(name, help)));
        let measures = Self {
            commands: well_formed(commands),
            command_seconds: well_formed(command_seconds),
            command_retries: counter("orderlog_command_retries_total", retries),
            handed_over: well_formed(handed_over),
            folded: well_formed(folded),
            foreign: counter(
                "orderlog_foreign_records_total",
                "Records in the journal that another program wrote, which are void",
            ),
            appended: counter("orderlog_events_appended_total", "Records that the log acknowledged"),
            appended_bytes: counter(
                "orderlog_appended_bytes_total",
                "Bytes of the headers and values of acknowledged records",
            ),
            append_failures: well_formed(append_failures),
            append_seconds: well_formed(Histogram::with_opts(seconds(
                "orderlog_append_duration_seconds",
                "From handing a batch to the log to its acknowledgement",
            ))),
            heartbeat: well_formed(Gauge::with_opts(opts(
                "orderlog_projection_heartbeat_timestamp_seconds",
                "When the service's loop last ran; it runs even when idle",
            ))),
            positions: Mutex::default(),
        };
        measures.begin_at_zero();
        measures
    }

    /// Creates every series at zero. A series that appears only with its first event has no rate for it.
    fn begin_at_zero(&self) {
        OUTCOMES.iter().for_each(|outcome| drop(self.commands.with_label_values(&[outcome])));
        ["accepted", "void", "parked", "discarded"]
            .iter()
            .for_each(|verdict| drop(self.folded.with_label_values(&[verdict])));
        HANDED_OVER.iter().for_each(|outcome| drop(self.handed_over.with_label_values(&[outcome])));
        ["refused", "too_large", "unknown"]
            .iter()
            .for_each(|kind| drop(self.append_failures.with_label_values(&[kind])));
    }

    /// Returns a collector of all families, to be registered.
    pub fn collector(self: &std::sync::Arc<Self>) -> Box<dyn Collector> {
        Box::new(Families(std::sync::Arc::clone(self)))
    }

    fn families(&self) -> [&dyn Collector; 11] {
        [
            &self.commands,
            &self.command_seconds,
            &self.command_retries,
            &self.handed_over,
            &self.folded,
            &self.foreign,
            &self.appended,
            &self.appended_bytes,
            &self.append_failures,
            &self.append_seconds,
            &self.heartbeat,
        ]
    }

    /// Counts a command with its outcome and duration.
    pub fn executed(&self, outcome: &'static str, took: Duration) {
        self.commands.with_label_values(&[outcome]).inc();
        self.command_seconds.with_label_values(&[outcome]).observe(took.as_secs_f64());
    }

    /// Counts a command forwarded to the lease holder, and whether it answered.
    pub fn handed_over(&self, is_answered: bool) {
        self.handed_over.with_label_values(&[HANDED_OVER[usize::from(!is_answered)]]).inc();
    }

    /// Counts a turn of the loop, and what it folded since the previous one.
    pub fn turned(&self, now: Millis, Tally { accepted, void, parked, discarded, foreign, lost_races }: Tally) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in a double")]
        self.heartbeat.set(now as f64 / 1_000.0);
        for (verdict, n) in [("accepted", accepted), ("void", void), ("parked", parked), ("discarded", discarded)] {
            if n > 0 {
                self.folded.with_label_values(&[verdict]).inc_by(n);
            }
        }
        self.foreign.inc_by(foreign);
        self.command_retries.inc_by(lost_races);
    }

    /// Counts an appended batch. `sizes` has the bytes of each record.
    pub fn appended(&self, begun: Instant, sizes: &[usize], results: &[Result<Landed, AppendError>]) {
        self.append_seconds.observe(begun.elapsed().as_secs_f64());
        for (size, result) in sizes.iter().zip(results) {
            match result {
                Ok(_) => {
                    self.appended.inc();
                    self.appended_bytes.inc_by(*size as u64);
                }
                Err(AppendError::Refused { .. }) => self.append_failures.with_label_values(&["refused"]).inc(),
                Err(AppendError::TooLarge { .. }) => self.append_failures.with_label_values(&["too_large"]).inc(),
                Err(AppendError::Unknown { .. }) => self.append_failures.with_label_values(&["unknown"]).inc(),
            }
        }
    }

    /// Sets the positions of a background task.
    pub fn stands(&self, task: &'static str, reached: &[(Partition, Position)]) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, position) in reached {
            positions.insert((task, partition.clone()), position.next);
        }
    }

    /// Removes the positions of a background task that no longer runs here.
    pub fn rests(&self, task: &'static str) {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).retain(|(it, _), _| *it != task);
    }

    /// Returns the positions of the background tasks that run here: task, partition and offset.
    pub fn task_positions(&self) -> Vec<(&'static str, Partition, u64)> {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.iter().map(|((task, partition), next)| (*task, partition.clone(), *next)).collect()
    }
}

/// All families of one service as one collector.
struct Families(std::sync::Arc<Measures>);

impl Collector for Families {
    fn desc(&self) -> Vec<&Desc> {
        self.0.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.families().into_iter().flat_map(Collector::collect).collect()
    }
}

/// Unwraps a metric. Names and labels are constants of this program.
fn well_formed<T, E: Debug>(metric: Result<T, E>) -> T {
    metric.expect("the names of metrics and labels are well formed")
}
