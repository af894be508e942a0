//! Metrics that are computed on request: a sheet is filled for each response and then dropped.

use std::collections::BTreeMap;

use prometheus::{CounterVec, GaugeVec, Opts, core::Collector, proto::MetricFamily};

/// A label and its value.
pub type Label<'a> = (&'static str, &'a str);

const WELL_FORMED: &str = "the names of metrics and labels are well formed";

/// Gauges and counters by name.
#[derive(Default)]
pub struct Sheet {
    gauges: BTreeMap<&'static str, GaugeVec>,
    counters: BTreeMap<&'static str, CounterVec>,
}

impl Sheet {
    /// Sets a gauge. A name must always have the same labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, labels: &[Label<'_>], value: f64) {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let family = self.gauges.entry(name);
        let family = family.or_insert_with(|| GaugeVec::new(Opts::new(name, help), &names).expect(WELL_FORMED));
        family.with_label_values(&values).set(value);
    }

    /// Sets a gauge to a count.
    pub fn count(&mut self, name: &'static str, help: &str, labels: &[Label<'_>], n: u64) {
        #[expect(clippy::cast_precision_loss, reason = "an offset above 2^53 is not reached")]
        self.gauge(name, help, labels, n as f64);
    }

    pub fn counter(&mut self, name: &'static str, help: &str, labels: &[Label<'_>], value: f64) {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let family = self.counters.entry(name);
        let family = family.or_insert_with(|| CounterVec::new(Opts::new(name, help), &names).expect(WELL_FORMED));
        family.with_label_values(&values).inc_by(value.max(0.0));
    }

    pub fn families(&self) -> Vec<MetricFamily> {
        let gauges = self.gauges.values().flat_map(Collector::collect);
        gauges.chain(self.counters.values().flat_map(Collector::collect)).collect()
    }
}
