//! The record of one exchange in the audit.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::super::audited::AuditedTunnel;
use super::super::error::ErrorKind;
use super::Exchange;
use crate::audit::{AuditOutcome, RequestText, Subject};
use crate::token::Token;

impl Exchange {
    /// Records it, unless that was done when it became a tunnel.
    pub(super) fn record(&mut self, took: Duration) {
        let snapshot = &self.shard.snapshot;
        let Some(audit) = &snapshot.audit else {
            return;
        };
        if self.notes.is_recorded() {
            return;
        }
        let outcome = AuditOutcome {
            error: self.error.map(ErrorKind::code),
            status: self.status.map(|status| status.as_u16()),
            bytes_in: Some(self.request_bytes),
            bytes_out: Some(self.response_bytes),
            duration: Some(took),
        };
        let names = Arc::clone(snapshot);
        self.notes.record(audit, names, self.subject(), outcome);
    }

    /// Records that it becomes a tunnel, if there is an audit.
    pub(super) fn record_tunnel(&mut self) -> Option<Box<AuditedTunnel>> {
        let audit = self.shard.snapshot.audit.as_ref()?;
        let status = if self.method == Method::CONNECT {
            StatusCode::OK
        } else {
            StatusCode::SWITCHING_PROTOCOLS
        };
        let names = Arc::clone(&self.shard.snapshot);
        let subject = self.subject();
        let audited = self
            .notes
            .record_tunnel(audit, names, subject, status.as_u16());
        Some(audited)
    }

    /// Who asks for what, for the audit.
    fn subject(&self) -> Subject {
        let (rule, trace_id) = self.notes.rule_and_trace();
        let decision = self.notes.decision(self.reported.is_some());
        let written = self.written();
        Subject {
            caller: self
                .caller
                .map(|known| (known.caller, known.means.as_str())),
            peer: self.client().peer,
            listener: self.listener,
            route: self.route,
            upstream: self.upstream,
            text: RequestText::new(written.method, written.host, written.path),
            token_id: self.sent.with_token(Token::audit_id).flatten(),
            decision,
            rule,
            trace_id,
        }
    }
}
