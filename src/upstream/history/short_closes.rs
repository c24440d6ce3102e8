//! Idle connections that an upstream closes so soon that a restart is as likely as an idle timeout.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Connections that are closed within this time of each other have one cause, which counts once.
pub(super) const TOGETHER: Duration = Duration::from_secs(2);

/// How long an observation counts.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3600);

/// So many closes, one after the other, show an idle timeout, ...
const ENOUGH: u32 = 4;

/// ... if no more than so many connections have answered for each one after they were idle for about as long. A server that
/// restarts, or that closes connections after a number of requests, lets many more answer.
const MOST_ANSWERS: u32 = 4;

/// More answers are not counted: so many closes would be needed that one more or less does not matter.
const MANY: u32 = 10_000;

/// The closes of the last hour. They are recorded by one thread at a time, and answers by all.
#[derive(Debug)]
pub(super) struct ShortCloses {
    /// When the first and the last one came that counts, in milliseconds from the start of the history.
    first: AtomicU64,
    last: AtomicU64,
    count: AtomicU32,
    /// The shortest time for which one had been idle, and what counts as about as long; in milliseconds, the maximum
    /// while there is none.
    shortest: AtomicU64,
    comparable: AtomicU64,
    /// Connections that have answered after they were idle for a comparable time.
    answered: AtomicU32,
}

impl Default for ShortCloses {
    fn default() -> Self {
        Self {
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            count: AtomicU32::new(0),
            shortest: AtomicU64::new(u64::MAX),
            comparable: AtomicU64::new(u64::MAX),
            answered: AtomicU32::new(0),
        }
    }
}

impl ShortCloses {
    /// A connection was closed after this time. How long the upstream keeps them at most, if that has been shown.
    pub(super) fn record(&self, idle: Duration, now: u64) -> Option<Duration> {
        let mut count = self.count.load(Relaxed);
        if count > 0 && now.saturating_sub(self.first.load(Relaxed)) >= millis(REMEMBERED) {
            count = 0;
        }
        if count == 0 {
            self.first.store(now, Relaxed);
            self.shortest.store(u64::MAX, Relaxed);
            self.answered.store(0, Relaxed);
        } else if now.saturating_sub(self.last.load(Relaxed)) < millis(TOGETHER) {
            return None;
        }
        let count = count.saturating_add(1);
        let shortest = self.shortest.load(Relaxed).min(millis(idle));
        self.last.store(now, Relaxed);
        self.count.store(count, Relaxed);
        self.shortest.store(shortest, Relaxed);
        self.comparable.store(shortest * 3 / 4, Relaxed);
        let answered = self.answered.load(Relaxed);
        let shows = count >= ENOUGH && answered <= count.saturating_mul(MOST_ANSWERS);
        shows.then(|| Duration::from_millis(shortest))
    }

    /// A connection has answered after this time. Costs one load while no connection is closed early.
    pub(super) fn record_answer(&self, idle: Duration) {
        let comparable = self.comparable.load(Relaxed);
        let counts = comparable < u64::MAX && millis(idle) >= comparable;
        if counts && self.answered.load(Relaxed) < MANY {
            self.answered.fetch_add(1, Relaxed);
        }
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is learnt from closes every three seconds, each after as many answers.
    fn learnt(idle: &[u64], answers: u32, answered_after: u64) -> Option<Duration> {
        let closes = ShortCloses::default();
        let mut learnt = None;
        for (idle, number) in idle.iter().zip(1..) {
            learnt = closes.record(Duration::from_millis(*idle), number * 3000);
            for _ in 0..answers {
                closes.record_answer(Duration::from_millis(answered_after));
            }
        }
        learnt
    }

    #[test]
    fn four_closes_one_after_the_other_show_a_short_idle_timeout() {
        assert_eq!(learnt(&[1000, 1100, 1000], 0, 0), None);
        let second = Some(Duration::from_secs(1));
        assert_eq!(learnt(&[1000, 1100, 1000, 1400], 0, 0), second);
        assert_eq!(learnt(&[1100, 1100, 1100, 1000], 2, 1000), second);
        // Those that were idle for a clearly shorter time say nothing.
        assert_eq!(learnt(&[1000, 1100, 1000, 1400], 100, 700), second);
    }

    #[test]
    fn connections_that_answer_after_as_long_show_that_it_was_something_else() {
        assert_eq!(learnt(&[200; 50], 99, 200), None);
        assert_eq!(learnt(&[1000; 4], 10, 800), None);
    }

    #[test]
    fn closes_of_one_restart_count_once_and_for_an_hour() {
        let closes = ShortCloses::default();
        let second = Duration::from_secs(1);
        for now in 0..100 {
            assert_eq!(closes.record(second, 10_000 + now * 19), None, "{now}");
        }
        for at in [15_000, 20_000] {
            assert_eq!(closes.record(second, at), None);
        }
        assert_eq!(closes.record(second, 10_000 + millis(REMEMBERED)), None);
        let closes = ShortCloses::default();
        let record = |number: u64| closes.record(second, number * 5000);
        assert_eq!((1..=4).map(record).last(), Some(Some(second)));
    }
}
