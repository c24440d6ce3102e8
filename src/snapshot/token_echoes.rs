//! What is told of upstreams that send the token back that they were sent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

/// No more than one line about an upstream in this time.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Counts and tells how often the token of one upstream came back in the head or the trailers of a response.
#[derive(Debug)]
pub struct TokenEchoes {
    upstream: String,
    counter: IntCounter,
    start: Instant,
    /// Milliseconds from `start` until the next line may be written.
    quiet_until: AtomicU64,
    /// Since the last line.
    untold: AtomicU64,
}

impl TokenEchoes {
    pub(super) fn new(upstream: &str, counter: IntCounter) -> Self {
        Self {
            upstream: upstream.to_owned(),
            counter,
            start: Instant::now(),
            quiet_until: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// The token has been taken out of one header, or of another part of the head.
    #[cold]
    pub fn report(&self, place: &str) {
        self.counter.inc();
        self.untold.fetch_add(1, Relaxed);
        let since = |duration: Duration| duration.as_millis() as u64;
        let now = since(self.start.elapsed());
        let quiet_until = self.quiet_until.load(Relaxed);
        let next = now + since(LINE_INTERVAL);
        let is_due = now >= quiet_until
            && self
                .quiet_until
                .compare_exchange(quiet_until, next, Relaxed, Relaxed)
                .is_ok();
        if is_due {
            tracing::warn!(
                upstream = self.upstream,
                header = place,
                times = self.untold.swap(0, Relaxed),
                "the upstream sent the token back in a header of its response; the client does not get it",
            );
        }
    }
}
