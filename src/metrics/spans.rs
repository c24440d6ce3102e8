//! What becomes of the spans of traces.

use prometheus::{IntCounter, IntCounterVec};

use super::families::{SeriesFamily, counter};

/// Counts the spans of traces.
#[derive(Debug, Clone)]
pub struct SpanMetrics {
    /// Those that the collector has taken.
    pub exported: IntCounter,
    /// Those for which there was no room.
    pub dropped: IntCounter,
    /// Those that the collector could not be given, or has refused.
    pub failed: IntCounter,
    spans: IntCounterVec,
}

impl SpanMetrics {
    pub(super) fn new() -> Self {
        let spans = counter(
            "sidebearer_spans_total",
            "Spans of traces, by what became of them.",
            &["outcome"],
        );
        Self {
            exported: spans.with_label_values(&["exported"]),
            dropped: spans.with_label_values(&["dropped"]),
            failed: spans.with_label_values(&["failed"]),
            spans,
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 1] {
        [Box::new(self.spans.clone())]
    }
}
