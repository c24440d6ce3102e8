//! When token requests may come, worked out from the rules and not from the code.

use std::time::Duration;

use sidebearer::oauth::{TokenError, TokenErrorKind, TokenResponse};
use sidebearer::token::Moment;

use super::super::fakes::secs;

/// Shortest and longest lifetime, in seconds.
pub(super) const LIFETIMES: (f64, f64) = (2.0, 86_400.0);

/// What every fetch so far allows to be asked next, and the record of them.
#[derive(Debug, Default)]
pub(super) struct Pace {
    in_flight: bool,
    /// Reading of the boot clock before which no next request may come.
    not_before: Duration,
    refusals: u32,
    /// The last failure was one that a changed file may cure.
    curable: bool,
    /// When the last attempt failed, if the source is to choose when to come back.
    retrying_since: Option<Duration>,
    /// The value that the source holds, and whether it was given it more than once.
    held: Option<String>,
    held_again: bool,
    /// When the last token that is good for anything came, on the boot clock, and until when it may
    /// be sent.
    usable: Option<(Duration, Moment)>,
    pub(super) report: Report,
}

/// What happened in one run.
#[derive(Debug, Default, Clone)]
pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) successes: u64,
    pub(super) failures: u64,
    pub(super) served: u64,
    pub(super) turned_away: u64,
    /// Runs of failures without a success between them.
    streaks: u64,
    /// Tokens that were handed out more than once.
    again: u64,
    /// Failures after which the source chose when to come back, and the time it took in sum.
    retried: u64,
    backing_off: Duration,
    disturbances: u64,
    /// Retries that came at once because a file had changed.
    cured: u64,
    failing: bool,
}

impl Report {
    pub(super) fn fetches(&self) -> u64 {
        self.successes + self.failures
    }

    /// The most fetches that the rules explain.
    ///
    /// - A token is renewed after at least 45 % of its life (earlier only where that is under 4.5 s),
    ///   and lifetimes are 8,100 s in the mean. A disturbance may end one early.
    /// - A token handed out again is asked for at halves of its remainder, down to 0.5 s.
    /// - Back-off is 15 s in the mean, after the first seven failures in a row; a quarter more
    ///   for luck. While a token lasts, the pause is a quarter of what is left of it: no more than
    ///   25 such failures before it ends. A changed file may end it. (RetryPauses that the server or a refusal dictate are
    ///   checked one by one.)
    pub(super) fn bound(&self, length: Duration) -> u64 {
        let mean_lifetime = (LIFETIMES.1 - LIFETIMES.0) / (LIFETIMES.1 / LIFETIMES.0).ln();
        let renewals = length.as_secs_f64() / (0.45 * mean_lifetime);
        let halvings = LIFETIMES.1.log2() + 1.0;
        let retries =
            1.25 * self.backing_off.as_secs_f64() / 15.0 + 32.0 * self.streaks as f64 + 20.0;
        let dictated = self.failures - self.retried;
        let again = halvings * self.again as f64;
        let bound = 1.0 + renewals + self.disturbances as f64 + again + retries;
        bound as u64 + dictated + self.cured
    }
}

impl Pace {
    /// A fetch begins; `changed` if a file has since the last one did.
    pub(super) fn begin(&mut self, now: Moment, changed: bool) {
        let (in_flight, not_before) = (self.in_flight, self.not_before);
        self.in_flight = true;
        let cured = changed && self.curable;
        if let Some(failed) = self.retrying_since.take() {
            if cured {
                self.report.cured += 1
            } else {
                self.report.backing_off += now.boot - failed
            }
        }
        self.check(!in_flight, || format!("two fetches at {now:?}"));
        self.check(cured || now.boot >= not_before, || {
            format!("asked at {:?}, not before {not_before:?}", now.boot)
        });
    }

    /// The machine was suspended, or its wall clock set: a token may have ended early.
    pub(super) fn disturbed(&mut self) {
        self.not_before = Duration::ZERO;
        self.report.disturbances += 1;
    }

    /// An API no longer takes the token: unless fetches fail, one may come at once.
    pub(super) fn rejected(&mut self) {
        if !self.report.failing {
            self.disturbed();
        }
    }

    /// Whether a token has been there that is still usable now.
    pub(super) fn holds(&self, now: Moment) -> bool {
        self.usable
            .is_some_and(|(came, until)| now.boot > came && !now.reached(until))
    }

    /// Whether this token may still be sent now, as far as is known of it.
    pub(super) fn may_be_sent(&self, value: &str, now: Moment) -> bool {
        let last = self.held.as_deref() == Some(value);
        !last || self.usable.is_some_and(|(_, until)| !now.reached(until))
    }

    pub(super) fn answered(&mut self, served: bool) {
        if served {
            self.report.served += 1
        } else {
            self.report.turned_away += 1
        }
    }

    /// Notes a violation. Not an assertion, because a panic in a fetch is one more failure that
    /// the source survives.
    pub(super) fn check(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.report.violations.push(otherwise());
        }
    }

    /// Works out when the next request may come, from the rules and not from the code.
    pub(super) fn granted(&mut self, sent: Moment, now: Moment, token: &TokenResponse) {
        let lifetime = token.expires_in.unwrap_or(secs(300.0)).as_secs_f64();
        let margin = (0.1 * lifetime).clamp(1.0, 5.0).min(0.5 * lifetime);
        let usable_until = sent.plus(secs(lifetime - margin));
        if now.reached(usable_until) {
            return self.failed(now, &late());
        }
        self.in_flight = false;
        self.curable = false;
        self.usable = Some((now.boot, usable_until));
        let value = token.access_token.expose();
        let again = self.held.as_deref() == Some(value);
        let renewal = if again {
            self.report.again += u64::from(!self.held_again);
            now.boot + now.until(usable_until) / 2
        } else {
            let usable = lifetime - margin;
            // 3 s, and what the last one took, which is 10 s at most.
            let reserve = (0.5 * usable).min(13.0).max(0.05 * lifetime);
            let earliest = (0.70 * lifetime).min(usable - reserve);
            sent.boot + secs(earliest)
        };
        self.held = Some(value.to_owned());
        self.held_again = again;
        // A nanosecond for rounding here and there.
        self.not_before = renewal.max(now.boot + secs(0.5)) - Duration::from_nanos(10);
        self.refusals = 0;
        self.report.failing = false;
        self.report.successes += 1;
    }

    pub(super) fn failed(&mut self, now: Moment, error: &TokenError) {
        self.in_flight = false;
        self.curable = matches!(error.kind, TokenErrorKind::Refused | TokenErrorKind::Local);
        let refused = match error.kind {
            TokenErrorKind::Refused => {
                self.refusals += 1;
                match self.refusals {
                    1 => 2.0,
                    n => (30.0 * f64::from(1 << (n - 2).min(10))).min(300.0),
                }
            }
            _ => 0.0,
        };
        let asked = error.retry_after.unwrap_or_default().min(secs(300.0));
        self.not_before = now.boot + secs(refused).max(asked);
        if self.not_before == now.boot {
            self.retrying_since = Some(now.boot);
            self.report.retried += 1;
        }
        self.report.streaks += u64::from(!self.report.failing);
        self.report.failing = true;
        self.report.failures += 1;
    }
}

fn late() -> TokenError {
    TokenError {
        kind: TokenErrorKind::BadResponse,
        message: "the token was no longer usable when it arrived".to_owned(),
        retry_after: None,
    }
}
