//! A token endpoint with moods, which knows what each of its answers allows to be in_flight next.

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
use super::pace::{LIFETIMES, Pace, Report};
use super::seeds::moods;

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

/// The token endpoint, and the record of all that was in_flight and answered.
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
    /// The last token issued: value, end.
    last: Option<(String, Duration)>,
    issued: u64,
    pace: Pace,
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
                last: None,
                issued: 0,
                pace: Pace::default(),
            }),
        })
    }

    /// Good days and bad hours.
    pub(super) async fn change_moods(self: Arc<Self>, rng: Rng) {
        let bad = [
            Mood::Down,
            Mood::Slow,
            Mood::Erring,
            Mood::Lying,
            Mood::Throttling,
            Mood::Refusing,
        ];
        moods(Mood::Healthy, &bad, rng, |mood| self.turn(mood)).await;
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
        record.pace.disturbed();
    }

    pub(super) fn answered(&self, served: bool) {
        self.record().pace.answered(served);
    }

    pub(super) fn check(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.record().pace.check(holds, otherwise);
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.record().pace.report.violations.is_empty()
    }

    pub(super) fn report(&self) -> Report {
        self.record().pace.report.clone()
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
        record.pace.begin(sent, false);
        let (delay, answer) = record.answer(sent);
        drop(record);
        Box::pin(async move {
            let mut in_flight = RequestInFlight {
                server: self,
                sent,
                answer: None,
            };
            match delay {
                Some(delay) => sleep(delay).await,
                None => pending().await,
            }
            in_flight.answer.insert(answer).clone()
        })
    }

    fn secret_changed(&self) -> bool {
        false
    }
}

/// A request in flight; when it ends, well or cut off, it is judged what may come next.
struct RequestInFlight<'a> {
    server: &'a Server,
    sent: Moment,
    answer: Option<Result<TokenResponse, TokenError>>,
}

impl Drop for RequestInFlight<'_> {
    fn drop(&mut self) {
        let now = self.server.clock.now();
        let mut record = self.server.record();
        match self.answer.take() {
            Some(Ok(token)) => record.pace.granted(self.sent, now, &token),
            Some(Err(error)) => record.pace.failed(now, &error),
            None => record
                .pace
                .failed(now, &error(TokenErrorKind::Timeout, None)),
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
                let in_flight = log_uniform(&mut self.rng, 1.0, 3000.0);
                (
                    quick,
                    Err(error(TokenErrorKind::Throttled, Some(in_flight))),
                )
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
}

fn token(value: String, expires_in: Option<Duration>) -> TokenResponse {
    TokenResponse {
        access_token: Secret::new(value),
        token_type: "Bearer",
        proof_key: None,
        requester: None,
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
