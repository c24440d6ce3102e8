//! The line of one exchange in the access log.

use std::time::Duration;

use tokio::time::Instant;

use super::super::caller_rule::CallerRule;
use super::super::error::ErrorKind;
use super::Exchange;
use crate::config::AccessLog;
use crate::sampling::Failure;
use crate::telemetry::ACCESS;

impl Exchange {
    /// Whether it is one of those that the log is for.
    pub(super) fn is_logged(&self) -> bool {
        match self.shard.snapshot.config.log.access {
            AccessLog::Off => false,
            AccessLog::All => true,
            AccessLog::Failures => self.error.is_some(),
            AccessLog::Errors => {
                self.opened_tunnel
                    || self.error.is_some()
                    || self.reported.is_some()
                    || self.status.is_some_and(|status| status.is_server_error())
            }
        }
    }

    /// The error that it ended in, or would have ended in.
    fn error_code(&self) -> Option<&'static str> {
        let reported = self.reported.map(|_| ErrorKind::NotPermitted);
        self.error.or(reported).map(ErrorKind::code)
    }

    /// Whether it gets a line of its own; else it is counted, because many fail in the same way.
    pub(super) fn has_own_line(&self) -> bool {
        let snapshot = &self.shard.snapshot;
        if snapshot.config.log.access == AccessLog::All || self.opened_tunnel {
            return true;
        }
        let failure = Failure {
            listener: snapshot.listeners[self.listener].name.clone(),
            upstream: self.upstream_name().to_owned(),
            error: self.error_code(),
            status: self.status.map(|status| status.as_u16()),
        };
        let now = Instant::now();
        snapshot.sampling.admit(failure, self.cause.as_deref(), now)
    }

    /// Writes its line.
    pub(super) fn log(&mut self, took: Duration) {
        let id = self.id().clone();
        let snapshot = &self.shard.snapshot;
        let written = self.written();
        let route = self.route.map(|at| snapshot.route_label(at));
        let token_age = self.sent.with_token(|token| {
            let now = snapshot.clock.now();
            let age = now.boot.saturating_sub(token.issued().boot);
            age.as_millis() as f64 / 1e3
        });
        tracing::info!(
            target: ACCESS,
            client = %self.in_flight.client().peer,
            request_id = id.to_str().ok(),
            trace_id = self.trace.id().map(tracing::field::display),
            method = written.method,
            host = written.host,
            path = written.path,
            original = self.client().original_destination().map(tracing::field::display),
            listener = snapshot.listeners[self.listener].name,
            caller = self.caller_name(),
            reported = self.reported.map(CallerRule::as_str),
            route = route.map(tracing::field::display),
            upstream = self.upstream_name(),
            status = self.status.map(|status| status.as_u16()),
            error = self.error.map(ErrorKind::code),
            cause = self.cause.as_deref(),
            cut = self.cut,
            attempts = self.sent.attempts(),
            request_bytes = self.request_bytes,
            response_bytes = self.response_bytes,
            duration_ms = took.as_micros() as f64 / 1e3,
            token_age_s = token_age,
        );
    }
}
