//! What is counted of the connections to upstreams, and of what they send back.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Metrics;
use super::outcomes::CONNECT_OUTCOMES;

/// Counts the connections to one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    /// Connections that carry a request now.
    pub active: IntGauge,
    /// Connections kept for the next request.
    pub idle: IntGauge,
    connects: IntCounterVec,
    upstream: String,
}

impl Metrics {
    /// The handles of one upstream's connections.
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            active: self
                .upstream_connections
                .with_label_values(&[upstream, "active"]),
            idle: self
                .upstream_connections
                .with_label_values(&[upstream, "idle"]),
            connects: self.upstream_connects.clone(),
            upstream: upstream.to_owned(),
        }
    }

    /// Counts the headers in which one upstream sent its token back.
    pub fn token_echoes(&self, upstream: &str) -> IntCounter {
        self.token_echoes.with_label_values(&[upstream])
    }
}

impl UpstreamMetrics {
    /// An attempt to connect ended with one of [`CONNECT_OUTCOMES`].
    pub fn count_connect(&self, outcome: &'static str) {
        debug_assert!(CONNECT_OUTCOMES.contains(&outcome), "{outcome}");
        self.connects
            .with_label_values(&[self.upstream.as_str(), outcome])
            .inc();
    }
}
