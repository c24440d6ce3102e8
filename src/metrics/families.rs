//! What metrics are made of: a family for each, with a series for each combination of labels.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

/// Names and labels are constants here, and every test makes a `Metrics`.
pub(super) const VALID: &str = "metric names and labels are valid and unique";

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
