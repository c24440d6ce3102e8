//! The series about TLS with clients.

use prometheus::{GaugeVec, IntCounterVec, Opts};

use super::families::{SeriesFamily, VALID, counter};

/// The series of all listeners with TLS.
#[derive(Debug, Clone)]
pub(super) struct HandshakeSeries {
    pub(super) handshakes: IntCounterVec,
    pub(super) interceptions: IntCounterVec,
    pub(super) certificate_expiry: GaugeVec,
    pub(super) crl_next_update: GaugeVec,
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
            interceptions: counter(
                "sidebearer_intercepted_handshakes_total",
                "TLS handshakes that are ended inside of a CONNECT, by outcome.",
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

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 4] {
        [
            Box::new(self.handshakes.clone()),
            Box::new(self.interceptions.clone()),
            Box::new(self.certificate_expiry.clone()),
            Box::new(self.crl_next_update.clone()),
        ]
    }
}
