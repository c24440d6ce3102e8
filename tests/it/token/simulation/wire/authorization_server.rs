//! An authorization server that believes nothing, in every mood.

use std::collections::HashMap;
use std::future::pending;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use sidebearer::http_client::{
    BoxFuture, Error, OnSend, RequestErrorKind, Response, Transport, UnreadableBody,
};
use tokio::time::sleep;
use url::Url;
use zeroize::Zeroizing;

use super::super::super::fakes::secs;
use super::super::log_uniform;
use super::super::pace::LIFETIMES;
use super::TOKEN_ENDPOINT;
use super::client_checks::Finding;
use super::jwt::Seen;
use super::nonce::Nonces;
use super::world::{Times, World, WorldState};

/// `max_response_bytes` of the credentials here.
const MAX_BODY: usize = 64 * 1024;

/// What the server is like for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Healthy,
    Down,
    Slow,
    Erring,
    Throttling,
    Refusing,
    /// No nonce is new enough.
    Insatiable,
}

impl Mood {
    pub(super) const BAD: [Self; 6] = [
        Self::Down,
        Self::Slow,
        Self::Erring,
        Self::Throttling,
        Self::Refusing,
        Self::Insatiable,
    ];
}

/// How a token request ended for the one who sent it.
#[derive(Debug)]
pub(super) enum Outcome {
    Granted { value: String, thumbprint: String },
    WantsNonce { brought: bool },
    Failed { retry_after: Option<Duration> },
}

pub(super) struct AuthorizationServer {
    rng: Rng,
    mood: Mood,
    since: Duration,
    pub(super) nonces: Nonces,
    pub(super) seen: Seen,
    pub(super) issued: u64,
    /// How often a request was to be sent again with a nonce.
    pub(super) asked_again: u64,
}

/// An answer under way.
struct Answer {
    /// Never, if `None`.
    delay: Option<Duration>,
    outcome: Outcome,
    nonce: Option<String>,
    /// `None` breaks the connection.
    response: Option<Response>,
}

impl AuthorizationServer {
    pub(super) fn new(mut rng: Rng, now: Duration) -> Self {
        Self {
            nonces: Nonces::new(rng.fork()),
            rng,
            mood: Mood::Healthy,
            since: now,
            seen: Seen::default(),
            issued: 0,
            asked_again: 0,
        }
    }

    pub(super) fn turn(&mut self, mood: Mood, now: Duration) {
        self.mood = mood;
        self.since = now;
    }

    pub(super) fn healthy_since(&self) -> Option<Duration> {
        (self.mood == Mood::Healthy).then_some(self.since)
    }

    /// What this mood makes of a request that has been looked at.
    fn answer(&mut self, finding: Finding, times: Times) -> Answer {
        let mut delay = Some(secs(0.04 * self.rng.f64()));
        let (status, body, retry_after) = match self.mood {
            Mood::Healthy => return self.fairly(finding, times, delay),
            Mood::Slow => {
                delay = (self.rng.u8(..4) > 0).then(|| secs(15.0 * self.rng.f64()));
                return self.fairly(finding, times, delay);
            }
            Mood::Down => {
                // It may have come to know the request, and its `jti`, before it broke.
                return Answer {
                    response: None,
                    ..failed(delay, None, response(200, "x".repeat(MAX_BODY + 1)))
                };
            }
            Mood::Insatiable => {
                self.nonces.change();
                return self.ask_again(delay);
            }
            Mood::Refusing => (401, error("invalid_client"), None),
            Mood::Throttling => (429, error("slow_down"), Some(self.throttle(times))),
            Mood::Erring => match self.rng.u8(..5) {
                0 => (500, "<html>oops</html>".to_owned(), None),
                1 => (
                    503,
                    error("temporarily_unavailable"),
                    Some(self.throttle(times)),
                ),
                2 => (200, "{\"access_token\": \"half of o".to_owned(), None),
                3 => (200, "x".repeat(MAX_BODY + 1), None),
                _ => {
                    let answer = response(400, error("use_dpop_nonce"));
                    return Answer {
                        outcome: Outcome::WantsNonce { brought: false },
                        ..failed(delay, None, answer)
                    };
                }
            },
        };
        let nonce = self.nonces.bring();
        let mut answer = response(status, body);
        let retry_after = retry_after.map(|(after, header)| {
            let header = header.parse().expect("it is visible ASCII");
            answer.headers.insert("retry-after", header);
            after
        });
        Answer {
            nonce,
            ..failed(delay, retry_after, answer)
        }
    }

    /// In seconds, or as a date.
    fn throttle(&mut self, times: Times) -> (Duration, String) {
        let after = log_uniform(&mut self.rng, 1.0, 3000.0).as_secs();
        let header = if self.rng.bool() {
            after.to_string()
        } else {
            httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(times.truth + after))
        };
        (Duration::from_secs(after), header)
    }

    fn fairly(&mut self, finding: Finding, times: Times, delay: Option<Duration>) -> Answer {
        match finding {
            Finding::Good { thumbprint } => {
                let lifetime = log_uniform(&mut self.rng, LIFETIMES.0, LIFETIMES.1);
                let lifetime = lifetime.as_secs();
                let end = times.now.boot + Duration::from_secs(lifetime);
                self.issued += 1;
                let value = format!("t{}.{thumbprint}.{}", self.issued, end.as_nanos());
                let body = json!({
                    "access_token": value, "token_type": "DPoP", "expires_in": lifetime
                });
                Answer {
                    outcome: Outcome::Granted { value, thumbprint },
                    nonce: self.nonces.bring(),
                    ..failed(delay, None, response(200, body.to_string()))
                }
            }
            Finding::WantsNonce => self.ask_again(delay),
            Finding::Refused { code, .. } => Answer {
                nonce: self.nonces.bring(),
                ..failed(delay, None, response(400, error(code)))
            },
        }
    }

    fn ask_again(&mut self, delay: Option<Duration>) -> Answer {
        self.asked_again += 1;
        Answer {
            outcome: Outcome::WantsNonce { brought: true },
            nonce: Some(self.nonces.current()),
            ..failed(delay, None, response(400, error("use_dpop_nonce")))
        }
    }
}

impl WorldState {
    /// A request arrives.
    fn receive(&mut self, url: &Url, request: &Request<Bytes>, times: Times) -> Answer {
        self.fetch.requests += 1;
        let before = self.fetch.answered.take();
        let again = matches!(before, Some(Outcome::WantsNonce { brought: true }));
        let requests = self.fetch.requests;
        self.pace
            .check(requests == 1 || requests == 2 && again, || {
                format!("request {requests} of a fetch, after {before:?}")
            });
        let right = url.as_str() == TOKEN_ENDPOINT && request.method() == "POST";
        self.pace
            .check(right, || format!("{} {url}", request.method()));

        self.server.nonces.pass(times.now.boot);
        self.files.look(times);
        let form: HashMap<String, String> = url::form_urlencoded::parse(request.body())
            .into_owned()
            .collect();
        let finding = self
            .look(&form, request.headers(), times)
            .unwrap_or_else(|wrong| {
                self.pace.check(false, || wrong);
                Finding::WantsNonce
            });
        if let Finding::Refused { excused: false, .. } = finding {
            self.pace
                .check(false, || format!("{finding:?} at {times:?}"));
        }
        let wants_nonce = matches!(finding, Finding::WantsNonce);
        let answer = self.server.answer(finding, times);
        if wants_nonce && self.server.mood == Mood::Healthy {
            // Now and then the nonce is already another when the request comes again.
            if requests == 1 && self.server.rng.u8(..16) == 0 {
                self.server.nonces.change();
            }
            if requests == 2 {
                self.disturbed = times.now.boot;
            }
        }
        answer
    }
}

impl Transport for World {
    fn carry<'a>(
        &'a self,
        url: &'a Url,
        request: Request<Bytes>,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        on_send();
        let times = self.times();
        let answer = self.lock().receive(url, &request, times);
        self.arrived.notify_waiters();
        Box::pin(async move {
            match answer.delay {
                Some(delay) => sleep(delay).await,
                None => pending().await,
            }
            let inner = &mut *self.lock();
            inner.fetch.answered = Some(answer.outcome);
            let Some(mut response) = answer.response else {
                return Err(Error {
                    kind: RequestErrorKind::Disconnected,
                    message: "the connection broke".to_owned(),
                });
            };
            Nonces::tell(&mut response.headers, answer.nonce.as_deref());
            if answer.nonce.is_some() {
                inner.server.nonces.told = answer.nonce;
            }
            Ok(response)
        })
    }
}

fn failed(delay: Option<Duration>, retry_after: Option<Duration>, response: Response) -> Answer {
    Answer {
        delay,
        outcome: Outcome::Failed { retry_after },
        nonce: None,
        response: Some(response),
    }
}

fn response(status: u16, body: String) -> Response {
    let fits = body.len() <= MAX_BODY;
    Response {
        status: status.try_into().expect("a status"),
        headers: HeaderMap::new(),
        body: if fits {
            Ok(Zeroizing::new(body.into_bytes()))
        } else {
            Err(UnreadableBody::TooLarge)
        },
        peer: None,
    }
}

fn error(code: &str) -> String {
    Value::to_string(&json!({ "error": code }))
}
