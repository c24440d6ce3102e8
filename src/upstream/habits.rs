//! What has been learnt of an upstream's connections, for all shards.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// How long no connection of HTTP/1.1 carries a second request after bytes came behind an answer.
const DISTRUST: Duration = Duration::from_secs(600);

/// What has been learnt of an upstream's connections. Looking costs a load or two.
#[derive(Debug)]
pub struct Habits {
    /// Times are milliseconds since then.
    start: Instant,
    /// Until then no connection is used twice.
    distrusted_until: AtomicU64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            distrusted_until: AtomicU64::new(0),
        }
    }
}

impl Habits {
    /// How long a connection may be idle and still carry another request; zero: none may.
    pub fn keep(&self, now: Instant) -> Duration {
        match self.millis(now) < self.distrusted_until.load(Relaxed) {
            true => Duration::ZERO,
            false => Duration::MAX,
        }
    }

    /// Something came that nothing had asked for. Tells whether this is news.
    pub fn strayed(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let until = now.saturating_add(millis(DISTRUST));
        self.distrusted_until.swap(until, Relaxed) <= now
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.start))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sends_what_nothing_asked_for_is_distrusted_for_a_while() {
        let habits = Habits::default();
        let start = habits.start;
        assert_eq!(habits.keep(start), Duration::MAX);
        assert!(habits.strayed(start));
        assert!(!habits.strayed(start + DISTRUST / 2), "no news");
        assert_eq!(habits.keep(start + DISTRUST), Duration::ZERO);
        assert_eq!(habits.keep(start + DISTRUST * 3 / 2), Duration::MAX);
        assert!(habits.strayed(start + DISTRUST * 2));
    }
}
