//! How long a token request that failed is left alone.

use std::time::Duration;

use super::keys::{CREDENTIAL, CREDENTIAL_TABLE};
use super::read::Section;

/// The longest pauses between token requests that fail. The first ones are shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPauses {
    /// Where nobody says that it is pointless.
    pub retry: Duration,
    /// Where the server refuses the client.
    pub refused: Duration,
    /// Where the server says how long (RFC 9110 section 10.2.3): more than this is not waited for.
    pub retry_after: Duration,
}

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
