//! `sidebearer check`: every problem of a configuration, or "ok".

use std::path::Path;

use super::{Failure, print, tell};
use crate::config::{self, Loaded};

/// Checks without touching the network. Warnings are told; they refuse nothing.
///
/// # Errors
/// Every problem at once, as [`Failure::Configuration`].
pub(super) fn offline(path: &Path) -> Result<Loaded, Failure> {
    let loaded = config::load(path)?;
    if !loaded.warnings.0.is_empty() {
        tell(&loaded.warnings);
    }
    Ok(loaded)
}

/// The whole command.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    offline(path)?;
    print("ok")
}
