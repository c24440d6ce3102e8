//! What is counted and shown of TLS with clients.

use std::path::Path;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, Opts};

use super::Metrics;
use super::families::{VALID, counter};
use super::outcomes::HANDSHAKE_OUTCOMES;

/// The series of all listeners with TLS.
#[derive(Debug, Clone)]
pub(super) struct HandshakeSeries {
    handshakes: IntCounterVec,
    certificate_expiry: GaugeVec,
    crl_next_update: GaugeVec,
}

/// What the files of one listener with TLS hold.
#[derive(Debug, Clone)]
pub struct ListenerExpiry<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// Each certificate with its end, since the Unix epoch.
    pub certificates: Vec<(&'a Path, Duration)>,
    /// When the first of its CRLs is due to be renewed, since the Unix epoch.
    pub next_crl_update: Option<Duration>,
}

impl HandshakeSeries {
    pub(super) fn new() -> Self {
        let times = |name: &str, help: &str, labels: &[&str]| {
            GaugeVec::new(Opts::new(name, help), labels).expect(VALID)
        };
        Self {
            handshakes: counter(
                "sidebearer_tls_handshakes_total",
                "TLS handshakes with clients, by outcome.",
                &["listener", "outcome"],
            ),
            certificate_expiry: times(
                "sidebearer_listener_certificate_expiry_timestamp_seconds",
                "When a certificate of a listener ends, Unix time.",
                &["listener", "certificate_file"],
            ),
            crl_next_update: times(
                "sidebearer_listener_crl_next_update_timestamp_seconds",
                "When the first of the CRLs of a listener is due to be renewed, Unix time.",
                &["listener"],
            ),
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 3] {
        [
            Box::new(self.handshakes.clone()),
            Box::new(self.certificate_expiry.clone()),
            Box::new(self.crl_next_update.clone()),
        ]
    }
}

impl Metrics {
    /// A handshake with a client of this listener ended with one of [`HANDSHAKE_OUTCOMES`].
    pub fn count_handshake(&self, listener: &str, outcome: &'static str) {
        debug_assert!(HANDSHAKE_OUTCOMES.contains(&outcome), "{outcome}");
        let labels = [listener, outcome];
        self.handshakes.handshakes.with_label_values(&labels).inc();
    }

    /// Shows what ends when, of all listeners with TLS that there are.
    pub fn show_expiry<'a>(&self, listeners: impl Iterator<Item = ListenerExpiry<'a>>) {
        let HandshakeSeries {
            handshakes,
            certificate_expiry,
            crl_next_update,
        } = &self.handshakes;
        certificate_expiry.reset();
        crl_next_update.reset();
        for listener in listeners {
            let name = listener.listener;
            // So that the series is there before the first.
            handshakes.with_label_values(&[name, "success"]);
            for (file, end) in listener.certificates {
                let file = file.display().to_string();
                let expiry = certificate_expiry.with_label_values(&[name, &*file]);
                expiry.set(end.as_secs_f64());
            }
            if let Some(at) = listener.next_crl_update {
                crl_next_update
                    .with_label_values(&[name])
                    .set(at.as_secs_f64());
            }
        }
    }
}
