//! The task that fetches a credential's tokens, one at a time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::Moment;
use super::shared::SharedState;
use super::state::{AttemptOutcome, NextStep, TokenState};
use super::traced_fetch::TracedFetch;
use crate::audit::{Record, TokenEvent};
use crate::oauth::{TokenError, TokenErrorKind, TokenResponse};
use crate::trace::TraceId;

/// Keeps the credential supplied until the task is aborted.
pub(super) async fn keep_supplied(shared: Arc<SharedState>) {
    // At most one; its own task, so that a panic in it does not end this one.
    let mut fetches: JoinSet<AttemptResult> = JoinSet::new();
    loop {
        let now = shared.clock.now();
        let nap = match shared.update(|state| state.next_step(now)) {
            NextStep::Fetch => {
                fetches.spawn(fetch(shared.clone()));
                None
            }
            NextStep::Sleep(wait) => Some(wait.min(shared.clock.longest_sleep())),
            NextStep::Idle => None,
        };
        tokio::select! {
            biased;
            Some(attempt) = fetches.join_next() => {
                let attempt = attempt.unwrap_or_else(|_| AttemptResult::panicked(shared.clock.now()));
                finish(&shared, attempt);
                // A secret that changed while it was refused was not yet curable when a watch told.
                reread_secrets(&shared).await;
            }
            () = shared.wake.notified() => {}
            () = sleep(nap.unwrap_or_default()), if nap.is_some() => reread_secrets(&shared).await,
        }
    }
}

struct AttemptResult {
    begun: Moment,
    /// When the last token request went out.
    sent: Moment,
    result: Result<TokenResponse, TokenError>,
    trace: Option<TracedFetch>,
}

impl AttemptResult {
    fn panicked(now: Moment) -> Self {
        Self {
            begun: now,
            sent: now,
            trace: None,
            result: Err(TokenError {
                kind: TokenErrorKind::Local,
                message: "the token request panicked: a defect of sidebearer".to_owned(),
                retry_after: None,
            }),
        }
    }
}

async fn fetch(shared: Arc<SharedState>) -> AttemptResult {
    let _permit = shared.gate.acquire().await;
    let begun = shared.clock.now();
    let trace = TracedFetch::begin(&shared);
    let settings = shared.settings.load_full();
    let sent = Mutex::new(begun);
    let result = match settings.endpoint.prepare().await {
        Ok(()) => {
            let note_time = || {
                // Replaced whole, so a panic elsewhere leaves it sound.
                *sent.lock().unwrap_or_else(PoisonError::into_inner) = shared.clock.now();
            };
            // For an endpoint that does not tell.
            note_time();
            let limit = shared.with_state(|state, now| state.attempt_timeout(now));
            let request = settings.endpoint.request_telling(&note_time);
            let answer = timeout(limit, request).await;
            answer.unwrap_or_else(|_| Err(unanswered(limit, settings.policy.fetch_timeout)))
        }
        Err(error) => Err(error),
    };
    AttemptResult {
        begun,
        sent: sent.into_inner().unwrap_or_else(PoisonError::into_inner),
        result,
        trace,
    }
}

fn unanswered(limit: Duration, fetch_timeout: Duration) -> TokenError {
    let within = if limit < fetch_timeout {
        // Each time another one: the same words, so that the log says it once.
        "the time that leaves another attempt before the token ends (at most fetch_timeout)"
            .to_owned()
    } else {
        format!("{fetch_timeout:?}")
    };
    TokenError {
        kind: TokenErrorKind::Timeout,
        message: format!("the token endpoint has not answered within {within}"),
        retry_after: None,
    }
}

fn finish(shared: &SharedState, attempt: AttemptResult) {
    let AttemptResult {
        begun: began,
        sent,
        result,
        trace,
    } = attempt;
    let now = shared.clock.now();
    let (ended, span, begun, retry_in) = shared.update(|state| {
        let ended = state.finish_attempt(now, sent, result);
        let error = ended.result.as_ref().err().map(|error| error.kind.label());
        let span = trace.and_then(|trace| trace.end(shared, error));
        state.set_fetch(span);
        (ended, span, state.attempts_begun(), state.pause(now))
    });
    shared.ended.send_replace(begun);
    let took = now.boot.saturating_sub(began.boot);
    let outcome = match &ended.result {
        Ok(_) => "success",
        Err(error) => error.kind.label(),
    };
    shared.report();
    shared.metrics.count_token_request(outcome, took);
    record(shared, &ended, span.map(|span| span.trace), took);
    log(shared, &ended, now, retry_in);
}

/// Records the attempt in the audit.
fn record(shared: &SharedState, ended: &AttemptOutcome, trace: Option<TraceId>, took: Duration) {
    let audit = shared.audit.get();
    let Some(trail) = audit.and_then(|audit| audit.newest()) else {
        return;
    };
    let event = TokenEvent {
        at: SystemTime::now(),
        credential: shared.name.clone(),
        token_id: ended
            .result
            .as_ref()
            .ok()
            .and_then(|token| token.audit_id()),
        trace_id: trace.map(TraceId::to_bytes),
        error: ended.result.as_ref().err().map(|error| error.kind.label()),
        duration: took,
    };
    trail.record(Record::Token(event), None);
}

/// Sees a rotated secret also where no watch does.
async fn reread_secrets(shared: &SharedState) {
    if !shared.with_state(|state, _| state.is_curable()) {
        return;
    }
    let endpoint = Arc::clone(&shared.settings.load().endpoint);
    if endpoint.reread_secrets().await {
        info!(credential = %shared.name, "the secret changed: trying again");
        shared.update(TokenState::end_pause);
    }
}

/// News at `info` and `warn`; what repeats itself at `debug`, with a reminder at 2, 4, 8, ...
/// failures in a row.
fn log(shared: &SharedState, ended: &AttemptOutcome, now: Moment, retry_in: Duration) {
    let credential = shared.name.as_str();
    let failures = ended.failures;
    match &ended.result {
        Ok(token) => {
            let lifetime = token.lifetime();
            let refresh_in = now.until(token.refresh_at());
            if ended.news {
                info!(credential, ?lifetime, failures, "token obtained");
            } else if ended.same_value {
                debug!(
                    credential,
                    ?lifetime,
                    ?refresh_in,
                    "the server returned the same token again"
                );
            } else {
                debug!(credential, ?lifetime, ?refresh_in, "token renewed");
            }
        }
        Err(error) => {
            let error = error.message.as_str();
            let (usable_for, pending, withheld_from) = shared.with_state(|state, now| {
                let failure = state.last_failure();
                let usable_for = failure.map_or(Duration::ZERO, |failure| failure.usable_for);
                let withheld_from = state.withheld_from(now).join(", ");
                (usable_for, state.is_pending(), withheld_from)
            });
            if !ended.news && !failures.is_power_of_two() {
                debug!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    ?usable_for,
                    "no token"
                );
            } else if shared.stands_by.load(Ordering::Relaxed) {
                warn!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    "no token for the new certificate: the old one serves on"
                );
            } else if pending && usable_for.is_zero() {
                warn!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    "no token by the settings that a reload changed: requests that need it are \
                     answered 503"
                );
            } else if pending && !withheld_from.is_empty() {
                warn!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    ?usable_for,
                    withheld_from,
                    "no token by the settings that a reload changed: the one from before serves on, \
                     but not for these upstreams, whose requests are answered 503"
                );
            } else if pending {
                warn!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    ?usable_for,
                    "no token by the settings that a reload changed: the one from before serves on"
                );
            } else if usable_for.is_zero() {
                warn!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    "no token: requests that need it are answered 503"
                );
            } else {
                warn!(
                    credential,
                    error,
                    failures,
                    ?retry_in,
                    ?usable_for,
                    "token not renewed: the old one serves on"
                );
            }
        }
    }
}
