//! What has been learnt of an upstream's connections, for all shards.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long no connection of HTTP/1.1 carries a second request after bytes came behind an answer.
const DISTRUST: Duration = Duration::from_secs(600);

/// That an idle connection has ended is noticed so much later at most.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// Connections that end after less than this have met a restart, not the end of somebody's patience.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(1500);

/// What ends together has one cause, and is seen once.
const TOGETHER: Duration = Duration::from_secs(2);

/// How long what was seen counts.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Ends of connections that are remembered.
const ENDS: usize = 8;

/// How often the addresses of an upstream are looked up while there are connections to it.
const LOOK_UP: Duration = Duration::from_secs(30);

/// What has been learnt of an upstream's connections. Looking costs a load or two.
#[derive(Debug)]
pub struct Habits {
    /// Times are milliseconds since then.
    start: Instant,
    /// Until then no connection is used twice.
    distrusted_until: AtomicU64,
    /// How long an idle connection is kept, and until when that counts.
    patience: AtomicU64,
    patience_until: AtomicU64,
    ends: Mutex<VecDeque<End>>,
    /// Some of them are remembered.
    any_ends: AtomicBool,
    /// When a connection was last made; zero: the last attempt has failed.
    reached: AtomicU64,
    look_up_at: AtomicU64,
}

/// An idle connection was found to have ended.
#[derive(Debug, Clone, Copy)]
struct End {
    seen: Instant,
    /// It had been idle for at least so long.
    after: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            distrusted_until: AtomicU64::new(0),
            patience: AtomicU64::new(0),
            patience_until: AtomicU64::new(0),
            ends: Mutex::default(),
            any_ends: AtomicBool::new(false),
            reached: AtomicU64::new(0),
            look_up_at: AtomicU64::new(millis(LOOK_UP)),
        }
    }
}

impl Habits {
    /// How long a connection may be idle and still carry another request; zero: none may.
    pub fn keep(&self, now: Instant) -> Duration {
        let now = self.millis(now);
        if now < self.distrusted_until.load(Relaxed) {
            return Duration::ZERO;
        }
        self.patience(now).unwrap_or(Duration::MAX)
    }

    /// Something came that nothing had asked for. Tells whether this is news.
    pub fn strayed(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let until = now.saturating_add(millis(DISTRUST));
        self.distrusted_until.swap(until, Relaxed) <= now
    }

    /// A connection was ended by the upstream while it was idle, for so long. Two that end so after about
    /// the same time, one after the other, tell how long the upstream keeps them; from then on they are
    /// kept for three quarters of that. Tells how long that is, when it is news.
    pub fn ended(&self, idle: Duration, now: Instant) -> Option<Duration> {
        if idle < SHORTEST_PATIENCE {
            return None;
        }
        let after = idle - NOTICED_WITHIN;
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|end| now - end.seen < REMEMBERED);
        if ends.iter().any(|end| now - end.seen < TOGETHER) {
            return None;
        }
        let alike = ends.iter().map(|end| end.after);
        let alike = alike.filter(|other| is_alike(*other, after)).min();
        ends.truncate(ENDS - 1);
        ends.push_front(End { seen: now, after });
        self.any_ends.store(true, Relaxed);
        let patience = alike?.min(after) * 3 / 4;
        let now = self.millis(now);
        let before = self.patience(now);
        let patience = before.map_or(patience, |before| before.min(patience));
        self.patience.store(millis(patience), Relaxed);
        let until = now.saturating_add(millis(REMEMBERED));
        self.patience_until.store(until, Relaxed);
        (before != Some(patience)).then_some(patience)
    }

    /// A connection has answered after being idle for so long: one that ended after a clearly shorter
    /// time has met a restart, or an end of another kind.
    pub fn answered(&self, idle: Duration) {
        if idle >= SHORTEST_PATIENCE && self.any_ends.load(Relaxed) {
            self.refute(idle, Instant::now());
        }
    }

    #[cold]
    fn refute(&self, idle: Duration, now: Instant) {
        let refuted = |after: Duration| {
            let latest = after + NOTICED_WITHIN;
            idle > latest && !is_alike(idle, latest)
        };
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.retain(|end| !refuted(end.after));
        self.any_ends.store(!ends.is_empty(), Relaxed);
        let learnt = self.patience(self.millis(now));
        if learnt.is_some_and(|keep| refuted(keep * 4 / 3)) {
            self.patience_until.store(0, Relaxed);
        }
    }

    fn patience(&self, now: u64) -> Option<Duration> {
        let counts = now < self.patience_until.load(Relaxed);
        counts.then(|| Duration::from_millis(self.patience.load(Relaxed)))
    }

    /// An attempt to connect has gone well, or has failed.
    pub fn dialed(&self, well: bool, now: Instant) {
        let reached = if well { self.millis(now).max(1) } else { 0 };
        self.reached.store(reached, Relaxed);
    }

    /// Whether a connection was made since then, and no attempt has failed after it.
    pub fn was_reached(&self, since: Instant) -> bool {
        let reached = self.reached.load(Relaxed);
        reached > 0 && reached >= self.millis(since)
    }

    /// Whether it is time to look the addresses up. Whoever asks does so.
    pub fn look_up(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let at = self.look_up_at.load(Relaxed);
        let next = now.saturating_add(millis(LOOK_UP));
        now >= at
            && self
                .look_up_at
                .compare_exchange(at, next, Relaxed, Relaxed)
                .is_ok()
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.start))
    }
}

fn is_alike(one: Duration, other: Duration) -> bool {
    let longer = one.max(other);
    longer - one.min(other) <= NOTICED_WITHIN.max(longer / 5)
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

    /// What is learnt from connections that end so many milliseconds after the start, after being idle
    /// for so many.
    fn learnt(ends: &[(u64, u64)]) -> Option<Duration> {
        let habits = Habits::default();
        let time = Duration::from_millis;
        let mut last = habits.start;
        for (at, idle) in ends {
            last = habits.start + time(*at);
            habits.ended(time(*idle), last);
        }
        Some(habits.keep(last)).filter(|keep| *keep < Duration::MAX)
    }

    #[test]
    fn how_long_idle_connections_are_kept_is_learnt_from_two_that_ended_alike() {
        let three_quarters_of_four = Some(Duration::from_secs(3));
        assert_eq!(learnt(&[(10_000, 5000)]), None);
        let twice = [(10_000, 5000), (20_000, 5900)];
        assert_eq!(learnt(&twice), three_quarters_of_four);
        let between = [(10_000, 5000), (15_000, 30_000), (20_000, 5500)];
        assert_eq!(learnt(&between), three_quarters_of_four);
        // It keeps them for five seconds at least, whatever else ends later.
        let longer = [
            (10_000, 5000),
            (20_000, 5000),
            (30_000, 30_000),
            (40_000, 30_000),
        ];
        assert_eq!(learnt(&longer), three_quarters_of_four);
        let shorter = [
            (10_000, 30_000),
            (20_000, 30_000),
            (30_000, 5000),
            (40_000, 5000),
        ];
        assert_eq!(learnt(&shorter), three_quarters_of_four);
    }

    #[test]
    fn a_restart_teaches_nothing() {
        let together = [(10_000, 5000), (10_100, 5100), (11_500, 5200)];
        assert_eq!(learnt(&together), None);
        let one_after_the_other = [(10_000, 5000), (20_000, 9000), (30_000, 20_000)];
        assert_eq!(learnt(&one_after_the_other), None);
        assert_eq!(learnt(&[(10_000, 300), (20_000, 300)]), None);
        let long_ago = [(10_000, 5000), (3_700_000, 5000)];
        assert_eq!(learnt(&long_ago), None);
    }

    #[test]
    fn whoever_answers_after_a_longer_time_has_not_lost_patience() {
        let second = Duration::from_secs(1);
        for (answered, learns) in [(second * 4, true), (second * 5, true), (second * 10, false)] {
            let habits = Habits::default();
            let ended = |after: Duration| habits.ended(second * 5, habits.start + after);
            assert_eq!(ended(second * 10), None);
            habits.answered(answered);
            assert_eq!(ended(second * 20).is_some(), learns, "{answered:?}");
            // What was learnt of two is unlearnt.
            habits.answered(answered);
            let kept = habits.keep(habits.start + second * 20);
            assert_eq!(kept < Duration::MAX, learns, "{answered:?}");
        }
        let habits = Habits::default();
        assert_eq!(habits.ended(second * 5, habits.start), None);
        assert!(
            habits
                .ended(second * 5, habits.start + second * 10)
                .is_some()
        );
        habits.answered(second * 10);
        assert_eq!(habits.keep(habits.start), Duration::MAX);
    }

    #[test]
    fn what_was_learnt_is_forgotten_so_that_it_can_be_learnt_anew() {
        let habits = Habits::default();
        let five = Duration::from_secs(5);
        let told = |after| habits.ended(five, habits.start + after);
        assert_eq!(told(five), None);
        assert_eq!(told(five * 2), Some(Duration::from_secs(3)));
        assert_eq!(told(five * 3), None, "no news");
        let later = habits.start + REMEMBERED * 2;
        assert_eq!(habits.keep(later), Duration::MAX);
    }

    #[test]
    fn an_upstream_was_reached_if_the_last_attempt_has_gone_well_since() {
        let habits = Habits::default();
        let (start, second) = (habits.start, Duration::from_secs(1));
        assert!(!habits.was_reached(start));
        habits.dialed(true, start + second);
        assert!(habits.was_reached(start) && habits.was_reached(start + second));
        assert!(!habits.was_reached(start + second * 2));
        habits.dialed(false, start + second * 3);
        assert!(!habits.was_reached(start));
    }

    #[test]
    fn of_all_shards_one_looks_the_addresses_up() {
        let habits = Habits::default();
        assert!(!habits.look_up(habits.start));
        let later = habits.start + LOOK_UP;
        assert!(habits.look_up(later));
        assert!(!habits.look_up(later));
        assert!(habits.look_up(later + LOOK_UP));
    }
}
