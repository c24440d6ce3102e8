//! What is counted of the keys and reviews that tell callers by their tokens.

use std::time::Duration;

use prometheus::{Gauge, GaugeVec, IntCounterVec, Opts};

use super::families::{SeriesFamily, VALID, counter};
use super::outcomes::{REVIEW_OUTCOMES, TOKEN_OUTCOMES};

/// The series of all issuers.
#[derive(Debug, Clone)]
pub(super) struct CallerTokenSeries {
    fetches: IntCounterVec,
    fetched_at: GaugeVec,
    reviews: IntCounterVec,
}

/// Counts how the keys of one issuer are fetched.
#[derive(Debug, Clone)]
pub struct CallerKeyMetrics {
    fetches: IntCounterVec,
    fetched_at: Gauge,
    issuer: String,
}

/// Counts reviews of tokens.
#[derive(Debug, Clone)]
pub struct CallerReviewMetrics(IntCounterVec);

impl CallerTokenSeries {
    pub(super) fn new() -> Self {
        let fetched_at = Opts::new(
            "sidebearer_caller_keys_timestamp_seconds",
            "When the keys in use were fetched, Unix time; 0 without any.",
        );
        Self {
            fetches: counter(
                "sidebearer_caller_key_fetches_total",
                "Attempts to fetch the keys that verify tokens of callers.",
                &["issuer", "outcome"],
            ),
            fetched_at: GaugeVec::new(fetched_at, &["issuer"]).expect(VALID),
            reviews: counter(
                "sidebearer_caller_reviews_total",
                "Tokens of service accounts that the API server was asked about.",
                &["outcome"],
            ),
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 3] {
        [
            Box::new(self.fetches.clone()),
            Box::new(self.fetched_at.clone()),
            Box::new(self.reviews.clone()),
        ]
    }
}

impl CallerTokenSeries {
    /// The handles of one issuer, all of whose series are there from here on.
    pub(super) fn keys(&self, issuer: &str) -> CallerKeyMetrics {
        let CallerTokenSeries {
            fetches,
            fetched_at,
            ..
        } = self;
        for outcome in TOKEN_OUTCOMES {
            fetches.with_label_values(&[issuer, outcome]);
        }
        CallerKeyMetrics {
            fetches: fetches.clone(),
            fetched_at: fetched_at.with_label_values(&[issuer]),
            issuer: issuer.to_owned(),
        }
    }

    /// Forgets an issuer that the configuration no longer has.
    pub(super) fn forget_keys(&self, issuer: &str) {
        // An error only says that there was no such series.
        let _ = self.fetched_at.remove_label_values(&[issuer]);
    }

    /// The handles of reviews, all of whose series are there from here on.
    pub(super) fn reviews(&self) -> CallerReviewMetrics {
        let reviews = &self.reviews;
        for outcome in REVIEW_OUTCOMES {
            reviews.with_label_values(&[outcome]);
        }
        CallerReviewMetrics(reviews.clone())
    }
}

impl CallerKeyMetrics {
    /// An attempt ended with one of [`TOKEN_OUTCOMES`].
    pub fn count_fetch(&self, outcome: &'static str) {
        debug_assert!(TOKEN_OUTCOMES.contains(&outcome), "{outcome}");
        let labels = [self.issuer.as_str(), outcome];
        self.fetches.with_label_values(&labels).inc();
    }

    /// When the keys in use were fetched, since the Unix epoch.
    pub fn set_fetched_at(&self, at: Duration) {
        self.fetched_at.set(at.as_secs_f64());
    }
}

impl CallerReviewMetrics {
    /// A review ended with one of [`REVIEW_OUTCOMES`].
    pub fn count(&self, outcome: &'static str) {
        debug_assert!(REVIEW_OUTCOMES.contains(&outcome), "{outcome}");
        self.0.with_label_values(&[outcome]).inc();
    }
}
