//! What is counted of the tokens of credentials.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

use super::Metrics;
use super::outcomes::TOKEN_OUTCOMES;

/// Counts the token requests of one credential.
#[derive(Debug, Clone)]
pub struct CredentialMetrics {
    requests: IntCounterVec,
    duration: Histogram,
    expiry: Gauge,
    settings_pending: IntGauge,
    rejections: IntCounter,
    credential: String,
}

impl Metrics {
    /// The handles of one credential.
    pub fn credential(&self, credential: &str) -> CredentialMetrics {
        CredentialMetrics {
            requests: self.token_requests.clone(),
            duration: self.token_request_duration.with_label_values(&[credential]),
            expiry: self.token_expiry.with_label_values(&[credential]),
            settings_pending: self.settings_pending.with_label_values(&[credential]),
            rejections: self.token_rejections.with_label_values(&[credential]),
            credential: credential.to_owned(),
        }
    }

    /// Forgets a credential that the configuration no longer has.
    pub fn forget_credential(&self, credential: &str) {
        // An error only says that there was no such series.
        let _ = self.token_expiry.remove_label_values(&[credential]);
        let _ = self.settings_pending.remove_label_values(&[credential]);
    }
}

impl CredentialMetrics {
    /// A token request ended with one of [`TOKEN_OUTCOMES`].
    pub fn count_token_request(&self, outcome: &'static str, took: Duration) {
        debug_assert!(TOKEN_OUTCOMES.contains(&outcome), "{outcome}");
        self.requests
            .with_label_values(&[self.credential.as_str(), outcome])
            .inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Whether settings that a reload changed have not brought a token yet.
    pub fn set_settings_pending(&self, pending: bool) {
        self.settings_pending.set(i64::from(pending));
    }

    /// The current token's expiry since the Unix epoch; zero without one.
    pub fn set_expiry(&self, at: Duration) {
        self.expiry.set(at.as_secs_f64());
    }

    /// An upstream rejected the current token.
    pub fn count_rejection(&self) {
        self.rejections.inc();
    }
}
