//! What is known of one credential, and what follows from it. No waiting, no clock of its own.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::access_token::TokenTimes;
use super::inheritance::Pending;
use super::schedule::{self, Backoff, PAUSE_AFTER_SUCCESS, longest_pause, margin, refresh_after};
use super::{Moment, Policy, Token};
use crate::config::Refresh;
use crate::oauth::{TokenError, TokenErrorKind, TokenResponse};
use crate::trace::{TraceContext, TraceId};

mod inherit;
#[cfg(test)]
mod tests;

/// What is known of one credential.
///
/// Back-off is counted on the boot clock alone: setting the wall clock neither ends nor prolongs
/// it.
#[derive(Debug)]
pub(super) struct TokenState {
    policy: Policy,
    rng: Rng,
    /// The last good one; kept when it is no longer usable, to know its value again.
    token: Option<Arc<Token>>,
    /// Attempts begun; the number of the one in flight.
    begun: u64,
    in_flight: bool,
    /// When the last attempt began, on the boot clock, and how long the last success took.
    begun_at: Duration,
    taken: Duration,
    /// Someone waits for an attempt.
    wanted: bool,
    /// Since the last success, an upstream's rejection asked for an attempt.
    wanted_for_rejection: bool,
    /// The token was fetched because an upstream rejected the one before it.
    replaces_rejected: bool,
    /// A reload changed what is asked for, and that has not brought a token yet.
    pending: Option<Pending>,
    /// No attempt begins before this reading of the boot clock.
    not_before: Duration,
    backoff: Backoff,
    last_failure: Option<FailedAttempt>,
    last_success: Option<Moment>,
    /// The span of the attempt that ended last, if it was recorded.
    last_fetch: Option<TraceContext>,
}

/// An attempt that brought no token.
#[derive(Debug, Clone)]
pub(super) struct FailedAttempt {
    pub(super) error: TokenError,
    pub(super) at: Moment,
    /// How long the old token was still usable then.
    pub(super) usable_for: Duration,
    /// Its trace, if it was recorded.
    pub(super) trace: Option<TraceId>,
}

/// What the refresh task is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Begin an attempt; it is already counted as begun.
    Fetch,
    /// Look again after this long.
    Sleep(Duration),
    /// Nothing until something happens.
    Idle,
}

/// What a request that saw no usable token gets.
#[derive(Debug)]
pub(super) enum JoinOutcome {
    /// One that arrived since it looked: it must neither wait nor cause another attempt.
    Token(Arc<Token>),
    /// The number of an attempt to wait for.
    Attempt(u64),
    /// Nothing before the pause after a failure is over.
    BackOff,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct AttemptOutcome {
    pub(super) result: Result<Arc<Token>, TokenError>,
    /// The value is the one held before.
    pub(super) same_value: bool,
    /// The first of its kind in a row: worth telling an operator.
    pub(super) news: bool,
    /// Failures in a row until now; with a token, those before it.
    pub(super) failures: u32,
}

impl TokenState {
    pub(super) fn new(policy: Policy, rng: Rng) -> Self {
        Self {
            policy,
            rng,
            token: None,
            begun: 0,
            in_flight: false,
            begun_at: Duration::ZERO,
            taken: Duration::ZERO,
            wanted: false,
            wanted_for_rejection: false,
            replaces_rejected: false,
            pending: None,
            not_before: Duration::ZERO,
            backoff: Backoff::default(),
            last_failure: None,
            last_success: None,
            last_fetch: None,
        }
    }

    /// A reload changed times and limits alone. A pause after a failure ends no later than the longest
    /// one that is allowed from now on.
    pub(super) fn configure(&mut self, now: Moment, policy: Policy) {
        self.policy = policy;
        if let Some(failure) = self.failure() {
            let longest = longest_pause(&failure.error, &self.policy.pauses);
            self.not_before = self.not_before.min(now.boot.saturating_add(longest));
        }
    }

    /// What is due now.
    pub(super) fn next_step(&mut self, now: Moment) -> NextStep {
        match self.due_in(now) {
            None => NextStep::Idle,
            Some(Duration::ZERO) => {
                self.begun += 1;
                self.begun_at = now.boot;
                self.in_flight = true;
                self.wanted = false;
                NextStep::Fetch
            }
            Some(wait) => NextStep::Sleep(wait),
        }
    }

    /// How long until the next attempt begins; `None` while one is in flight or none is due.
    pub(super) fn due_in(&self, now: Moment) -> Option<Duration> {
        if self.in_flight {
            return None;
        }
        let pause = self.pause(now);
        match (&self.token, self.policy.refresh) {
            _ if self.wanted => Some(pause),
            (_, Refresh::Lazy) => None,
            (None, Refresh::Eager) => Some(pause),
            (Some(token), Refresh::Eager) => Some(pause.max(now.until(token.refresh_at()))),
        }
    }

    /// For a request that saw no usable token and can wait for `patience`: joins the attempt in flight, or asks for one
    /// unless a failure postpones it for longer. With `own`, an inherited token does not count.
    pub(super) fn join_attempt(
        &mut self,
        now: Moment,
        patience: Duration,
        own: bool,
    ) -> JoinOutcome {
        if let Some(token) = &self.token
            && token.is_usable(now)
            && !(own && token.is_inherited())
        {
            return JoinOutcome::Token(Arc::clone(token));
        }
        if !self.in_flight && self.is_failing() && self.pause(now) > patience {
            return JoinOutcome::BackOff;
        }
        JoinOutcome::Attempt(self.join_or_request())
    }

    /// For a request that could do with another token: joins the attempt in flight or asks for one,
    /// and returns its number. `None` during back-off and during the rest after a success.
    pub(super) fn request_attempt(&mut self, now: Moment) -> Option<u64> {
        if !self.in_flight && !self.pause(now).is_zero() {
            return None;
        }
        Some(self.join_or_request())
    }

    /// For a request whose token was rejected and that can wait for `patience`: joins the attempt in
    /// flight or asks for one, and returns its number. `None` if none may begin in time. The first
    /// rejection of a token ends the rest after the success that brought it, unless it was fetched
    /// because of a rejection itself.
    pub(super) fn request_replacement(&mut self, now: Moment, patience: Duration) -> Option<u64> {
        if !self.in_flight {
            if !self.is_failing() && !self.replaces_rejected {
                self.not_before = now.boot;
            }
            if self.pause(now) > patience {
                return None;
            }
        }
        self.wanted_for_rejection = true;
        Some(self.join_or_request())
    }

    /// The attempt in flight ended. `sent` is when its request was sent.
    pub(super) fn finish_attempt(
        &mut self,
        now: Moment,
        sent: Moment,
        result: Result<TokenResponse, TokenError>,
    ) -> AttemptOutcome {
        self.in_flight = false;
        let failures = self.backoff.failures();
        let before = self.token.clone();
        let taken = now.boot.saturating_sub(self.begun_at);
        match result.and_then(|response| self.accept(now, (sent, taken), response)) {
            Ok(token) => {
                self.token = Some(token.clone());
                self.backoff = Backoff::default();
                self.not_before = now.boot.saturating_add(PAUSE_AFTER_SUCCESS);
                self.last_success = Some(now);
                self.taken = taken;
                self.pending = None;
                self.replaces_rejected = std::mem::take(&mut self.wanted_for_rejection);
                AttemptOutcome {
                    same_value: before.as_ref().is_some_and(|b| b.id() == token.id()),
                    news: failures > 0 || before.is_none_or(|before| before.is_inherited()),
                    failures,
                    result: Ok(token),
                }
            }
            Err(error) => {
                let usable_for = before.map_or(Duration::ZERO, |b| now.until(b.usable_until()));
                let pauses = &self.policy.pauses;
                let delay = self
                    .backoff
                    .record_failure(&error, usable_for, pauses, &mut self.rng);
                self.not_before = now.boot.saturating_add(delay);
                let last = self.last_failure.as_ref().filter(|_| failures > 0);
                let known = last.is_some_and(|last| {
                    last.error.message == error.message
                        && last.usable_for.is_zero() == usable_for.is_zero()
                });
                self.last_failure = Some(FailedAttempt {
                    error: error.clone(),
                    at: now,
                    usable_for,
                    trace: None,
                });
                AttemptOutcome {
                    result: Err(error),
                    same_value: false,
                    news: !known,
                    failures: self.backoff.failures(),
                }
            }
        }
    }

    /// How long an attempt that begins now may take.
    pub(super) fn attempt_timeout(&self, now: Moment) -> Duration {
        let held = self.token.as_ref();
        let left = held.map_or(Duration::ZERO, |token| now.until(token.usable_until()));
        schedule::attempt_timeout(left, self.taken, self.policy.fetch_timeout)
    }

    /// The attempt that has just ended was recorded as this span, or was not.
    pub(super) fn set_fetch(&mut self, span: Option<TraceContext>) {
        self.last_fetch = span;
        if let Some(failure) = &mut self.last_failure
            && self.backoff.failures() > 0
        {
            failure.trace = span.map(|span| span.trace);
        }
    }

    /// The span of the attempt that ended last, if it was recorded.
    pub(super) fn last_fetch(&self) -> Option<TraceContext> {
        self.last_fetch
    }

    /// Ends the pause after an error that a change of ours can cure.
    pub(super) fn end_pause(&mut self) {
        if self.is_curable() {
            self.not_before = Duration::ZERO;
        }
    }

    /// From now on attempts are made only for requests that ask for a token.
    pub(super) fn retire(&mut self) {
        self.policy.refresh = Refresh::Lazy;
    }

    /// Whether the last attempt failed for a reason that lies with us: a secret that is wrong, or
    /// cannot be read.
    pub(super) fn is_curable(&self) -> bool {
        let kind = self.failure().map(|failure| failure.error.kind);
        !self.in_flight && matches!(kind, Some(TokenErrorKind::Refused | TokenErrorKind::Local))
    }

    /// Whether the attempt that ended last has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// Why there is no newer token, while attempts fail.
    pub(super) fn failure(&self) -> Option<&FailedAttempt> {
        self.last_failure.as_ref().filter(|_| self.is_failing())
    }

    /// How long until an attempt may begin.
    pub(super) fn pause(&self, now: Moment) -> Duration {
        self.not_before.saturating_sub(now.boot)
    }

    /// The reading of the boot clock from which a request may ask for an attempt; `None` while
    /// an attempt is in flight, or has been asked for.
    pub(super) fn may_request_from(&self) -> Option<Duration> {
        (!self.in_flight && !self.wanted).then_some(self.not_before)
    }

    /// The last good token, usable or not.
    pub(super) fn token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref()
    }

    /// Whether an attempt is in flight.
    pub(super) fn is_fetching(&self) -> bool {
        self.in_flight
    }

    /// Attempts begun.
    pub(super) fn attempts_begun(&self) -> u64 {
        self.begun
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// The last failure, also when successes followed.
    pub(super) fn last_failure(&self) -> Option<&FailedAttempt> {
        self.last_failure.as_ref()
    }

    /// When the last success was.
    pub(super) fn last_success(&self) -> Option<Moment> {
        self.last_success
    }

    fn join_or_request(&mut self) -> u64 {
        if self.in_flight {
            return self.begun;
        }
        self.wanted = true;
        self.begun + 1
    }

    /// Makes a token of a response, unless it is of no use. Its attempt has `taken` so long.
    fn accept(
        &mut self,
        now: Moment,
        (sent, taken): (Moment, Duration),
        response: TokenResponse,
    ) -> Result<Arc<Token>, TokenError> {
        let lifetime = response
            .expires_in
            .unwrap_or(self.policy.default_lifetime)
            .min(self.policy.max_lifetime);
        let usable_until = sent.plus(lifetime - margin(lifetime));
        if now.reached(usable_until) {
            let took = now.boot.saturating_sub(sent.boot);
            return Err(bad_response(format!(
                "the token was no longer usable when it arrived: its lifetime is {lifetime:?}, \
                 counted from when it was asked for, {took:?} ago"
            )));
        }
        let renewed = self
            .token
            .as_deref()
            .filter(|held| held.is_renewed_by(&response));
        let refresh_at = match renewed {
            // Nothing was renewed: the server hands out the old value until near its end.
            Some(_) => now.plus(now.until(usable_until) / 2),
            None => {
                let fetch_timeout = self.policy.fetch_timeout;
                sent.plus(refresh_after(lifetime, taken, fetch_timeout, &mut self.rng))
            }
        };
        let times = TokenTimes {
            issued: sent,
            refresh_at,
            usable_until,
            lifetime,
        };
        Token::new(response, times, renewed)
            .map(Arc::new)
            .ok_or_else(|| bad_response("the token cannot stand in a header".to_owned()))
    }
}

fn bad_response(message: String) -> TokenError {
    TokenError {
        kind: TokenErrorKind::BadResponse,
        message,
        retry_after: None,
    }
}
