//! What becomes of the records of the audit.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::families::{SeriesFamily, VALID, counter};

/// Counts the records of the audit.
#[derive(Debug, Clone)]
pub struct AuditMetrics {
    /// Records that were written.
    pub written: IntCounter,
    /// Records that were dropped.
    pub dropped: IntCounter,
    /// Tries that failed.
    pub write_errors: IntCounter,
    /// How many files cannot be written now.
    pub failing: IntGauge,
    records: IntCounterVec,
}

impl AuditMetrics {
    pub(super) fn new() -> Self {
        let records = counter(
            "sidebearer_audit_records_total",
            "Records of the audit, by what became of them.",
            &["outcome"],
        );
        Self {
            written: records.with_label_values(&["written"]),
            dropped: records.with_label_values(&["dropped"]),
            write_errors: IntCounter::new(
                "sidebearer_audit_write_errors_total",
                "Tries to write audit records that failed.",
            )
            .expect(VALID),
            failing: IntGauge::new(
                "sidebearer_audit_failing",
                "Files that audit records cannot be written to now.",
            )
            .expect(VALID),
            records,
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 3] {
        [
            Box::new(self.records.clone()),
            Box::new(self.write_errors.clone()),
            Box::new(self.failing.clone()),
        ]
    }
}
