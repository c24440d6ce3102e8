//! `sidebearer run`: serves until it is told to stop.

use std::path::Path;

use super::Failure;
use crate::config::{self, Loaded};
use crate::process;
use crate::telemetry::{self, LogHandle};

/// Reads the configuration, starts the log and raises the limits: everything before sockets.
///
/// # Errors
/// Every problem of the configuration at once.
pub fn prepare(path: &Path) -> Result<(Loaded, LogHandle), Failure> {
    let loaded = config::load(path)?;
    let log = telemetry::init(&loaded.config.log);
    // From here on stderr may be read by a machine: warnings are log lines too.
    if !loaded.warnings.0.is_empty() {
        tracing::warn!("{}", loaded.warnings.to_string().trim_end());
    }
    let max_connections = loaded.config.server.max_connections;
    if let Some(warning) = process::raise_open_files(max_connections) {
        tracing::warn!("{warning}");
    }
    Ok((loaded, log))
}
