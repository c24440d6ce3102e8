//! A clock that can be suspended and set, a token endpoint that follows a script, and a source
//! between them.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidebearer::config::{Refresh, RetryPauses, Secret};
use sidebearer::limit::ConcurrencyLimit;
use sidebearer::metrics::Metrics;
use sidebearer::oauth::{BoxFuture, TokenEndpoint, TokenError, TokenErrorKind, TokenResponse};
use sidebearer::token::{Clock, Moment, Policy, Token, TokenSource};
use tokio::time::{Instant, sleep};

pub(crate) fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// Follows the runtime's paused clock, which does not move in suspend.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    start: Instant,
    longest_sleep: Duration,
    suspended: AtomicU64,
    wall_set_by: AtomicI64,
}

impl VirtualClock {
    const WALL_AT_START: Duration = Duration::from_secs(1_700_000_000);

    pub(crate) fn new() -> Arc<Self> {
        Self::with_longest_sleep(secs(5.0))
    }

    pub(crate) fn with_longest_sleep(longest_sleep: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            longest_sleep,
            suspended: AtomicU64::new(0),
            wall_set_by: AtomicI64::new(0),
        })
    }

    /// The machine was suspended for this long, and has just resumed.
    pub(crate) fn suspend(&self, by: Duration) {
        self.suspended.fetch_add(by.as_millis() as u64, SeqCst);
    }

    /// Somebody sets the wall clock forward, or back.
    pub(crate) fn set_wall(&self, by_secs: i64) {
        self.wall_set_by.fetch_add(by_secs, SeqCst);
    }
}

impl Clock for VirtualClock {
    fn longest_sleep(&self) -> Duration {
        self.longest_sleep
    }

    fn now(&self) -> Moment {
        let suspended = Duration::from_millis(self.suspended.load(SeqCst));
        // Not zero: a machine has always been up for some time.
        let boot = Duration::from_secs(100) + self.start.elapsed() + suspended;
        let set_by = self.wall_set_by.load(SeqCst);
        let wall = Self::WALL_AT_START + boot;
        Moment {
            boot,
            wall: if set_by < 0 {
                wall.saturating_sub(Duration::from_secs(set_by.unsigned_abs()))
            } else {
                wall + Duration::from_secs(set_by.unsigned_abs())
            },
        }
    }
}

/// One answer of a [`Scripted`] token endpoint.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// This, after this long.
    After(Duration, Result<TokenResponse, TokenError>),
    Hangs,
    Panics,
}

impl Answer {
    pub(crate) fn after(self, delay: f64) -> Self {
        match self {
            Self::After(_, result) => Self::After(secs(delay), result),
            other => other,
        }
    }
}

/// A token of this value, good for this many seconds.
pub(crate) fn grants(value: &str, lifetime: f64) -> Answer {
    response(value, Some(secs(lifetime)))
}

pub(crate) fn response(value: &str, expires_in: Option<Duration>) -> Answer {
    Answer::After(
        Duration::ZERO,
        Ok(TokenResponse {
            access_token: Secret::new(value),
            token_type: "Bearer",
            proof_key: None,
            requester: None,
            expires_in,
        }),
    )
}

pub(crate) fn fails(kind: TokenErrorKind) -> Answer {
    fails_for(kind, None)
}

pub(crate) fn fails_for(kind: TokenErrorKind, retry_after: Option<f64>) -> Answer {
    Answer::After(
        Duration::ZERO,
        Err(TokenError {
            kind,
            message: format!("the fake says {}", kind.label()),
            retry_after: retry_after.map(secs),
        }),
    )
}

/// Answers by a script, then always the same way.
#[derive(Debug)]
pub(crate) struct Scripted {
    script: Mutex<VecDeque<Answer>>,
    then: Mutex<Answer>,
    requests: Mutex<Vec<Instant>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    secret_changed: AtomicBool,
}

impl Scripted {
    pub(crate) fn new(script: impl IntoIterator<Item = Answer>, then: Answer) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            then: Mutex::new(then),
            requests: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            secret_changed: AtomicBool::new(false),
        })
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.lock().expect("no panic inside").len()
    }

    /// When each request was sent.
    pub(crate) fn sent(&self) -> Vec<Instant> {
        self.requests.lock().expect("no panic inside").clone()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(SeqCst)
    }

    /// From now on it always answers so.
    pub(crate) fn now(&self, answer: Answer) {
        self.script.lock().expect("no panic inside").clear();
        *self.then.lock().expect("no panic inside") = answer;
    }

    /// The secret on disk is another than the one last sent.
    pub(crate) fn rotate_secret(&self) {
        self.secret_changed.store(true, SeqCst);
    }
}

impl TokenEndpoint for Scripted {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        self.requests
            .lock()
            .expect("no panic inside")
            .push(Instant::now());
        self.secret_changed.store(false, SeqCst);
        let scripted = self.script.lock().expect("no panic inside").pop_front();
        let answer = scripted.unwrap_or_else(|| self.then.lock().expect("no panic inside").clone());
        Box::pin(async move {
            let _here = Here::new(self);
            match answer {
                Answer::After(delay, result) => {
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    result
                }
                Answer::Hangs => pending().await,
                Answer::Panics => panic!("this panic is part of the test"),
            }
        })
    }

    fn secret_changed(&self) -> bool {
        self.secret_changed.load(SeqCst)
    }
}

/// Counts a request as in flight, also when it is cut off.
struct Here<'a>(&'a Scripted);

impl<'a> Here<'a> {
    fn new(endpoint: &'a Scripted) -> Self {
        let now = endpoint.in_flight.fetch_add(1, SeqCst) + 1;
        endpoint.most_in_flight.fetch_max(now, SeqCst);
        Self(endpoint)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

/// One source with its clock and its endpoint.
pub(crate) struct World {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) endpoint: Arc<Scripted>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) source: Arc<TokenSource>,
}

impl World {
    /// Refreshes in the background; answers by the script, then always as `then` says.
    pub(crate) fn eager(script: impl IntoIterator<Item = Answer>, then: Answer) -> Self {
        Self::with(policy(Refresh::Eager), Scripted::new(script, then))
    }

    /// Refreshes on demand.
    pub(crate) fn lazy(script: impl IntoIterator<Item = Answer>, then: Answer) -> Self {
        Self::with(policy(Refresh::Lazy), Scripted::new(script, then))
    }

    pub(crate) fn with(policy: Policy, endpoint: Arc<Scripted>) -> Self {
        let clock = VirtualClock::new();
        let metrics = Metrics::new();
        let source = TokenSource::start(
            "crm",
            policy,
            endpoint.clone(),
            Arc::new(ConcurrencyLimit::new(32)),
            clock.clone(),
            metrics.credential("crm"),
        );
        Self {
            clock,
            endpoint,
            metrics,
            source,
        }
    }

    /// The value of the token that would be sent now.
    pub(crate) fn value(&self) -> Option<String> {
        self.source.current().map(|token| value(&token))
    }

    /// What a request without a token gets, and after how long.
    pub(crate) async fn acquire(&self) -> (Result<String, String>, Duration) {
        let asked = Instant::now();
        let result = self.source.acquire().await;
        let result = result
            .map(|token| value(&token))
            .map_err(|unavailable| unavailable.reason);
        (result, asked.elapsed())
    }

    /// Seconds between consecutive token requests.
    pub(crate) fn gaps(&self) -> Vec<f64> {
        let sent = self.endpoint.sent();
        let pairs = sent.windows(2);
        pairs
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect()
    }
}

pub(crate) fn policy(refresh: Refresh) -> Policy {
    Policy {
        refresh,
        default_lifetime: secs(300.0),
        max_lifetime: secs(86_400.0),
        fetch_timeout: secs(10.0),
        acquire_timeout: secs(5.0),
        pauses: RetryPauses::default(),
    }
}

pub(crate) fn value(token: &Token) -> String {
    token.access_token().expose().to_owned()
}

/// Lets virtual time pass.
pub(crate) async fn pass(seconds: f64) {
    sleep(secs(seconds)).await;
}
