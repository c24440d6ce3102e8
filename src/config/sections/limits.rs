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
