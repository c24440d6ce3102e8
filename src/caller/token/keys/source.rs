//! The source of one issuer's keys, and the task that reads them.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use fastrand::Rng;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::state::{KeyOutlook, KeyState, KeyStep};
use super::{FoundKeys, KeyEndpoint, KeyFetchError, PublishedKeys};
use crate::metrics::CallerKeyMetrics;
use crate::oauth::TokenErrorKind;
use crate::token::{Clock, Moment};

/// The keys of one issuer, shared by every thread that serves traffic. Dropping it ends the task that reads them.
pub struct KeySource {
    shared: Arc<SharedKeys>,
    task: AbortHandle,
}

/// What those who need the keys share with the one who reads them.
struct SharedKeys {
    /// The issuer for messages.
    name: String,
    endpoint: Mutex<Arc<dyn KeyEndpoint>>,
    clock: Arc<dyn Clock>,
    metrics: CallerKeyMetrics,
    state: Mutex<KeyState>,
    /// The state's keys, where no lock is needed.
    keys: ArcSwapOption<PublishedKeys>,
    /// How often keys have been read.
    readings: AtomicU64,
    wake: Notify,
    /// The number of the last attempt that ended.
    ended: watch::Sender<u64>,
}

/// What an operator sees of the keys of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// What they are read for: the issuer, or the API server.
    pub issuer: String,
    /// How many there are; 0 before the first were read.
    pub keys: usize,
    /// When they were read last, Unix time.
    pub read_at: Option<u64>,
    /// Attempts that failed since then.
    pub failures: u32,
    /// The last one that failed, also when others succeeded since.
    pub last_error: Option<LastKeyError>,
}

/// Why an attempt to read keys failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastKeyError {
    /// When, Unix time.
    pub at: u64,
    /// What happened.
    pub message: String,
}

impl KeySource {
    /// One attempt, whole.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

    /// The issuer, as operators see it.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Reads the keys of the issuer `name` on the current runtime, the first time at once.
    pub fn start(
        name: &str,
        endpoint: Arc<dyn KeyEndpoint>,
        clock: Arc<dyn Clock>,
        metrics: CallerKeyMetrics,
    ) -> Arc<Self> {
        let shared = Arc::new(SharedKeys {
            name: name.to_owned(),
            endpoint: Mutex::new(endpoint),
            clock,
            metrics,
            state: Mutex::new(KeyState::new(Rng::new())),
            keys: ArcSwapOption::empty(),
            readings: AtomicU64::new(0),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
        });
        let task = tokio::spawn(keep_read(Arc::clone(&shared))).abort_handle();
        Arc::new(Self { shared, task })
    }

    /// The keys that were read last, if there are any.
    pub(in crate::caller::token) fn current(&self) -> Option<Arc<PublishedKeys>> {
        self.shared.keys.load_full()
    }

    /// How often keys have been read. Whoever sees another number sees the keys that came with it.
    pub(in crate::caller::token) fn readings(&self) -> u64 {
        self.shared.readings.load(Acquire)
    }

    /// What one can wait for who lacks all keys, or one that a token names (`unknown`).
    pub(in crate::caller::token) fn outlook(
        &self,
        unknown: bool,
        patience: Duration,
    ) -> KeyOutlook {
        let now = self.shared.clock.now();
        let outlook = self.shared.update(|state| {
            if unknown {
                state.await_unknown(now, patience)
            } else {
                state.await_keys(now, patience)
            }
        });
        self.shared.wake.notify_one();
        outlook
    }

    /// Ends when the attempt with this number has.
    pub(in crate::caller::token) async fn wait_for_attempt(&self, attempt: u64) {
        let mut ended = self.shared.ended.subscribe();
        // The sender lives in `self`, so that this cannot fail.
        let _ = ended.wait_for(|ended| *ended >= attempt).await;
    }

    /// Why the last attempt failed, if it did.
    pub(in crate::caller::token) fn failure(&self) -> Option<String> {
        self.shared.update(|state| {
            let failing = state.failures() > 0;
            let last = state.last_failure.as_ref().filter(|_| failing);
            last.map(|(error, _)| error.message.clone())
        })
    }

    /// Ends when the first attempt has, well or badly.
    pub async fn wait_for_first_attempt(&self) {
        self.wait_for_attempt(1).await;
    }

    /// Reads them there from now on, at once. Those that are known serve until then.
    pub(in crate::caller::token) fn ask_at(&self, endpoint: Arc<dyn KeyEndpoint>) {
        *self.shared.endpoint() = endpoint;
        self.shared.update(KeyState::read_now);
        self.shared.wake.notify_one();
    }

    /// A reload: a file is read again, and the pause after a failure ends.
    pub fn look_again(&self) {
        let is_file = self.shared.endpoint().is_file();
        self.shared.update(|state| {
            if is_file || state.failures() > 0 {
                state.read_now();
            }
        });
        self.shared.wake.notify_one();
    }

    /// What an operator sees.
    pub fn status(&self) -> KeyStatus {
        let unix = |at: &Moment| at.wall.as_secs();
        self.shared.update(|state| KeyStatus {
            issuer: self.shared.name.clone(),
            keys: state.keys.as_ref().map_or(0, |keys| keys.len()),
            read_at: state.last_success.as_ref().map(unix),
            failures: state.failures(),
            last_error: state.last_failure.as_ref().map(|(error, at)| LastKeyError {
                at: unix(at),
                message: error.message.clone(),
            }),
        })
    }
}

impl SharedKeys {
    fn endpoint(&self) -> MutexGuard<'_, Arc<dyn KeyEndpoint>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and publishes what is read without a lock.
    fn update<T>(&self, change: impl FnOnce(&mut KeyState) -> T) -> T {
        // What panics leaves a state of before or after.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        let held = self.keys.load();
        if held.as_ref().map(Arc::as_ptr) != state.keys.as_ref().map(Arc::as_ptr) {
            self.keys.store(state.keys.clone());
            self.readings.fetch_add(1, Release);
        }
        result
    }

    fn finish(&self, result: Result<FoundKeys, KeyFetchError>) {
        let now = self.clock.now();
        let issuer = self.name.as_str();
        let outcome = match &result {
            Ok(_) => "success",
            Err(error) => error.kind.label(),
        };
        let left_out = result.as_ref().ok().and_then(|found| found.keys.left_out);
        let error = result.as_ref().err().map(|error| error.message.clone());
        let (failed_before, failures, begun, known, retry_in) = self.update(|state| {
            let before = state.failures();
            let first = state.keys.is_none();
            state.finish(now, result);
            let keys = state.keys.as_ref().map_or(0, |keys| keys.len());
            let failed_before = before > 0 || first;
            (
                failed_before,
                state.failures(),
                state.begun(),
                keys,
                state.due_in(now),
            )
        });
        self.metrics.count_fetch(outcome);
        self.ended.send_replace(begun);
        match error {
            None => {
                self.metrics.set_fetched_at(now.wall);
                if failed_before {
                    info!(
                        issuer,
                        keys = known,
                        "keys to verify the tokens of callers read"
                    );
                } else {
                    debug!(
                        issuer,
                        keys = known,
                        ?retry_in,
                        "keys to verify the tokens of callers read again"
                    );
                }
                if let Some((count, reason)) = left_out {
                    debug!(
                        issuer,
                        count, reason, "keys of the issuer were left out; the first of them"
                    );
                }
            }
            // What repeats itself is a reminder at 2, 4, 8, ... failures in a row.
            Some(error) if !failures.is_power_of_two() => {
                debug!(issuer, error, failures, ?retry_in, "no keys read");
            }
            Some(error) if known == 0 => {
                warn!(
                    issuer,
                    error,
                    failures,
                    ?retry_in,
                    "no keys to verify the tokens of callers with: their requests are answered 503"
                );
            }
            Some(error) => {
                warn!(
                    issuer,
                    error,
                    failures,
                    ?retry_in,
                    "keys to verify the tokens of callers not read: those from before serve on"
                );
            }
        }
    }
}

/// Keeps the keys read until the task is aborted.
async fn keep_read(shared: Arc<SharedKeys>) {
    // At most one; its own task, so that a panic in it does not end this one.
    let mut attempts = JoinSet::new();
    loop {
        let now = shared.clock.now();
        let nap = match shared.update(|state| state.next_step(now)) {
            KeyStep::Read => {
                let endpoint = Arc::clone(&shared.endpoint());
                attempts
                    .spawn(async move { timeout(KeySource::READ_TIMEOUT, endpoint.read()).await });
                None
            }
            // Timers do not count suspend.
            KeyStep::Sleep(wait) => Some(wait.min(shared.clock.longest_sleep())),
            KeyStep::Idle => None,
        };
        tokio::select! {
            biased;
            Some(attempt) = attempts.join_next() => shared.finish(match attempt {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(KeyFetchError::new(
                    TokenErrorKind::Timeout,
                    format!("the keys have not come within {:?}", KeySource::READ_TIMEOUT),
                )),
                Err(_) => Err(KeyFetchError::new(
                    TokenErrorKind::Local,
                    "reading the keys panicked: a defect of sidebearer",
                )),
            }),
            () = shared.wake.notified() => {}
            () = sleep(nap.unwrap_or_default()), if nap.is_some() => {}
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.shared.name;
        f.debug_struct("KeySource").field("name", name).finish()
    }
}

impl Drop for KeySource {
    fn drop(&mut self) {
        self.task.abort();
    }
}
