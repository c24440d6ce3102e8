//! What an operator sees of a credential.

use serde::Serialize;

use super::Moment;
use super::state::TokenState;
use crate::oauth::{InputFault, TokenError};

/// One credential as `/status` shows it. Times are Unix seconds. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// Where it is in its life.
    pub state: CredentialPhase,
    /// When the last token was asked for.
    pub issued_at: Option<u64>,
    /// From when on the last token is to be renewed.
    pub refresh_at: Option<u64>,
    /// When the last token expires, or expired.
    pub expires_at: Option<u64>,
    /// From when on the last token is not sent.
    pub usable_until: Option<u64>,
    /// When the next token request is due; absent while one is in flight, or before anyone asked.
    pub next_attempt: Option<u64>,
    /// When the last token came.
    pub last_success: Option<u64>,
    /// The last failure, also when successes followed.
    pub last_error: Option<LastError>,
    /// Token requests since the start.
    pub fetches: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// A reload changed what is asked for, and that has brought no token yet; `last_error` says why.
    /// Meanwhile the token from before serves those that may have it.
    pub settings_pending: bool,
    /// Upstreams that must not get that one, since they are new to the credential or have moved: their requests
    /// are answered 503.
    pub withheld_from: Vec<String>,
    /// Files and variables that it names and that cannot be used as they are now; what they last
    /// held that was good stays in use.
    pub faults: Vec<InputFault>,
}

/// Where a credential is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPhase {
    /// A usable token is held, nothing is in flight.
    Valid,
    /// A usable token is held, its successor is being fetched.
    Refreshing,
    /// No usable token; one is being fetched.
    Fetching,
    /// No usable token; the last attempt failed, the next one is not due yet.
    BackingOff,
    /// As `BackingOff`, but the server refused: someone has to change something.
    Refused,
    /// No usable token, and nobody asked for one.
    Idle,
}

/// The last failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// The metric's `outcome`.
    pub kind: &'static str,
    /// What happened and what to do; free of secrets.
    pub message: String,
    /// When.
    pub at: u64,
    /// Its trace, if it was recorded.
    pub trace_id: Option<String>,
}

impl CredentialStatus {
    /// For an upstream that must not get an inherited token (`may_inherit`) that one is none.
    pub(super) fn of(
        state: &TokenState,
        now: Moment,
        faults: Vec<InputFault>,
        may_inherit: bool,
    ) -> Self {
        let token = state.token();
        let token = token.filter(|token| may_inherit || !token.is_inherited());
        let usable = token.is_some_and(|token| token.is_usable(now));
        let refused = |error: &TokenError| error.kind.is_permanent();
        Self {
            state: match (usable, state.is_fetching(), state.failure()) {
                (true, false, _) => CredentialPhase::Valid,
                (true, true, _) => CredentialPhase::Refreshing,
                (false, true, _) => CredentialPhase::Fetching,
                (false, false, Some(failure)) if refused(&failure.error) => {
                    CredentialPhase::Refused
                }
                (false, false, Some(_)) => CredentialPhase::BackingOff,
                (false, false, None) => CredentialPhase::Idle,
            },
            issued_at: token.map(|token| token.issued().wall.as_secs()),
            refresh_at: token.map(|token| token.refresh_at().wall.as_secs()),
            expires_at: token.map(|token| token.expires().wall.as_secs()),
            usable_until: token.map(|token| token.usable_until().wall.as_secs()),
            next_attempt: state.due_in(now).map(|wait| now.plus(wait).wall.as_secs()),
            last_success: state.last_success().map(|at| at.wall.as_secs()),
            last_error: state.last_failure().map(|failure| LastError {
                kind: failure.error.kind.label(),
                message: failure.error.message.clone(),
                at: failure.at.wall.as_secs(),
                trace_id: failure.trace.map(|trace| trace.to_string()),
            }),
            fetches: state.attempts_begun(),
            consecutive_failures: state.failures(),
            settings_pending: state.is_pending(),
            withheld_from: state.withheld_from(now).to_vec(),
            faults,
        }
    }
}
