//! The source of one credential's tokens: what the proxy asks.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use fastrand::Rng;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::refresh_task::keep_supplied;
use super::shared::{SharedState, SourceSettings};
use super::state::{JoinOutcome, TokenState};
use super::{Clock, CredentialStatus, HeldToken, Inheritance, Moment, Policy, Token};
use crate::audit::AuditTrails;
use crate::config::Refresh;
use crate::limit::ConcurrencyLimit;
use crate::metrics::CredentialMetrics;
use crate::oauth::TokenEndpoint;
use crate::trace::{TraceContext, TracerSlot};

/// The source of one credential's tokens, shared by every thread that serves traffic.
///
/// Those who ask never call the token endpoint: a task of its own does, at most once at a time,
/// so that nobody who leaves takes an attempt along. Dropping the source ends that task.
pub struct TokenSource {
    shared: Arc<SharedState>,
    refresh_task: AbortHandle,
}

/// There is no usable token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// Why, free of secrets.
    pub reason: String,
    /// When asking again can help.
    pub retry_after: Duration,
}

impl TokenSource {
    /// Starts the life of a credential on the current runtime. Unless it is lazy, the first
    /// attempt begins at once. `gate` is shared by all sources of one token endpoint and limits
    /// how many fetch from it at the same time.
    pub fn start(
        name: &str,
        policy: Policy,
        endpoint: Arc<dyn TokenEndpoint>,
        gate: Arc<ConcurrencyLimit>,
        clock: Arc<dyn Clock>,
        metrics: CredentialMetrics,
    ) -> Arc<Self> {
        let state = TokenState::new(policy.clone(), Rng::new());
        Self::start_with(state, name, policy, endpoint, gate, clock, metrics)
    }

    fn start_with(
        state: TokenState,
        name: &str,
        policy: Policy,
        endpoint: Arc<dyn TokenEndpoint>,
        gate: Arc<ConcurrencyLimit>,
        clock: Arc<dyn Clock>,
        metrics: CredentialMetrics,
    ) -> Arc<Self> {
        let token = ArcSwapOption::new(state.token().cloned());
        let shared = Arc::new(SharedState {
            name: name.to_owned(),
            state: Mutex::new(state),
            lazy: AtomicBool::new(policy.refresh == Refresh::Lazy),
            settings: ArcSwap::from_pointee(SourceSettings { policy, endpoint }),
            gate,
            clock,
            metrics,
            token,
            may_request_from: AtomicU64::new(0),
            wake: Notify::new(),
            stands_by: AtomicBool::new(false),
            ended: watch::Sender::new(0),
            audit: OnceLock::new(),
            tracer: OnceLock::new(),
            record_fetch: AtomicBool::new(false),
        });
        let refresh_task = tokio::spawn(keep_supplied(shared.clone())).abort_handle();
        Arc::new(Self {
            shared,
            refresh_task,
        })
    }

    /// As [`start`](Self::start), in the place of another source, by which other tokens were asked for. It begins with
    /// what that leaves.
    pub fn start_after(
        inheritance: Option<Inheritance>,
        name: &str,
        policy: Policy,
        endpoint: Arc<dyn TokenEndpoint>,
        gate: Arc<ConcurrencyLimit>,
        clock: Arc<dyn Clock>,
        metrics: CredentialMetrics,
    ) -> Arc<Self> {
        let mut state = TokenState::new(policy.clone(), Rng::new());
        state.inherit(inheritance);
        Self::start_with(state, name, policy, endpoint, gate, clock, metrics)
    }

    /// Where its token requests are recorded from now on. The first call decides.
    pub fn record_in(&self, audit: &Arc<AuditTrails>) {
        let _ = self.shared.audit.set(Arc::clone(audit));
    }

    /// Where its token requests are traced from now on. The first call decides.
    pub fn trace_in(&self, tracer: &TracerSlot) {
        let _ = self.shared.tracer.set(Arc::clone(tracer));
    }

    /// The token request that is under way is recorded, or the next one, whatever share of them is.
    pub fn record_fetch(&self) {
        self.shared.record_fetch.store(true, Ordering::Relaxed);
    }

    /// The span of the last token request that has ended, if it was recorded.
    pub fn last_fetch(&self) -> Option<TraceContext> {
        self.shared.with_state(|state, _| state.last_fetch())
    }

    /// The name of the credential.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether the task that fetches its tokens lives.
    pub fn has_refresh_task(&self) -> bool {
        !self.refresh_task.is_finished()
    }

    /// The clock by which its tokens end.
    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// The token to send, if there is a usable one. Called once per proxied request: no lock, no
    /// allocation. When a lazy source's token is due for renewal, one caller asks for it.
    pub fn current(&self) -> Option<Arc<Token>> {
        let token = self.shared.token.load_full()?;
        let now = self.shared.clock.now();
        if !token.is_usable(now) {
            return None;
        }
        if self.shared.lazy.load(Ordering::Relaxed) && now.reached(token.refresh_at()) {
            self.shared.request_attempt_once(now);
        }
        Some(token)
    }

    /// A usable token, waiting for an attempt for at most `acquire_timeout`.
    ///
    /// # Errors
    ///
    /// As soon as no attempt is in flight and none is due in the time that is left, after a failure;
    /// and when that time is over.
    pub async fn acquire(&self) -> Result<Arc<Token>, Unavailable> {
        self.acquire_by(self.deadline(), false).await
    }

    /// The token it holds, usable or not.
    pub fn last_token(&self) -> Option<Arc<Token>> {
        self.shared.token.load_full()
    }

    /// What another source can take over: its token, or the one that it has taken over itself, while it may be sent.
    pub fn held_token(&self) -> Option<HeldToken> {
        self.shared.with_state(|state, now| state.held(now))
    }

    /// What is left to it is something else now. Nothing if it has a token of its own.
    pub fn inherit(&self, inheritance: Inheritance) {
        self.shared.update(|state| state.inherit(Some(inheritance)));
        self.shared.wake.notify_one();
    }

    /// A reload changed times and limits, of requests and of `endpoint`: the tokens stay.
    pub fn configure(&self, policy: Policy, endpoint: Arc<dyn TokenEndpoint>) {
        self.shared.configure(SourceSettings { policy, endpoint });
        self.shared.wake.notify_one();
    }

    /// Tells the metrics how it is now: no event says when a token ends.
    pub fn report(&self) {
        self.shared.report();
    }

    /// A reload: the pause after a refusal, or after a secret that could not be read, ends at
    /// once.
    pub fn retry_now(&self) {
        self.shared.update(TokenState::end_pause);
        self.shared.wake.notify_one();
    }

    /// A reload replaced it: it serves the requests that began with it, which may last, but renews
    /// nothing in the background any more.
    pub fn retire(&self) {
        self.shared.update(TokenState::retire);
        self.shared.wake.notify_one();
    }

    /// Another source serves the requests until this one has a token: without one it asks now, also
    /// if it is lazy, and also if it was refused.
    pub fn stand_by(&self) {
        self.shared.stands_by.store(true, Ordering::Relaxed);
        if self.current().is_none() {
            self.retry_now();
            let now = self.now();
            self.shared.update(|state| state.request_attempt(now));
            self.shared.wake.notify_one();
        }
    }

    /// Requests need it from here on.
    pub fn take_over(&self) {
        self.shared.stands_by.store(false, Ordering::Relaxed);
    }

    /// Whether no request needs it yet.
    pub fn is_standing_by(&self) -> bool {
        self.shared.stands_by.load(Ordering::Relaxed)
    }

    /// Resolves when it holds a usable token.
    pub async fn wait_for_token(&self) {
        let mut ended = self.shared.ended.subscribe();
        // The sender lives in `self`, so that this cannot fail.
        let _ = ended.wait_for(|_| self.current().is_some()).await;
    }

    /// Files changed: looks at them, so that [`status`](Self::status) tells what is wrong with them
    /// now, and does as [`retry_now`](Self::retry_now) if the secrets differ from those sent. After
    /// a failure the source looks by itself every few seconds, but later than a watch knows.
    pub fn retry_if_secret_changed(&self) {
        let changed = self.shared.settings.load().endpoint.secret_changed();
        if changed && self.shared.with_state(|state, _| state.is_curable()) {
            self.retry_now();
        }
    }

    /// Resolves when the first attempt has ended, well or badly; at once for a lazy source, which
    /// makes none by itself, and for one that began with a token of its own.
    pub async fn wait_for_first_attempt(&self) {
        let needs_none = self.shared.with_state(|state, _| state.has_own_token());
        if !self.is_lazy() && !needs_none {
            self.wait_for_attempt(1).await;
        }
    }

    /// Whether requests can count on it: an eager source holds a usable token, which every upstream may get that
    /// got its tokens before; a lazy one holds one too or is about to try, that is, it does not wait after a failure.
    pub fn is_ready(&self) -> bool {
        self.shared.with_state(|state, now| {
            state.is_supplied(now)
                || self.is_lazy() && (!state.is_failing() || state.pause(now).is_zero())
        })
    }

    /// What an operator sees.
    pub fn status(&self) -> CredentialStatus {
        self.status_for(true)
    }

    /// How it is for an upstream that may or may not get an inherited token.
    pub fn status_for(&self, may_inherit: bool) -> CredentialStatus {
        let faults = self.shared.settings.load().endpoint.faults();
        self.shared
            .with_state(|state, now| CredentialStatus::of(state, now, faults, may_inherit))
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.shared.settings.load().policy.acquire_timeout
    }

    /// As [`acquire`](Self::acquire), until then; `own` takes no token that is inherited.
    pub(super) async fn acquire_by(
        &self,
        deadline: Instant,
        own: bool,
    ) -> Result<Arc<Token>, Unavailable> {
        timeout_at(deadline, self.wait_for_usable(deadline, own))
            .await
            .unwrap_or_else(|_| Err(self.shared.with_state(|state, _| self.too_slow(state))))
    }

    /// For a rejected token: the number of the attempt that may bring another, which is in flight
    /// or begins before the deadline. `None` when none may begin in time.
    pub(super) fn request_replacement(&self, deadline: Instant) -> Option<u64> {
        let (now, patience) = (self.now(), until(deadline));
        let attempt = self
            .shared
            .update(|state| state.request_replacement(now, patience));
        self.shared.wake.notify_one();
        attempt
    }

    /// Whether the attempt has begun, or nothing postpones it.
    pub(super) fn has_begun_or_may_begin(&self, attempt: u64) -> bool {
        let begins = |state: &TokenState, now| {
            state.attempts_begun() >= attempt || state.pause(now).is_zero()
        };
        self.shared.with_state(begins)
    }

    pub(super) fn has_ended(&self, attempt: u64) -> bool {
        *self.shared.ended.borrow() >= attempt
    }

    pub(super) async fn wait_for_attempt(&self, attempt: u64) {
        let mut ended = self.shared.ended.subscribe();
        // The sender lives in `self`, so that this cannot fail.
        let _ = ended.wait_for(|ended| *ended >= attempt).await;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.shared.with_state(|state, _| state.is_failing())
    }

    pub(super) fn count_rejection(&self) {
        self.shared.metrics.count_rejection();
    }

    fn is_lazy(&self) -> bool {
        self.shared.lazy.load(Ordering::Relaxed)
    }

    async fn wait_for_usable(
        &self,
        deadline: Instant,
        own: bool,
    ) -> Result<Arc<Token>, Unavailable> {
        loop {
            if let Some(token) = self.current()
                && !(own && token.is_inherited())
            {
                return Ok(token);
            }
            let (now, patience) = (self.now(), until(deadline));
            match self
                .shared
                .update(|state| state.join_attempt(now, patience, own))
            {
                JoinOutcome::Token(token) => return Ok(token),
                JoinOutcome::BackOff => return Err(self.shared.with_state(unavailable)),
                JoinOutcome::Attempt(attempt) => {
                    self.shared.wake.notify_one();
                    self.wait_for_attempt(attempt).await;
                }
            }
        }
    }

    fn too_slow(&self, state: &TokenState) -> Unavailable {
        let waited = self.shared.settings.load().policy.acquire_timeout;
        let mut reason = format!("the token endpoint has not answered within {waited:?}");
        if let Some(failure) = state.failure() {
            reason = format!("{reason}; before that: {}", failure.error.message);
        }
        Unavailable {
            reason,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.shared.name;
        f.debug_struct("TokenSource").field("name", name).finish()
    }
}

impl Drop for TokenSource {
    fn drop(&mut self) {
        self.refresh_task.abort();
    }
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn unavailable(state: &TokenState, now: Moment) -> Unavailable {
    let reason = match state.failure() {
        Some(failure) => failure.error.message.clone(),
        None => "no token yet".to_owned(),
    };
    Unavailable {
        reason,
        retry_after: state.pause(now),
    }
}
