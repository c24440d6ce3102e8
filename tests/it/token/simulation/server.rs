//! A token endpoint with moods, which knows what each of its answers allows to be asked next.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use sidebearer::config::Secret;
use sidebearer::oauth::{BoxFuture, TokenEndpoint, TokenError, TokenErrorKind, TokenResponse};
use sidebearer::token::{Clock, Moment};
use tokio::time::sleep;

use super::super::fakes::{VirtualClock, secs};
use super::log_uniform;

/// Shortest and longest lifetime, in seconds.
const LIFETIMES: (f64, f64) = (2.0, 86_400.0);

/// What the server is like for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Healthy,
    Down,
    Slow,
    Erring,
    Lying,
    Throttling,
    Refusing,
}

/// The token endpoint, and the record of all that was asked and answered.
#[derive(Debug)]
pub(super) struct Server {
    clock: Arc<VirtualClock>,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    rng: Rng,
    mood: Mood,
    since: Duration,
    disturbed: Duration,
    in_flight: bool,
    /// Reading of the boot clock before which no next request may come.
    not_before: Duration,
    refusals: u32,
    /// When the last attempt failed, if the source is to choose when to come back.
    retrying_since: Option<Duration>,
    /// The last token issued: value, end.
    last: Option<(String, Duration)>,
    issued: u64,
    /// The value that the source holds, and whether it was given it more than once.
    held: Option<String>,
    held_again: bool,
    report: Report,
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
    failing: bool,
}

impl Report {
    pub(super) fn fetches(&self) -> u64 {
        self.successes + self.failures
    }

    /// The most fetches that the rules explain.
    ///
    /// - A token is renewed after at least 45 % of its life (a 2 s one; later for longer ones),
    ///   and lifetimes are 8,100 s in the mean. A disturbance may end one early.
    /// - A token handed out again is asked for at halves of its remainder, down to 0.5 s.
    /// - Back-off is 15 s in the mean, after the first seven failures in a row; a quarter more
    ///   for luck. (Pauses that the server or a refusal dictate are checked one by one.)
    pub(super) fn bound(&self, length: Duration) -> u64 {
        let mean_lifetime = (LIFETIMES.1 - LIFETIMES.0) / (LIFETIMES.1 / LIFETIMES.0).ln();
        let renewals = length.as_secs_f64() / (0.45 * mean_lifetime);
        let halvings = LIFETIMES.1.log2() + 1.0;
        let retries =
            1.25 * self.backing_off.as_secs_f64() / 15.0 + 7.0 * self.streaks as f64 + 20.0;
        let dictated = self.failures - self.retried;
        let again = halvings * self.again as f64;
        let bound = 1.0 + renewals + self.disturbances as f64 + again + retries;
        bound as u64 + dictated
    }
}

impl Server {
    pub(super) fn new(clock: Arc<VirtualClock>, rng: Rng) -> Arc<Self> {
        let now = clock.now().boot;
        Arc::new(Self {
            clock,
            record: Mutex::new(Record {
                rng,
                mood: Mood::Healthy,
                since: now,
                disturbed: now,
                in_flight: false,
                not_before: Duration::ZERO,
                refusals: 0,
                retrying_since: None,
                last: None,
                issued: 0,
                held: None,
                held_again: false,
                report: Report::default(),
            }),
        })
    }

    /// Good days and bad hours.
    pub(super) async fn change_moods(self: Arc<Self>, mut rng: Rng) {
        loop {
            sleep(log_uniform(&mut rng, 10.0, 86_400.0)).await;
            loop {
                let mood = [
                    Mood::Down,
                    Mood::Slow,
                    Mood::Erring,
                    Mood::Lying,
                    Mood::Throttling,
                    Mood::Refusing,
                ][rng.usize(..6)];
                self.turn(mood);
                sleep(log_uniform(&mut rng, 1.0, 7200.0)).await;
                // Sometimes from bad to worse.
                if rng.u8(..4) > 0 {
                    break;
                }
            }
            self.turn(Mood::Healthy);
        }
    }

    /// How long it has been healthy and the machine left alone.
    pub(super) fn healthy_for(&self) -> Option<Duration> {
        let record = self.record();
        let since = record.since.max(record.disturbed);
        (record.mood == Mood::Healthy).then(|| self.clock.now().boot - since)
    }

    /// The machine was suspended, or its wall clock set: a token may have ended early.
    pub(super) fn disturbed(&self) {
        let mut record = self.record();
        record.disturbed = self.clock.now().boot;
        record.not_before = Duration::ZERO;
        record.report.disturbances += 1;
    }

    pub(super) fn answered(&self, served: bool) {
        let mut record = self.record();
        match served {
            true => record.report.served += 1,
            false => record.report.turned_away += 1,
        }
    }

    /// Notes a violation. Not an assertion, because a panic in a fetch is one more failure that
    /// the source survives.
    pub(super) fn check(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.record().report.violations.push(otherwise());
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.record().report.violations.is_empty()
    }

    pub(super) fn report(&self) -> Report {
        self.record().report.clone()
    }

    /// When a token of ours expires, in truth; it is written in its value.
    pub(super) fn true_expiry(&self, value: &str) -> Duration {
        let nanos = value.rsplit('.').next().and_then(|end| end.parse().ok());
        Duration::from_nanos(nanos.expect("a token of this server"))
    }

    fn turn(&self, mood: Mood) {
        let now = self.clock.now().boot;
        let mut record = self.record();
        record.mood = mood;
        record.since = now;
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no panic inside")
    }
}

impl TokenEndpoint for Server {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        let sent = self.clock.now();
        let mut record = self.record();
        let (in_flight, not_before) = (record.in_flight, record.not_before);
        record.in_flight = true;
        if let Some(failed) = record.retrying_since.take() {
            record.report.backing_off += sent.boot - failed;
        }
        let (delay, answer) = record.answer(sent);
        drop(record);
        self.check(!in_flight, || format!("two fetches at {sent:?}"));
        self.check(sent.boot >= not_before, || {
            format!("asked at {:?}, not before {not_before:?}", sent.boot)
        });
        Box::pin(async move {
            let mut asked = Asked {
                server: self,
                sent,
                answer: None,
            };
            match delay {
                Some(delay) => sleep(delay).await,
                None => pending().await,
            }
            asked.answer.insert(answer).clone()
        })
    }

    fn secret_changed(&self) -> bool {
        false
    }
}

/// A request in flight; when it ends, well or cut off, it is judged what may come next.
struct Asked<'a> {
    server: &'a Server,
    sent: Moment,
    answer: Option<Result<TokenResponse, TokenError>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let now = self.server.clock.now();
        let mut record = self.server.record();
        record.in_flight = false;
        match self.answer.take() {
            Some(Ok(token)) => record.granted(self.sent, now, &token),
            Some(Err(error)) => record.failed(now, &error),
            None => record.failed(now, &error(TokenErrorKind::Timeout, None)),
        }
    }
}

impl Record {
    /// What to answer, and after how long; never, if `None`.
    fn answer(&mut self, sent: Moment) -> (Option<Duration>, Result<TokenResponse, TokenError>) {
        let quick = Some(secs(0.04 * self.rng.f64()));
        match self.mood {
            Mood::Healthy => (quick, Ok(self.issue(sent))),
            Mood::Down => (quick, Err(error(TokenErrorKind::Unreachable, None))),
            Mood::Erring => (quick, Err(error(TokenErrorKind::ServerError, None))),
            Mood::Refusing => (quick, Err(error(TokenErrorKind::Refused, None))),
            Mood::Throttling => {
                let asked = log_uniform(&mut self.rng, 1.0, 3000.0);
                (quick, Err(error(TokenErrorKind::Throttled, Some(asked))))
            }
            Mood::Slow if self.rng.u8(..4) == 0 => {
                (None, Err(error(TokenErrorKind::Timeout, None)))
            }
            Mood::Slow => {
                let delay = secs(15.0 * self.rng.f64());
                (Some(delay), Ok(self.issue(sent)))
            }
            Mood::Lying => match (self.rng.u8(..4), &self.last) {
                (0, _) => (quick, Err(error(TokenErrorKind::BadResponse, None))),
                (1, Some((value, end))) if *end > sent.boot + secs(1.0) => {
                    let left = *end - sent.boot;
                    (quick, Ok(token(value.clone(), Some(left))))
                }
                (2, _) => {
                    // Expired, or nearly so, when it arrives.
                    let delay = secs(0.4 + self.rng.f64());
                    let end = sent.boot + secs(1.0);
                    let value = self.value(end);
                    (Some(delay), Ok(token(value, Some(secs(1.0)))))
                }
                _ => {
                    // Neither an end nor a lie: the default holds.
                    let end = sent.boot + secs(300.0);
                    let value = self.value(end);
                    self.last = Some((value.clone(), end));
                    (quick, Ok(token(value, None)))
                }
            },
        }
    }

    fn issue(&mut self, sent: Moment) -> TokenResponse {
        let lifetime = log_uniform(&mut self.rng, LIFETIMES.0, LIFETIMES.1);
        let end = sent.boot + lifetime;
        let value = self.value(end);
        self.last = Some((value.clone(), end));
        token(value, Some(lifetime))
    }

    fn value(&mut self, end: Duration) -> String {
        self.issued += 1;
        format!("t{}.{}", self.issued, end.as_nanos())
    }

    /// Works out when the next request may come, from the rules and not from the code.
    fn granted(&mut self, sent: Moment, now: Moment, token: &TokenResponse) {
        let lifetime = token.expires_in.unwrap_or(secs(300.0)).as_secs_f64();
        let margin = (0.1 * lifetime).clamp(1.0, 5.0).min(0.5 * lifetime);
        let usable_until = sent.plus(secs(lifetime - margin));
        if now.reached(usable_until) {
            return self.failed(now, &error(TokenErrorKind::BadResponse, None));
        }
        let value = token.access_token.expose();
        let again = self.held.as_deref() == Some(value);
        let renewal = if again {
            self.report.again += u64::from(!self.held_again);
            now.boot + now.until(usable_until) / 2
        } else {
            let earliest = (0.70 * lifetime).min(lifetime - margin - 0.05 * lifetime);
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

    fn failed(&mut self, now: Moment, error: &TokenError) {
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

fn token(value: String, expires_in: Option<Duration>) -> TokenResponse {
    TokenResponse {
        access_token: Secret::new(value),
        token_type: "Bearer",
        proof_key: None,
        expires_in,
    }
}

fn error(kind: TokenErrorKind, retry_after: Option<Duration>) -> TokenError {
    TokenError {
        kind,
        message: format!("the server is {}", kind.label()),
        retry_after,
    }
}
