//! What is counted of tunnels.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::families::{SeriesFamily, counter, gauge};

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both sides ended it.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// The client broke it off.
    Client,
    /// The upstream broke it off.
    Upstream,
    /// A reload ended its permission.
    Revoked,
    /// It was cut with the connection of its client: by the end of the process, or because that connection failed.
    Cut,
}

/// The series of all tunnels.
#[derive(Debug, Clone)]
pub(super) struct TunnelSeries {
    open: IntGaugeVec,
    ended: IntCounterVec,
    bytes: IntCounterVec,
}

/// Counts the tunnels of one listener to one upstream.
#[derive(Debug)]
pub struct TunnelMetrics {
    listener: String,
    upstream: String,
    open: IntGauge,
    ended: IntCounterVec,
    /// From the client, and to it.
    bytes: [IntCounter; 2],
}

impl TunnelEnd {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::Idle,
        Self::Client,
        Self::Upstream,
        Self::Revoked,
        Self::Cut,
    ];

    /// The value of the metric label `end`, and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Revoked => "revoked",
            Self::Cut => "cut",
        }
    }
}

impl TunnelSeries {
    pub(super) fn new() -> Self {
        Self {
            open: gauge(
                "sidebearer_tunnels",
                "Open tunnels.",
                &["listener", "upstream"],
            ),
            ended: counter(
                "sidebearer_tunnels_ended_total",
                "Tunnels that have ended, by what ended them.",
                &["listener", "upstream", "end"],
            ),
            bytes: counter(
                "sidebearer_tunnel_bytes_total",
                "Bytes that tunnels have moved.",
                &["listener", "upstream", "direction"],
            ),
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 3] {
        [
            Box::new(self.open.clone()),
            Box::new(self.ended.clone()),
            Box::new(self.bytes.clone()),
        ]
    }

    /// The handles of one listener and upstream. From here on all of its series are there.
    pub(super) fn of(&self, listener: &str, upstream: &str) -> Arc<TunnelMetrics> {
        for end in TunnelEnd::ALL {
            let labels = [listener, upstream, end.label()];
            self.ended.with_label_values(&labels);
        }
        let bytes = |direction| {
            let labels = [listener, upstream, direction];
            self.bytes.with_label_values(&labels)
        };
        Arc::new(TunnelMetrics {
            listener: listener.to_owned(),
            upstream: upstream.to_owned(),
            open: self.open.with_label_values(&[listener, upstream]),
            ended: self.ended.clone(),
            bytes: [bytes("from_client"), bytes("to_client")],
        })
    }

    /// How many are open, by listener and upstream, where there have been any.
    pub(super) fn open(&self) -> Vec<(String, String, i64)> {
        let families = self.open.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        series
            .map(|series| {
                let label = |name: &str| {
                    let mut labels = series.get_label().iter();
                    let label = labels.find(|label| label.name() == name);
                    label.map_or_else(String::new, |label| label.value().to_owned())
                };
                let open = series.get_gauge().get_value() as i64;
                (label("listener"), label("upstream"), open)
            })
            .collect()
    }
}

impl TunnelMetrics {
    /// The name of the listener.
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The name of the upstream; empty if there is none.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// A tunnel begins.
    pub fn count_begin(&self) {
        self.open.inc();
    }

    /// This many bytes have gone to the upstream, and to the client.
    pub fn count_bytes(&self, up: usize, down: usize) {
        for (counter, bytes) in self.bytes.iter().zip([up, down]) {
            if bytes > 0 {
                counter.inc_by(bytes as u64);
            }
        }
    }

    /// A tunnel has ended.
    pub fn count_end(&self, end: TunnelEnd) {
        self.open.dec();
        let labels = [self.listener.as_str(), &self.upstream, end.label()];
        self.ended.with_label_values(&labels).inc();
    }
}
