//! What is counted and shown of listeners with TLS.

use std::path::Path;
use std::time::Duration;

use super::Metrics;
use super::outcomes::{HANDSHAKE_OUTCOMES, INTERCEPTION_OUTCOMES};
use super::series::MOST_AT_ZERO;

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

impl Metrics {
    /// A handshake with a client of this listener ended with one of [`HANDSHAKE_OUTCOMES`].
    pub fn count_handshake(&self, listener: &str, outcome: &'static str) {
        debug_assert!(HANDSHAKE_OUTCOMES.contains(&outcome), "{outcome}");
        let labels = [listener, outcome];
        self.handshakes.handshakes.with_label_values(&labels).inc();
    }

    /// A handshake inside of a CONNECT to this listener ended so: with one of `INTERCEPTION_OUTCOMES`.
    pub fn count_interception(&self, listener: &str, outcome: &'static str) {
        debug_assert!(INTERCEPTION_OUTCOMES.contains(&outcome), "{outcome}");
        let labels = [listener, outcome];
        let series = &self.handshakes.interceptions;
        series.with_label_values(&labels).inc();
    }

    /// These listeners intercept: their series are there before the first handshake.
    pub fn begin_interception<'a>(&self, listeners: impl Iterator<Item = &'a String>) {
        let series = &self.handshakes.interceptions;
        for listener in listeners.take(MOST_AT_ZERO) {
            for outcome in INTERCEPTION_OUTCOMES {
                series.with_label_values(&[listener.as_str(), outcome]);
            }
        }
    }

    /// Shows what ends when, of all listeners with TLS that there are.
    pub fn show_expiry<'a>(&self, listeners: impl Iterator<Item = ListenerExpiry<'a>>) {
        let series = &self.handshakes;
        series.certificate_expiry.reset();
        series.crl_next_update.reset();
        for (place, listener) in listeners.enumerate() {
            let name = listener.listener;
            if place < MOST_AT_ZERO {
                for outcome in HANDSHAKE_OUTCOMES {
                    series.handshakes.with_label_values(&[name, outcome]);
                }
            }
            for (file, end) in listener.certificates {
                let file = file.display().to_string();
                let expiry = series.certificate_expiry.with_label_values(&[name, &*file]);
                expiry.set(end.as_secs_f64());
            }
            if let Some(at) = listener.next_crl_update {
                series
                    .crl_next_update
                    .with_label_values(&[name])
                    .set(at.as_secs_f64());
            }
        }
    }
}
