//! Reads `limits` tables.

use super::super::keys::LIMITS;
use super::super::kinds::SubTable;
use super::super::read::{Key, Section};
use super::super::settings::Limits;

impl Limits {
    /// Reads the table under `key`, if there is one.
    pub(super) fn read(section: &Section<'_>, key: &Key<SubTable>) -> Self {
        let Some(section) = section.read(key) else {
            return Self::default();
        };
        Self {
            requests_per_second: section.read(&LIMITS.requests_per_second),
            burst: section.read(&LIMITS.burst),
            concurrent: section.read(&LIMITS.concurrent),
            tunnels: section.read(&LIMITS.tunnels),
        }
    }
}

/// Reports a burst of nothing.
pub(super) fn refuse_burst_alone(section: &Section<'_>, key: &Key<SubTable>, limits: &Limits) {
    if limits.burst.is_some()
        && limits.requests_per_second.is_none()
        && let Some(value) = section.written(key)
    {
        value.error("has `burst` without `requests_per_second`", BURST_ALONE);
    }
}

/// What a burst needs.
pub(in crate::config) const BURST_ALONE: &str =
    "a burst is what may come at once within a rate: expected both, or neither";
