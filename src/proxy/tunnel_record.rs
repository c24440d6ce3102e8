//! The record of one tunnel: what is counted while it is open, and logged when it has ended.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

use super::audited::AuditedTunnel;
use crate::client_socket::Peer;
use crate::config::AccessLog;
use crate::metrics::{TunnelEnd, TunnelMetrics};
use crate::telemetry::ACCESS;
use crate::trace::TraceId;

/// A tunnel until its end. Counted and logged when dropped.
///
/// It holds nothing of the snapshot: a tunnel may be open for days, and reloads go on.
#[derive(Debug)]
pub struct TunnelRecord {
    /// Who opened it.
    client: Peer,
    /// The name of its caller.
    caller: Option<Box<str>>,
    /// The id of the request that asked for it, where tunnels are logged.
    id: Option<HeaderValue>,
    /// The trace of that request.
    trace: Option<TraceId>,
    /// The host and port that a CONNECT asked for; none after an upgrade.
    host: Option<Box<str>>,
    access: AccessLog,
    metrics: Arc<TunnelMetrics>,
    /// When it was asked for.
    start: Instant,
    /// Bytes from the client, and to it.
    bytes: [u64; 2],
    /// Why it ended. It was cut unless something else is set.
    end: TunnelEnd,
    /// Why its permission ended.
    reason: Option<Cow<'static, str>>,
    audited: Option<Box<AuditedTunnel>>,
}

impl TunnelRecord {
    /// A tunnel that `client` asked for at `start`, who is this `caller`.
    pub fn begin(
        client: Peer,
        caller: Option<Box<str>>,
        id: Option<HeaderValue>,
        access: AccessLog,
        start: Instant,
        metrics: &Arc<TunnelMetrics>,
    ) -> Self {
        metrics.count_begin();
        Self {
            client,
            caller,
            id,
            trace: None,
            host: None,
            access,
            metrics: Arc::clone(metrics),
            start,
            bytes: [0; 2],
            end: TunnelEnd::Cut,
            reason: None,
            audited: None,
        }
    }

    /// Its end is to be recorded.
    pub fn set_audited(&mut self, audited: Box<AuditedTunnel>) {
        self.audited = Some(audited);
    }

    /// The request that asked for it belongs to this trace.
    pub fn set_trace(&mut self, trace: Option<TraceId>) {
        self.trace = trace;
    }

    /// A CONNECT asked for this host and port.
    pub fn set_destination(&mut self, host: &str, port: u16) {
        self.host = Some(format!("{host}:{port}").into());
    }

    /// This many bytes have gone to the upstream, and to the client.
    pub fn count_bytes(&mut self, up: usize, down: usize) {
        let [from_client, to_client] = &mut self.bytes;
        *from_client += up as u64;
        *to_client += down as u64;
        self.metrics.count_bytes(up, down);
    }

    /// It has ended.
    pub fn set_end(&mut self, end: TunnelEnd) {
        self.end = end;
    }

    /// A reload has ended its permission, or what its client showed has ended.
    pub fn set_revoked(&mut self, reason: Cow<'static, str>) {
        self.end = TunnelEnd::Revoked;
        self.reason = Some(reason);
    }

    fn is_logged(&self) -> bool {
        match self.access {
            AccessLog::Off => false,
            AccessLog::Failures => self.reason.is_some(),
            // Nobody reads what is in the tunnel of a CONNECT: these lines are all that tells of it. And nothing else
            // tells why a reload has ended one.
            AccessLog::Errors => self.host.is_some() || self.reason.is_some(),
            AccessLog::All => true,
        }
    }
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        self.metrics.count_end(self.end);
        if let Some(audited) = self.audited.take() {
            audited.record_end(self.end.label(), self.bytes, self.start.elapsed());
        }
        if !self.is_logged() {
            return;
        }
        let [request_bytes, response_bytes] = self.bytes;
        tracing::info!(
            target: ACCESS,
            client = %self.client,
            request_id = self.id.as_ref().and_then(|id| id.to_str().ok()),
            trace_id = self.trace.map(tracing::field::display),
            host = self.host.as_deref(),
            listener = self.metrics.listener(),
            caller = self.caller.as_deref(),
            upstream = self.metrics.upstream(),
            end = self.end.label(),
            reason = self.reason.as_deref(),
            request_bytes,
            response_bytes,
            duration_ms = self.start.elapsed().as_micros() as f64 / 1e3,
            "tunnel ended",
        );
    }
}
