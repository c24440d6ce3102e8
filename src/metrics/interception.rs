//! The series about the CA of interception.

use std::path::PathBuf;
use std::time::Duration;

use prometheus::{GaugeVec, Opts};

use super::families::{SeriesFamily, VALID};

/// The series of the CA.
#[derive(Debug, Clone)]
pub(super) struct InterceptionSeries {
    certificate_expiry: GaugeVec,
}

impl InterceptionSeries {
    pub(super) fn new() -> Self {
        let certificate_expiry = Opts::new(
            "sidebearer_interception_certificate_expiry_timestamp_seconds",
            "When the issuer of intercepted hosts ends, or the one that is to come, Unix time.",
        );
        Self {
            certificate_expiry: GaugeVec::new(certificate_expiry, &["certificate_file"])
                .expect(VALID),
        }
    }

    pub(super) fn collectors(&self) -> [Box<dyn SeriesFamily>; 1] {
        [Box::new(self.certificate_expiry.clone())]
    }

    /// Shows these issuers, by their files, and when each ends, since the Unix epoch.
    pub(super) fn show(&self, issuers: impl Iterator<Item = (PathBuf, Duration)>) {
        self.certificate_expiry.reset();
        for (file, end) in issuers {
            let file = file.display().to_string();
            let expiry = self.certificate_expiry.with_label_values(&[file]);
            expiry.set(end.as_secs_f64());
        }
    }
}
