//! What those who ask for a token share with the one who fetches it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};

use super::state::TokenState;
use super::{Clock, Moment, Policy, Token};
use crate::audit::AuditTrails;
use crate::config::Refresh;
use crate::limit::ConcurrencyLimit;
use crate::metrics::CredentialMetrics;
use crate::oauth::TokenEndpoint;
use crate::trace::TracerSlot;

/// What the source and its refresh task share.
pub(super) struct SharedState {
    pub(super) name: String,
    pub(super) settings: ArcSwap<SourceSettings>,
    /// Whether requests ask for renewals; what each request reads of the settings.
    pub(super) lazy: AtomicBool,
    pub(super) gate: Arc<ConcurrencyLimit>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: CredentialMetrics,
    /// The state's token, where no lock is needed.
    pub(super) token: ArcSwapOption<Token>,
    /// [`TokenState::may_request_from`] in nanoseconds, where no lock is needed; the maximum for `None`.
    pub(super) may_request_from: AtomicU64,
    pub(super) state: Mutex<TokenState>,
    /// Wakes the refresh task.
    pub(super) wake: Notify,
    /// No request needs it: another source serves them until this one has a token.
    pub(super) stands_by: AtomicBool,
    /// The number of the last attempt that ended.
    pub(super) ended: watch::Sender<u64>,
    /// Where its token requests are recorded.
    pub(super) audit: OnceLock<Arc<AuditTrails>>,
    /// Where they are traced.
    pub(super) tracer: OnceLock<TracerSlot>,
    /// Someone waits whose trace is recorded: so is the token request that is waited for.
    pub(super) record_fetch: AtomicBool,
}

/// What a reload may change while the tokens stay.
pub(super) struct SourceSettings {
    pub(super) policy: Policy,
    pub(super) endpoint: Arc<dyn TokenEndpoint>,
}

impl SharedState {
    pub(super) fn configure(&self, settings: SourceSettings) {
        let lazy = settings.policy.refresh == Refresh::Lazy;
        self.lazy.store(lazy, Ordering::Relaxed);
        let policy = settings.policy.clone();
        self.settings.store(Arc::new(settings));
        let now = self.clock.now();
        self.update(|state| state.configure(now, policy));
    }

    /// Tells the metrics until when requests have a token, and whether changed settings have brought
    /// one.
    pub(super) fn report(&self) {
        let (expires, pending) = self.with_state(|state, now| {
            let usable = state.token().filter(|token| token.is_usable(now));
            let expires = usable.map(|token| token.expires().wall);
            (expires.unwrap_or_default(), state.is_pending())
        });
        self.metrics.set_expiry(expires);
        self.metrics.set_settings_pending(pending);
    }

    /// Changes the state, and publishes what is read without a lock.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut TokenState) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let held = self.token.load();
        if held.as_ref().map(Arc::as_ptr) != state.token().map(Arc::as_ptr) {
            self.token.store(state.token().cloned());
        }
        let may_request_from = state.may_request_from().map_or(u64::MAX, nanos);
        self.may_request_from
            .store(may_request_from, Ordering::Relaxed);
        result
    }

    pub(super) fn with_state<T>(&self, read: impl FnOnce(&TokenState, Moment) -> T) -> T {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        read(&state, self.clock.now())
    }

    /// Asks for an attempt; of many callers, one takes the lock.
    pub(super) fn request_attempt_once(&self, now: Moment) {
        if nanos(now.boot) >= self.may_request_from.load(Ordering::Relaxed)
            && self.may_request_from.swap(u64::MAX, Ordering::Relaxed) != u64::MAX
        {
            self.update(|state| state.request_attempt(now));
            self.wake.notify_one();
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
