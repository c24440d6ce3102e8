//! How long a token request that failed is left alone.

use std::time::Duration;

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
