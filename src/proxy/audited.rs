//! What the audit says of a request, in addition to what the log says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::{ErrorKind, ProxyError};
use crate::audit::{
    AuditDecision, AuditOutcome, AuditTrail, AuditUnavailable, Auditing, NameBook, Record,
    RecordPlace, RequestEvent, Subject, TunnelEvent, who_and_what,
};
use crate::config::AuditOverflow;
use crate::policy::RequestKind;
use crate::trace::TraceId;

/// It is tried again all the time.
const WRITTEN_AGAIN: Duration = Duration::from_secs(1);

/// What is noted of a request until it is recorded.
#[derive(Debug, Default)]
pub struct AuditNotes {
    /// It was let in.
    admitted: bool,
    rule: Option<&'static str>,
    trace_id: Option<[u8; 16]>,
    place: Option<RecordPlace>,
    tunnel_place: Option<RecordPlace>,
    recorded: bool,
}

/// A tunnel until its end, as far as the audit is concerned. It holds nothing of the snapshot.
#[derive(Debug)]
pub struct AuditedTunnel {
    trail: Arc<AuditTrail>,
    place: Option<RecordPlace>,
    who_and_what: Box<[u8]>,
}

impl AuditNotes {
    /// Of a request that belongs to this trace.
    pub fn begin(trace: Option<TraceId>) -> Self {
        Self {
            trace_id: trace.map(TraceId::to_bytes),
            ..Self::default()
        }
    }

    /// Reserves the room of its record, and of the end of its tunnel, before anything of it leaves.
    ///
    /// # Errors
    /// `overloaded` if there is none, where a request without a record is to be refused.
    pub fn reserve(
        &mut self,
        audit: &Auditing,
        text_bytes: usize,
        kind: RequestKind,
    ) -> Result<(), ProxyError> {
        if audit.overflow == AuditOverflow::Drop {
            return Ok(());
        }
        let reserve = || audit.trail.reserve(text_bytes).map_err(no_record);
        self.place = Some(reserve()?);
        if kind == RequestKind::Tunnel {
            self.tunnel_place = Some(reserve()?);
        }
        Ok(())
    }

    /// It was let in.
    pub fn set_admitted(&mut self) {
        self.admitted = true;
    }

    /// It was let in, and is refused all the same by what only the way to its destination shows.
    pub fn set_denied(&mut self) {
        self.admitted = false;
    }

    /// By which rule it was refused.
    pub fn set_rule(&mut self, rule: &'static str) {
        self.rule = Some(rule);
    }

    /// What was decided; `reported`: lists of callers would have refused it.
    pub fn decision(&self, reported: bool) -> AuditDecision {
        match (self.admitted, reported) {
            (false, _) => AuditDecision::Denied,
            (true, true) => AuditDecision::Reported,
            (true, false) => AuditDecision::Allowed,
        }
    }

    /// By which rule, and the trace that it belongs to.
    pub fn rule_and_trace(&self) -> (Option<&'static str>, Option<[u8; 16]>) {
        (self.rule, self.trace_id)
    }

    /// Whether it has been recorded, as the beginning of a tunnel.
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// Records a request that has ended.
    pub fn record(
        &mut self,
        audit: &Auditing,
        names: Arc<dyn NameBook>,
        subject: Subject,
        outcome: AuditOutcome,
    ) {
        self.record_request(audit, false, names, subject, outcome);
    }

    /// Records that it has become a tunnel, whose end is to be recorded too.
    pub fn record_tunnel(
        &mut self,
        audit: &Auditing,
        names: Arc<dyn NameBook>,
        subject: Subject,
        status: u16,
    ) -> Box<AuditedTunnel> {
        let who_and_what = who_and_what(&*names, &subject);
        let outcome = AuditOutcome {
            status: Some(status),
            ..AuditOutcome::default()
        };
        self.record_request(audit, true, names, subject, outcome);
        Box::new(AuditedTunnel {
            trail: Arc::clone(&audit.trail),
            place: self.tunnel_place.take(),
            who_and_what,
        })
    }

    fn record_request(
        &mut self,
        audit: &Auditing,
        is_tunnel: bool,
        names: Arc<dyn NameBook>,
        subject: Subject,
        outcome: AuditOutcome,
    ) {
        self.recorded = true;
        let event = RequestEvent {
            at: SystemTime::now(),
            is_tunnel,
            names,
            subject,
            outcome,
        };
        let record = Record::Request(Box::new(event));
        audit.trail.record(record, self.place.take());
    }
}

impl AuditedTunnel {
    /// Records that it has ended: how, and how many bytes have gone to the upstream and to the client.
    pub fn record_end(self, end: &'static str, bytes: [u64; 2], duration: Duration) {
        let [bytes_in, bytes_out] = bytes;
        let event = TunnelEvent {
            at: SystemTime::now(),
            who_and_what: self.who_and_what,
            outcome: AuditOutcome {
                error: (end != "closed").then_some(end),
                status: None,
                bytes_in: Some(bytes_in),
                bytes_out: Some(bytes_out),
                duration: Some(duration),
            },
        };
        self.trail.record(Record::Tunnel(event), self.place);
    }
}

#[cold]
fn no_record(reason: AuditUnavailable) -> ProxyError {
    let detail = match reason {
        AuditUnavailable::Full => {
            "as many audit records wait as there is room for, and no request is served without one"
        }
        AuditUnavailable::Failing => {
            "audit records cannot be written, and no request is served without one (the log says more)"
        }
    };
    ProxyError::new(ErrorKind::Overloaded, detail)
        .retry_after(WRITTEN_AGAIN)
        .caused_by(reason)
}
