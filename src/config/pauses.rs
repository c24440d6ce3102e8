//! How long a token request that failed is left alone.

use std::time::Duration;

use super::read::Section;

/// The longest pauses between token requests that fail. The first ones are shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pauses {
    /// Where nobody says that it is pointless.
    pub retry: Duration,
    /// Where the server refuses the client.
    pub refused: Duration,
    /// Where the server says how long (RFC 9110 section 10.2.3): more than this is not waited for.
    pub retry_after: Duration,
}

/// The first ones, which no pause undercuts.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const FIRST_REFUSED: Duration = Duration::from_secs(2);

impl Default for Pauses {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(30),
            refused: Duration::from_secs(5 * 60),
            retry_after: Duration::from_secs(5 * 60),
        }
    }
}

impl Pauses {
    /// Its keys, which stand among those of a credential.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let time = |key, default, least| section.duration(key, default, least);
        Self {
            retry: time("max_retry_pause", default.retry, FIRST_RETRY),
            refused: time("max_refused_pause", default.refused, FIRST_REFUSED),
            retry_after: time("max_retry_after", default.retry_after, FIRST_RETRY),
        }
    }
}
