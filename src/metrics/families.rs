//! What metrics are made of: a family for each, with a series for each combination of labels.

use std::collections::HashMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Counter, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts,
};

/// Names and labels are constants here, and every test makes a `Metrics`.
pub(super) const VALID: &str = "metric names and labels are valid and unique";

/// All series of one name.
pub(super) trait SeriesFamily: Send + Sync {
    /// What shows them.
    fn collector(&self) -> Box<dyn Collector>;

    /// Forgets the series with a label whose value need not be kept, as `keeps` says of a label and its value.
    fn forget(&self, keeps: &dyn Fn(&str, &str) -> bool);
}

/// All families.
pub(super) struct Families(pub(super) Vec<Box<dyn SeriesFamily>>);

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Families").field(&self.0.len()).finish()
    }
}

impl<B: MetricVecBuilder + 'static> SeriesFamily for MetricVec<B> {
    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }

    fn forget(&self, keeps: &dyn Fn(&str, &str) -> bool) {
        let families = self.collect();
        for series in families.iter().flat_map(|family| family.get_metric()) {
            let labels = series.get_label().iter();
            let labels: HashMap<_, _> = labels.map(|it| (it.name(), it.value())).collect();
            if !labels.iter().all(|(label, value)| keeps(label, value)) {
                // An error only says that there is no such series any more.
                let _ = self.remove(&labels);
            }
        }
    }
}

/// Series without labels of the configuration stay.
macro_rules! single {
    ($($single:ty),*) => {
        $(impl SeriesFamily for $single {
            fn collector(&self) -> Box<dyn Collector> {
                Box::new(self.clone())
            }

            fn forget(&self, _: &dyn Fn(&str, &str) -> bool) {}
        })*
    };
}

single!(Counter, Gauge, IntCounter, IntGauge);

/// A counter for each combination of labels.
pub(super) fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(VALID)
}

/// A gauge for each combination of labels.
pub(super) fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect(VALID)
}

/// A histogram for each value of a label.
pub(super) fn histogram(name: &str, help: &str, label: &str, buckets: &[f64]) -> HistogramVec {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    HistogramVec::new(opts, &[label]).expect(VALID)
}

/// In seconds, as Prometheus has times.
pub(super) fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
