//! Times in certificates and CRLs.

use std::time::Duration;

use x509_parser::time::ASN1Time;

/// The same time since the Unix epoch. What lies before the epoch counts as the epoch.
pub fn since_epoch(time: ASN1Time) -> Duration {
    Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
