//! How long until the next attempt: after a success, and after each kind of failure.

use std::time::Duration;

use fastrand::Rng;

use crate::config::RetryPauses;
use crate::oauth::TokenError;

/// No attempt starts sooner after a success: a server whose tokens are dead within moments is
/// not asked in a loop.
pub(super) const PAUSE_AFTER_SUCCESS: Duration = Duration::from_millis(500);

/// No pause is shorter, however little is left of a token.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// What a renewal leaves for attempts that fail, before the token may no longer be sent; and what one attempt leaves for
/// others if it is not answered.
const RESERVE: Duration = Duration::from_secs(3);

/// No attempt is given up sooner, however little is left of a token: a server may be slow and answer.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);

const RETRY_FIRST: Duration = Duration::from_millis(500);
/// A refusal soon after a deployment often ends by itself: the registration is still spreading.
const REFUSED_FIRST: Duration = Duration::from_secs(2);
const REFUSED_NEXT: Duration = Duration::from_secs(30);

/// How long before its expiry a token is no longer sent: 10 % of its lifetime, from 1 s to 5 s,
/// never over half. It covers the way to the upstream and `exp` in whole seconds: a "3 s" JWT
/// dies after 2.0 to 2.9 s.
pub(super) fn margin(lifetime: Duration) -> Duration {
    (lifetime / 10)
        .clamp(Duration::from_secs(1), Duration::from_secs(5))
        .min(lifetime / 2)
}

/// How long after its request was sent a token is renewed: between 70 % and 85 % of its lifetime
/// so that replicas spread, within these as early as leaves time for an attempt that takes all of its
/// `fetch_timeout`, and 3 s for others. At least 5 % are left before the margin, and for a short
/// token 3 s and what the last success has `taken`, or half of the time for which it may be sent.
pub(super) fn refresh_after(
    lifetime: Duration,
    taken: Duration,
    fetch_timeout: Duration,
    rng: &mut Rng,
) -> Duration {
    let earliest = lifetime.mul_f64(0.70);
    let drawn = earliest + lifetime.mul_f64(0.15 * rng.f64());
    let usable = lifetime - margin(lifetime);
    let before_a_hang = usable.saturating_sub(fetch_timeout.saturating_add(RESERVE));
    let attempts = taken.saturating_add(RESERVE);
    let reserve = attempts.min(usable / 2).max(lifetime / 20);
    let latest = before_a_hang.max(earliest).min(usable - reserve);
    drawn.min(latest)
}

/// How long one attempt may take. While a token is held that may be sent for `left`, it leaves time for another one before
/// that ends: 3 s, or half of it. But it has twice the time that the last success has `taken`, so that a server that is
/// always slow is not given up each time.
pub(super) fn attempt_timeout(
    left: Duration,
    taken: Duration,
    fetch_timeout: Duration,
) -> Duration {
    if left.is_zero() {
        return fetch_timeout;
    }
    let leaves_another = left.saturating_sub(RESERVE).max(left / 2);
    let least = SHORTEST_ATTEMPT.max(taken.saturating_mul(2));
    leaves_another.max(least).min(fetch_timeout)
}

/// The failures since the last success.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// How often the pause has doubled.
    transient: u32,
    refused: u32,
}

impl Backoff {
    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure; how long to wait after it. `left` is how long the token held may still be
    /// sent. Where a retry can help, the pause is a quarter of that at most, so that several attempts
    /// come before its end; such a pause does not count towards doubling.
    pub(super) fn record_failure(
        &mut self,
        error: &TokenError,
        left: Duration,
        most: &RetryPauses,
        rng: &mut Rng,
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let delay = if error.kind.is_permanent() {
            self.refused = self.refused.saturating_add(1);
            let longest = match self.refused {
                1 => REFUSED_FIRST,
                n => doubled(REFUSED_NEXT, n - 2, most.refused),
            };
            stretched(longest, rng)
        } else {
            let longest = doubled(RETRY_FIRST, self.transient, most.retry);
            // Full jitter: clients that failed together come back spread out.
            let drawn = longest.mul_f64(rng.f64());
            if left > Duration::ZERO && drawn > left / 4 {
                (left / 4).max(SHORTEST_PAUSE)
            } else {
                self.transient = self.transient.saturating_add(1);
                drawn.max(SHORTEST_PAUSE)
            }
        };
        match error.retry_after {
            Some(asked) => delay.max(stretched(asked.min(most.retry_after), rng)),
            None => delay,
        }
    }
}

/// The longest pause that may follow this failure, less what jitter adds.
pub(super) fn longest_pause(error: &TokenError, most: &RetryPauses) -> Duration {
    let pause = if error.kind.is_permanent() {
        most.refused
    } else {
        most.retry
    };
    match error.retry_after {
        Some(asked) => pause.max(asked.min(most.retry_after)),
        None => pause,
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(times))
        .min(longest)
}

/// Adds up to 10 %, so that clients told the same delay do not come back together.
fn stretched(delay: Duration, rng: &mut Rng) -> Duration {
    delay.mul_f64(1.0 + 0.1 * rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::TokenErrorKind;

    const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    fn error(kind: TokenErrorKind, retry_after: Option<f64>) -> TokenError {
        TokenError {
            kind,
            message: String::new(),
            retry_after: retry_after.map(secs),
        }
    }

    #[test]
    fn margin_is_a_tenth_from_1_s_to_5_s_and_never_over_half() {
        for (lifetime, expected) in [
            (1.0, 0.5),
            (1.5, 0.75),
            (2.0, 1.0),
            (3.0, 1.0),
            (10.0, 1.0),
            (20.0, 2.0),
            (50.0, 5.0),
            (3600.0, 5.0),
        ] {
            assert_eq!(margin(secs(lifetime)), secs(expected), "{lifetime}");
        }
    }

    #[test]
    fn refresh_is_drawn_between_70_and_85_percent_and_spreads() {
        let mut rng = Rng::with_seed(1);
        let draws: Vec<f64> = (0..1000)
            .map(|_| {
                refresh_after(secs(3600.0), secs(0.1), FETCH_TIMEOUT, &mut rng).as_secs_f64()
                    / 3600.0
            })
            .collect();
        assert!(draws.iter().all(|at| (0.70..0.85).contains(at)));
        assert!(draws.iter().any(|at| *at < 0.71) && draws.iter().any(|at| *at > 0.84));
    }

    #[test]
    fn refresh_leaves_5_percent_before_the_margin_whatever_the_lifetime() {
        let mut rng = Rng::with_seed(2);
        for tenths in 10..2000 {
            let lifetime = secs(f64::from(tenths) / 10.0);
            let at = refresh_after(lifetime, secs(0.1), FETCH_TIMEOUT, &mut rng);
            assert!(
                at + lifetime / 20 + margin(lifetime) <= lifetime,
                "{lifetime:?}"
            );
            assert!(at >= lifetime.mul_f64(0.24), "{lifetime:?} {at:?}");
        }
    }

    #[test]
    fn short_lives_leave_half_of_their_time_for_attempts_that_fail() {
        let mut rng = Rng::with_seed(8);
        for (lifetime, taken, latest) in [
            (2.0, 0.0, 0.5),
            (3.0, 0.0, 1.0),
            (4.0, 0.0, 1.5),
            (5.0, 0.0, 2.0),
            (10.0, 0.0, 6.0),
            (20.0, 0.0, 14.0),
            (40.0, 0.0, 28.0),
            // A slow server is asked as much earlier.
            (10.0, 1.0, 5.0),
            (10.0, 4.0, 4.5),
            (20.0, 8.0, 9.0),
        ] {
            let at = refresh_after(secs(lifetime), secs(taken), FETCH_TIMEOUT, &mut rng);
            assert_eq!(at, secs(latest), "{lifetime} {taken}");
        }
    }

    #[test]
    fn a_renewal_that_is_not_answered_leaves_time_for_another_one() {
        let mut rng = Rng::with_seed(11);
        for tenths in 40..10_000 {
            let lifetime = secs(f64::from(tenths) / 10.0);
            let at = refresh_after(lifetime, secs(0.1), FETCH_TIMEOUT, &mut rng);
            let left = lifetime - margin(lifetime) - at;
            let attempt = attempt_timeout(left, secs(0.1), FETCH_TIMEOUT);
            let pause = secs(0.5).min(left / 4);
            assert!(left >= attempt + pause + secs(0.1), "{lifetime:?} {left:?}");
        }
        // With a minute to live, the first one has all of its time.
        for lifetime in 60..10_000 {
            let lifetime = Duration::from_secs(lifetime);
            let at = refresh_after(lifetime, secs(0.1), FETCH_TIMEOUT, &mut rng);
            let left = lifetime - margin(lifetime) - at;
            let attempt = attempt_timeout(left, secs(0.1), FETCH_TIMEOUT);
            assert_eq!(attempt, FETCH_TIMEOUT, "{lifetime:?} {left:?}");
        }
    }

    #[test]
    fn an_attempt_leaves_time_for_another_one_and_is_never_shorter_than_a_second() {
        for (left, taken, expected) in [
            (0.0, 0.0, 10.0),
            (100.0, 0.0, 10.0),
            (13.0, 0.0, 10.0),
            (9.0, 0.0, 6.0),
            (4.5, 0.0, 2.25),
            (2.0, 0.0, 1.0),
            (0.1, 0.0, 1.0),
            // A slow server has the time that it needs.
            (4.5, 2.5, 5.0),
            (4.5, 8.0, 10.0),
        ] {
            let attempt = attempt_timeout(secs(left), secs(taken), FETCH_TIMEOUT);
            assert_eq!(attempt, secs(expected), "{left} {taken}");
        }
        let short = secs(0.5);
        assert_eq!(attempt_timeout(secs(9.0), secs(3.0), short), short);
    }

    #[test]
    fn the_less_is_left_of_a_token_the_shorter_the_pause_but_never_under_100_ms() {
        let (mut rng, most) = (Rng::with_seed(9), RetryPauses::default());
        let mut backoff = Backoff::default();
        let error = error(TokenErrorKind::ServerError, None);
        for _ in 0..8 {
            backoff.record_failure(&error, Duration::ZERO, &most, &mut rng);
        }
        for left in [100.0, 10.0, 1.0, 0.1, 0.001] {
            let longest = (0.25_f64 * left).max(0.1);
            for _ in 0..200 {
                let delay = backoff.record_failure(&error, secs(left), &most, &mut rng);
                let delay = delay.as_secs_f64();
                assert!((0.1..=longest).contains(&delay), "{delay} with {left} left");
            }
        }
    }

    #[test]
    fn hurried_retries_do_not_prolong_the_pause_after_the_end() {
        let (mut rng, most) = (Rng::with_seed(10), RetryPauses::default());
        let mut backoff = Backoff::default();
        let error = error(TokenErrorKind::ServerError, None);
        for _ in 0..50 {
            backoff.record_failure(&error, secs(0.2), &most, &mut rng);
        }
        let delay = backoff.record_failure(&error, Duration::ZERO, &most, &mut rng);
        assert!(delay <= secs(2.0), "{delay:?}");
        assert_eq!(backoff.failures(), 51);
    }

    #[test]
    fn backoff_has_full_jitter_and_doubles_from_half_a_second_to_30_s() {
        let mut highest = [0.0_f64; 12];
        let mut lowest = [f64::MAX; 12];
        for seed in 0..2000 {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            for i in 0..12 {
                let error = error(TokenErrorKind::Unreachable, None);
                let delay = backoff
                    .record_failure(&error, Duration::ZERO, &RetryPauses::default(), &mut rng)
                    .as_secs_f64();
                highest[i] = highest[i].max(delay);
                lowest[i] = lowest[i].min(delay);
            }
        }
        for (i, (lowest, highest)) in lowest.into_iter().zip(highest).enumerate() {
            let longest = (0.5 * f64::powi(2.0, i as i32)).min(30.0);
            assert!(highest <= longest && highest > 0.98 * longest, "{i}");
            assert!((0.1..(0.02 * longest).max(0.101)).contains(&lowest), "{i}");
        }
    }

    #[test]
    fn refusals_wait_2_s_then_30_s_doubling_to_5_min_with_up_to_a_tenth_added() {
        let mut rng = Rng::with_seed(3);
        let mut backoff = Backoff::default();
        for expected in [2.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
            let error = error(TokenErrorKind::Refused, None);
            let delay = backoff
                .record_failure(&error, Duration::ZERO, &RetryPauses::default(), &mut rng)
                .as_secs_f64();
            assert!((expected..=1.1 * expected).contains(&delay), "{delay}");
        }
        assert_eq!(backoff.failures(), 7);
    }

    #[test]
    fn retry_after_is_honoured_capped_at_5_min_with_up_to_a_tenth_added() {
        let (mut rng, most) = (Rng::with_seed(4), RetryPauses::default());
        for (asked, expected) in [(7.0, 7.0), (300.0, 300.0), (86_400.0, 300.0)] {
            for kind in [TokenErrorKind::Throttled, TokenErrorKind::ServerError] {
                let error = error(kind, Some(asked));
                let delay = Backoff::default().record_failure(&error, secs(1.0), &most, &mut rng);
                let delay = delay.as_secs_f64();
                assert!((expected..=1.1 * expected).contains(&delay), "{delay}");
            }
        }
    }

    #[test]
    fn retry_after_of_zero_does_not_undo_the_backoff() {
        let (mut rng, most) = (Rng::with_seed(5), RetryPauses::default());
        let mut backoff = Backoff::default();
        let refused = |retry_after| error(TokenErrorKind::Refused, retry_after);
        backoff.record_failure(&refused(None), Duration::ZERO, &most, &mut rng);
        let delay = backoff.record_failure(&refused(Some(0.0)), Duration::ZERO, &most, &mut rng);
        assert!(delay >= secs(30.0));
    }

    #[test]
    fn endless_failures_never_overflow() {
        let (mut rng, most) = (Rng::with_seed(6), RetryPauses::default());
        let mut backoff = Backoff {
            failures: u32::MAX - 1,
            transient: u32::MAX - 1,
            refused: u32::MAX - 1,
        };
        for kind in [TokenErrorKind::Refused, TokenErrorKind::Timeout] {
            for _ in 0..3 {
                let error = error(kind, Some(f64::from(u32::MAX)));
                let delay = backoff.record_failure(&error, Duration::ZERO, &most, &mut rng);
                assert!(delay <= secs(330.0));
            }
        }
    }

    #[test]
    fn no_pause_is_longer_than_configured() {
        let most = RetryPauses {
            retry: secs(1.0),
            refused: secs(45.0),
            retry_after: secs(7.0),
        };
        let mut rng = Rng::with_seed(7);
        for (kind, asked, highest) in [
            (TokenErrorKind::Timeout, None, 1.0),
            (TokenErrorKind::Refused, None, 49.5),
            (TokenErrorKind::Throttled, Some(60.0), 7.7),
        ] {
            let mut backoff = Backoff::default();
            let error = error(kind, asked);
            let delays =
                (0..1000).map(|_| backoff.record_failure(&error, Duration::ZERO, &most, &mut rng));
            let longest = delays.max().unwrap().as_secs_f64();
            assert!((0.98 * highest..=highest).contains(&longest), "{longest}");
        }
    }
}
