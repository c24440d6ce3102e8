//! When the keys of an issuer are read. No waiting, no clock of its own.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::{FoundKeys, KeyFetchError, PublishedKeys};
use crate::token::Moment;

/// How old keys get, less what is drawn so that replicas spread: where the server does not say, at least and at most.
const AGE: Duration = Duration::from_secs(15 * 60);
const LEAST_AGE: Duration = Duration::from_secs(5 * 60);
const MOST_AGE: Duration = Duration::from_secs(6 * 3600);
/// Keys that are not known are asked for no more often.
const BETWEEN_UNKNOWN: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// `Retry-After` is heeded up to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What is known of an issuer's keys.
#[derive(Debug)]
pub(super) struct KeyState {
    rng: Rng,
    pub(super) keys: Option<Arc<PublishedKeys>>,
    /// Attempts begun; the number of the one in flight.
    begun: u64,
    in_flight: bool,
    /// When the next attempt is due, by the boot clock.
    due: Duration,
    /// When an unknown key was asked for last.
    unknown_at: Option<Duration>,
    failures: u32,
    pub(super) last_failure: Option<(KeyFetchError, Moment)>,
    pub(super) last_success: Option<Moment>,
}

/// What the task is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyStep {
    /// Begin an attempt; it is counted as begun.
    Read,
    /// Look again after this long.
    Sleep(Duration),
    /// Nothing until the attempt in flight ends.
    Idle,
}

/// What one gets who lacks a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::caller::token) enum KeyOutlook {
    /// The number of an attempt to wait for.
    Attempt(u64),
    /// None begins in time: it makes sense to ask again after this long.
    Failing(Duration),
    /// What is known was read lately enough: the key does not exist.
    Settled,
}

impl KeyState {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            keys: None,
            begun: 0,
            in_flight: false,
            due: Duration::ZERO,
            unknown_at: None,
            failures: 0,
            last_failure: None,
            last_success: None,
        }
    }

    pub(super) fn next_step(&mut self, now: Moment) -> KeyStep {
        if self.in_flight {
            return KeyStep::Idle;
        }
        match self.due.saturating_sub(now.boot) {
            Duration::ZERO => {
                self.begun += 1;
                self.in_flight = true;
                KeyStep::Read
            }
            wait => KeyStep::Sleep(wait),
        }
    }

    /// The attempt in flight has ended. Keys of before serve on if it brought none.
    pub(super) fn finish(&mut self, now: Moment, result: Result<FoundKeys, KeyFetchError>) {
        self.in_flight = false;
        match result {
            Ok(found) => {
                let age = found.max_age.unwrap_or(AGE).clamp(LEAST_AGE, MOST_AGE);
                self.due = now.boot + age.mul_f64(0.8 + 0.2 * self.rng.f64());
                self.keys = Some(Arc::new(PublishedKeys::new(found, self.keys.as_deref())));
                self.failures = 0;
                self.last_success = Some(now);
            }
            Err(error) => {
                let doubled = 2_u32.saturating_pow(self.failures);
                let longest = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
                // Full jitter: those that failed together come back spread out.
                let drawn = longest.mul_f64(self.rng.f64()).max(SHORTEST_PAUSE);
                let asked = error.retry_after.unwrap_or_default();
                self.due = now.boot + drawn.max(asked.min(LONGEST_RETRY_AFTER));
                self.failures = self.failures.saturating_add(1);
                self.last_failure = Some((error, now));
            }
        }
    }

    /// For one who lacks all keys, and can wait for `patience`.
    pub(super) fn await_keys(&self, now: Moment, patience: Duration) -> KeyOutlook {
        let pause = self.due.saturating_sub(now.boot);
        if self.in_flight {
            KeyOutlook::Attempt(self.begun)
        } else if pause <= patience {
            KeyOutlook::Attempt(self.begun + 1)
        } else {
            KeyOutlook::Failing(pause)
        }
    }

    /// For one who lacks a key that a token names. One such token in a minute makes the next attempt begin at once.
    pub(super) fn await_unknown(&mut self, now: Moment, patience: Duration) -> KeyOutlook {
        let is_due = self.due <= now.boot;
        if self.in_flight || is_due || self.failures > 0 {
            return self.await_keys(now, patience);
        }
        let recent = |at: Duration| now.boot.saturating_sub(at) < BETWEEN_UNKNOWN;
        if self.unknown_at.is_some_and(recent) {
            return KeyOutlook::Settled;
        }
        self.unknown_at = Some(now.boot);
        self.due = now.boot;
        KeyOutlook::Attempt(self.begun + 1)
    }

    /// The next attempt begins at once.
    pub(super) fn read_now(&mut self) {
        self.due = Duration::ZERO;
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    pub(super) fn due_in(&self, now: Moment) -> Duration {
        self.due.saturating_sub(now.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::KeySet;
    use crate::oauth::TokenErrorKind;

    fn at(seconds: f64) -> Moment {
        let boot = Duration::from_secs_f64(1000.0 + seconds);
        Moment { boot, wall: boot }
    }

    fn found(max_age: Option<u64>) -> FoundKeys {
        let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        FoundKeys {
            issuer: "https://as.example".to_owned(),
            keys: KeySet::read(jwks.as_bytes()).unwrap(),
            max_age: max_age.map(Duration::from_secs),
        }
    }

    fn state() -> KeyState {
        KeyState::new(Rng::with_seed(1))
    }

    #[test]
    fn keys_are_read_at_once_and_again_before_they_are_old() {
        for (max_age, most) in [
            (None, 900.0),
            (Some(600), 600.0),
            (Some(0), 300.0),
            (Some(31_536_000), 21_600.0),
        ] {
            let mut state = state();
            assert_eq!(state.next_step(at(0.0)), KeyStep::Read);
            assert_eq!(state.next_step(at(0.0)), KeyStep::Idle, "once at a time");
            state.finish(at(1.0), Ok(found(max_age)));
            let KeyStep::Sleep(wait) = state.next_step(at(1.0)) else {
                panic!("{state:?}");
            };
            let wait = wait.as_secs_f64();
            assert!(wait >= most * 0.8 && wait <= most, "{max_age:?}: {wait}");
        }
    }

    #[test]
    fn pauses_after_failures_double_up_to_a_minute() {
        let mut state = state();
        let mut now = 0.0;
        for failure in 0..200 {
            assert_eq!(state.next_step(at(now)), KeyStep::Read);
            state.finish(
                at(now),
                Err(KeyFetchError::new(TokenErrorKind::Unreachable, "away")),
            );
            let pause = state.due_in(at(now));
            let most = FIRST_PAUSE
                .saturating_mul(1 << failure.min(20))
                .min(LONGEST_PAUSE);
            assert!(pause >= SHORTEST_PAUSE && pause <= most, "{pause:?}");
            now += pause.as_secs_f64();
        }
    }

    #[test]
    fn the_server_may_ask_for_a_longer_pause_within_bounds() {
        for (asked, pause) in [(120, 120), (86_400, 300)] {
            let mut state = state();
            state.next_step(at(0.0));
            let retry_after = Some(Duration::from_secs(asked));
            let error = KeyFetchError::new(TokenErrorKind::Throttled, "slowly");
            state.finish(
                at(0.0),
                Err(KeyFetchError {
                    retry_after,
                    ..error
                }),
            );
            assert_eq!(state.due_in(at(0.0)), Duration::from_secs(pause));
        }
    }

    #[test]
    fn unknown_keys_are_asked_for_once_a_minute() {
        let patience = Duration::from_secs(5);
        let mut state = state();
        state.next_step(at(0.0));
        state.finish(at(0.0), Ok(found(None)));
        assert_eq!(
            state.await_unknown(at(1.0), patience),
            KeyOutlook::Attempt(2)
        );
        assert_eq!(state.next_step(at(1.0)), KeyStep::Read);
        assert_eq!(
            state.await_unknown(at(2.0), patience),
            KeyOutlook::Attempt(2),
            "joined"
        );
        state.finish(at(3.0), Ok(found(None)));
        for later in [3.0, 30.0, 60.9] {
            assert_eq!(
                state.await_unknown(at(later), patience),
                KeyOutlook::Settled
            );
        }
        assert_eq!(
            state.await_unknown(at(61.0), patience),
            KeyOutlook::Attempt(3)
        );
    }

    #[test]
    fn an_unknown_key_does_not_end_the_pause_after_a_failure() {
        let patience = Duration::from_secs(5);
        let mut state = state();
        state.next_step(at(0.0));
        state.finish(at(0.0), Ok(found(None)));
        assert_eq!(
            state.await_unknown(at(1.0), patience),
            KeyOutlook::Attempt(2)
        );
        state.next_step(at(1.0));
        let retry_after = Some(Duration::from_secs(100));
        let error = KeyFetchError::new(TokenErrorKind::Throttled, "slowly");
        state.finish(
            at(1.0),
            Err(KeyFetchError {
                retry_after,
                ..error
            }),
        );
        let failing = state.await_unknown(at(90.0), patience);
        assert_eq!(failing, KeyOutlook::Failing(Duration::from_secs(11)));
        assert_eq!(
            state.await_unknown(at(96.0), patience),
            KeyOutlook::Attempt(3)
        );
    }
}
