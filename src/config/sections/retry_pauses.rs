//! Reads how long a token request that failed is left alone.

use super::super::keys::{CREDENTIAL, CREDENTIAL_TABLE};
use super::super::read::Section;
use super::super::settings::RetryPauses;

impl Default for RetryPauses {
    fn default() -> Self {
        Section::unwritten(&CREDENTIAL_TABLE, |section| Self::read(&section))
    }
}

impl RetryPauses {
    /// Its keys, which stand among those of a credential.
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            retry: section.read(&CREDENTIAL.max_retry_pause),
            refused: section.read(&CREDENTIAL.max_refused_pause),
            retry_after: section.read(&CREDENTIAL.max_retry_after),
        }
    }
}
