//! What earlier connections to an endpoint have shown, for all shards.

mod short_closes;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::short_closes::{REMEMBERED, ShortCloses, TOGETHER, millis};

/// How long no HTTP/1.1 connection carries a second request after unsolicited bytes have come on one.
const DISTRUSTED_FOR: Duration = Duration::from_secs(600);

/// The longest time between the close of an idle connection and the moment when we notice it.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);

/// A connection that was closed after less than this may well have been closed by a restart: it takes more of them to show
/// an idle timeout.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1500);

/// Closes that are remembered.
const MAX_CLOSES: usize = 8;

/// How often the addresses of an upstream are looked up while there are connections to it.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// What earlier connections to an endpoint have shown. Reading it costs one or two atomic loads.
#[derive(Debug)]
pub struct ConnectionHistory {
    /// The other times are milliseconds since this moment.
    start: Instant,
    /// Until then no connection carries a second request.
    distrusted_until: AtomicU64,
    /// How long an idle connection is kept, and until when this counts.
    learnt_max_idle: AtomicU64,
    timeout_known_until: AtomicU64,
    closes: Mutex<VecDeque<IdleClose>>,
    /// Whether `closes` holds any: it is read without the lock.
    has_closes: AtomicBool,
    short_closes: ShortCloses,
    /// When the last connection was made; zero if the last attempt has failed.
    last_connect: AtomicU64,
    /// Whether there has been an attempt.
    has_tried: AtomicBool,
    next_lookup: AtomicU64,
    /// What the server speaks, as a number of [`SpokenHttp`], and until when this counts.
    spoken: AtomicU8,
    spoken_until: AtomicU64,
}

/// What a server speaks over TLS, as it has chosen by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpokenHttp {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2 {
        /// It takes extended CONNECT (RFC 8441).
        extended_connect: bool,
    },
}

/// An idle connection that was closed by the upstream.
#[derive(Debug, Clone, Copy)]
struct IdleClose {
    seen: Instant,
    /// It had been idle for at least this long.
    after: Duration,
}

impl Default for ConnectionHistory {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            distrusted_until: AtomicU64::new(0),
            learnt_max_idle: AtomicU64::new(0),
            timeout_known_until: AtomicU64::new(0),
            closes: Mutex::default(),
            has_closes: AtomicBool::new(false),
            short_closes: ShortCloses::default(),
            last_connect: AtomicU64::new(0),
            has_tried: AtomicBool::new(false),
            next_lookup: AtomicU64::new(millis(LOOKUP_INTERVAL)),
            spoken: AtomicU8::new(0),
            spoken_until: AtomicU64::new(0),
        }
    }
}

impl ConnectionHistory {
    /// How long a connection may be idle and still carry another request. Zero: no connection may carry a
    /// second one.
    pub fn max_idle(&self, now: Instant) -> Duration {
        let now = self.millis(now);
        if now < self.distrusted_until.load(Relaxed) {
            return Duration::ZERO;
        }
        self.learnt_max_idle(now).unwrap_or(Duration::MAX)
    }

    /// Bytes came that no request had asked for. Returns whether this is news.
    pub fn record_unsolicited(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let until = now.saturating_add(millis(DISTRUSTED_FOR));
        self.distrusted_until.swap(until, Relaxed) <= now
    }

    /// The upstream closed a connection that had been idle for this time. Two that are closed after about the
    /// same time, one after the other, show how long the upstream keeps idle connections; from then on they
    /// are kept for three quarters of that. If that is less than a second and a half it takes four, and few that have
    /// answered after as long. Returns how long they are kept, when it is news.
    pub fn record_idle_close(&self, idle: Duration, now: Instant) -> Option<Duration> {
        let mut closes = self.closes.lock().unwrap_or_else(PoisonError::into_inner);
        if idle < SHORTEST_TIMEOUT {
            let kept = self.short_closes.record(idle, self.millis(now))?;
            return self.learn(kept, now);
        }
        let after = idle - NOTICED_WITHIN;
        closes.retain(|end| now - end.seen < REMEMBERED);
        if closes.iter().any(|end| now - end.seen < TOGETHER) {
            return None;
        }
        let alike = closes.iter().map(|end| end.after);
        let alike = alike.filter(|other| is_alike(*other, after)).min();
        closes.truncate(MAX_CLOSES - 1);
        closes.push_front(IdleClose { seen: now, after });
        self.has_closes.store(true, Relaxed);
        self.learn(alike?.min(after), now)
    }

    /// The upstream keeps idle connections for so long. Returns how long they are kept here, when it is news.
    fn learn(&self, kept: Duration, now: Instant) -> Option<Duration> {
        // Zero would be distrust.
        let max_idle = (kept * 3 / 4).max(Duration::from_millis(1));
        let now = self.millis(now);
        let before = self.learnt_max_idle(now);
        let max_idle = before.map_or(max_idle, |before| before.min(max_idle));
        self.learnt_max_idle.store(millis(max_idle), Relaxed);
        let until = now.saturating_add(millis(REMEMBERED));
        self.timeout_known_until.store(until, Relaxed);
        (before != Some(max_idle)).then_some(max_idle)
    }

    /// A connection has answered after it was idle for this time. Those that were closed after a clearly
    /// shorter time were not closed by an idle timeout.
    pub fn record_answer(&self, idle: Duration) {
        self.short_closes.record_answer(idle);
        if idle >= SHORTEST_TIMEOUT && self.has_closes.load(Relaxed) {
            self.refute(idle, Instant::now());
        }
    }

    #[cold]
    fn refute(&self, idle: Duration, now: Instant) {
        let refuted = |after: Duration| {
            let latest = after + NOTICED_WITHIN;
            idle > latest && !is_alike(idle, latest)
        };
        let mut closes = self.closes.lock().unwrap_or_else(PoisonError::into_inner);
        closes.retain(|end| !refuted(end.after));
        self.has_closes.store(!closes.is_empty(), Relaxed);
        let learnt = self.learnt_max_idle(self.millis(now));
        if learnt.is_some_and(|keep| refuted(keep * 4 / 3)) {
            self.timeout_known_until.store(0, Relaxed);
        }
    }

    fn learnt_max_idle(&self, now: u64) -> Option<Duration> {
        let counts = now < self.timeout_known_until.load(Relaxed);
        counts.then(|| Duration::from_millis(self.learnt_max_idle.load(Relaxed)))
    }

    /// An attempt to connect has succeeded, or has failed.
    pub fn record_connect(&self, succeeded: bool, now: Instant) {
        let last_connect = if succeeded {
            self.millis(now).max(1)
        } else {
            0
        };
        self.last_connect.store(last_connect, Relaxed);
        self.has_tried.store(true, Relaxed);
    }

    /// Whether the last attempt to connect has succeeded; `None` before the first.
    pub fn last_connect_succeeded(&self) -> Option<bool> {
        let has_tried = self.has_tried.load(Relaxed);
        has_tried.then(|| self.last_connect.load(Relaxed) > 0)
    }

    /// Whether a connection was made since then, and no attempt has failed after it.
    pub fn has_connected_since(&self, since: Instant) -> bool {
        let last_connect = self.last_connect.load(Relaxed);
        last_connect > 0 && last_connect >= self.millis(since)
    }

    /// What the server speaks, if that was seen not long ago.
    pub fn spoken(&self, now: Instant) -> Option<SpokenHttp> {
        if self.millis(now) >= self.spoken_until.load(Relaxed) {
            return None;
        }
        Some(match self.spoken.load(Relaxed) {
            0 => SpokenHttp::Http1,
            number => SpokenHttp::Http2 {
                extended_connect: number == 2,
            },
        })
    }

    /// This is what the server speaks.
    pub fn record_spoken(&self, spoken: SpokenHttp, now: Instant) {
        let number = match spoken {
            SpokenHttp::Http1 => 0,
            SpokenHttp::Http2 { extended_connect } => 1 + u8::from(extended_connect),
        };
        self.spoken.store(number, Relaxed);
        let until = self.millis(now).saturating_add(millis(REMEMBERED));
        self.spoken_until.store(until, Relaxed);
    }

    /// A connection speaks HTTP/2, or HTTP/1.1: what was known is out of date if it says otherwise.
    pub fn record_version(&self, http2: bool, now: Instant) {
        let known = self.spoken(now);
        if known.is_some_and(|known| http2 != matches!(known, SpokenHttp::Http2 { .. })) {
            self.spoken_until.store(0, Relaxed);
        }
    }

    /// Whether it is time to look the addresses up. The caller that gets `true` must do it: no other one
    /// gets it for the same interval.
    pub fn claim_lookup(&self, now: Instant) -> bool {
        let now = self.millis(now);
        let at = self.next_lookup.load(Relaxed);
        let next = now.saturating_add(millis(LOOKUP_INTERVAL));
        now >= at
            && self
                .next_lookup
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsolicited_bytes_end_the_reuse_of_connections_for_a_while() {
        let history = ConnectionHistory::default();
        let start = history.start;
        assert_eq!(history.max_idle(start), Duration::MAX);
        assert!(history.record_unsolicited(start));
        assert!(
            !history.record_unsolicited(start + DISTRUSTED_FOR / 2),
            "no news"
        );
        assert_eq!(history.max_idle(start + DISTRUSTED_FOR), Duration::ZERO);
        assert_eq!(
            history.max_idle(start + DISTRUSTED_FOR * 3 / 2),
            Duration::MAX
        );
        assert!(history.record_unsolicited(start + DISTRUSTED_FOR * 2));
    }

    /// What is learnt from connections, each given as the milliseconds from the start to its end and the
    /// milliseconds for which it was idle before.
    fn learnt(ends: &[(u64, u64)]) -> Option<Duration> {
        let history = ConnectionHistory::default();
        let time = Duration::from_millis;
        let mut last = history.start;
        for (at, idle) in ends {
            last = history.start + time(*at);
            history.record_idle_close(time(*idle), last);
        }
        Some(history.max_idle(last)).filter(|keep| *keep < Duration::MAX)
    }

    #[test]
    fn the_idle_timeout_is_learnt_from_two_connections_that_were_closed_alike() {
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
    fn a_short_idle_timeout_is_learnt_from_four_connections() {
        let closes = [
            (10_000, 1000),
            (20_000, 1010),
            (30_000, 1000),
            (40_000, 990),
        ];
        assert_eq!(learnt(&closes[..3]), None);
        assert_eq!(learnt(&closes), Some(Duration::from_millis(742)));
        let none_is_too_short = [(10_000, 0), (20_000, 0), (30_000, 0), (40_000, 0)];
        assert_eq!(learnt(&none_is_too_short), Some(Duration::from_millis(1)));
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
    fn an_answer_after_a_longer_idle_time_refutes_an_idle_timeout() {
        let second = Duration::from_secs(1);
        for (answered, learns) in [(second * 4, true), (second * 5, true), (second * 10, false)] {
            let history = ConnectionHistory::default();
            let ended =
                |after: Duration| history.record_idle_close(second * 5, history.start + after);
            assert_eq!(ended(second * 10), None);
            history.record_answer(answered);
            assert_eq!(ended(second * 20).is_some(), learns, "{answered:?}");
            // What the two closes showed counts no longer.
            history.record_answer(answered);
            let kept = history.max_idle(history.start + second * 20);
            assert_eq!(kept < Duration::MAX, learns, "{answered:?}");
        }
        let history = ConnectionHistory::default();
        assert_eq!(history.record_idle_close(second * 5, history.start), None);
        assert!(
            history
                .record_idle_close(second * 5, history.start + second * 10)
                .is_some()
        );
        history.record_answer(second * 10);
        assert_eq!(history.max_idle(history.start), Duration::MAX);
    }

    #[test]
    fn the_learnt_timeout_expires_and_can_be_learnt_again() {
        let history = ConnectionHistory::default();
        let five = Duration::from_secs(5);
        let told = |after| history.record_idle_close(five, history.start + after);
        assert_eq!(told(five), None);
        assert_eq!(told(five * 2), Some(Duration::from_secs(3)));
        assert_eq!(told(five * 3), None, "no news");
        let later = history.start + REMEMBERED * 2;
        assert_eq!(history.max_idle(later), Duration::MAX);
    }

    #[test]
    fn connected_since_is_true_only_while_the_last_attempt_succeeded() {
        let history = ConnectionHistory::default();
        let (start, second) = (history.start, Duration::from_secs(1));
        assert!(!history.has_connected_since(start));
        history.record_connect(true, start + second);
        assert!(history.has_connected_since(start) && history.has_connected_since(start + second));
        assert!(!history.has_connected_since(start + second * 2));
        history.record_connect(false, start + second * 3);
        assert!(!history.has_connected_since(start));
    }

    #[test]
    fn only_one_shard_looks_the_addresses_up_in_each_interval() {
        let history = ConnectionHistory::default();
        assert!(!history.claim_lookup(history.start));
        let later = history.start + LOOKUP_INTERVAL;
        assert!(history.claim_lookup(later));
        assert!(!history.claim_lookup(later));
        assert!(history.claim_lookup(later + LOOKUP_INTERVAL));
    }
}
