//! The record of one request: what is counted and logged when it has ended.

mod access_line;
mod audit_record;
mod caller;
mod undecided;
mod written;

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use tokio::time::Instant;

use super::admission::HeldLimits;
use super::audited::AuditNotes;
use super::caller_rule::CallerRule;
use super::client_connection::{ClientConnection, InFlight, ShownSecret};
use super::error::{ErrorKind, ProxyError};
use super::passing::{self, Passage};
use super::reception::Reception;
use super::request_id;
use super::route_taken::RouteTaken;
use super::send_record::SendRecord;
use super::shard_snapshot::ShardSnapshot;
use super::traced::{AnsweredRequest, RequestTrace};
use super::tunnel_record::TunnelRecord;
use super::upload::Upload;
use crate::caller::Identified;
use crate::config::AccessLog;
use crate::policy::RequestKind;
use crate::snapshot::{BuiltUpstream, Snapshot};
use crate::tls::without_documentation_link;
use crate::trace::trace_of;

/// One request and its response, until the end of both. Counted and logged when dropped.
pub struct Exchange {
    /// The snapshot it began with, and stays with.
    pub shard: Rc<ShardSnapshot>,
    /// The listener it came in by: an index of the snapshot.
    pub listener: usize,
    /// Who sent it; `None` where nobody has to be known.
    pub caller: Option<Identified>,
    /// The key or token that its caller showed, if what it asks for outlives it.
    shown: Option<Arc<ShownSecret>>,
    /// The header for callers was judged, so that it must go no further.
    judged_caller_header: bool,
    /// What is the API's in `Authorization` shows a caller, so that it must go no further.
    keeps_authorization: bool,
    /// The list of callers that it is not in, and is served all the same.
    reported: Option<CallerRule>,
    /// The upstream it was matched to: an index of the snapshot.
    upstream: Option<usize>,
    /// The origin that it passes to, if no route matched.
    passed: Option<Arc<BuiltUpstream>>,
    /// The client's connection.
    pub in_flight: InFlight,
    /// It is a gRPC call.
    pub grpc: bool,
    /// A CONNECT has opened a tunnel, which gets a line at its beginning and one at its end.
    opened_tunnel: bool,
    /// Another one counts and records it.
    is_recorded_elsewhere: bool,
    /// What went to the upstream.
    pub sent: SendRecord,
    /// The trace that it belongs to.
    pub trace: RequestTrace,
    /// Its method.
    pub method: Method,
    start: Instant,
    http1: bool,
    uri: Uri,
    host: Option<HeaderValue>,
    /// The client's, or one of ours as soon as it is needed.
    id: Option<HeaderValue>,
    route: Option<usize>,
    status: Option<StatusCode>,
    error: Option<ErrorKind>,
    /// What is behind the error, for the log.
    cause: Option<Box<str>>,
    cut: bool,
    upload: Option<Rc<Upload>>,
    /// What it holds of limits until its end.
    limits: HeldLimits,
    /// What the audit will say; without an audit it notes nothing.
    notes: AuditNotes,
    /// Of the request body, once the upload is over.
    request_bytes: u64,
    response_bytes: u64,
}

impl Exchange {
    /// A request has arrived. On the heap, since it moves from the request to its response.
    pub fn begin(
        shard: Rc<ShardSnapshot>,
        listener: usize,
        in_flight: InFlight,
        head: &Parts,
    ) -> Box<Self> {
        let config = &shard.snapshot.config;
        let id_wanted = config.log.access != AccessLog::Off || config.server.request_id;
        let trace = RequestTrace::begin(shard.snapshot.tracer.as_ref(), head);
        let notes = shard.snapshot.audit.as_ref();
        let notes = notes.map_or_else(AuditNotes::default, |_| {
            AuditNotes::begin(trace.id().or_else(|| trace_of(&head.headers)))
        });
        let id = id_wanted.then(|| request_id::of_client(&head.headers));
        Box::new(Self {
            shard,
            listener,
            caller: None,
            shown: None,
            judged_caller_header: false,
            keeps_authorization: false,
            reported: None,
            upstream: None,
            passed: None,
            in_flight,
            grpc: false,
            opened_tunnel: false,
            is_recorded_elsewhere: false,
            sent: SendRecord::default(),
            trace,
            method: head.method.clone(),
            start: Instant::now(),
            http1: head.version < Version::HTTP_2,
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
            id: id.flatten(),
            route: None,
            status: None,
            error: None,
            cause: None,
            cut: false,
            upload: None,
            limits: HeldLimits::default(),
            notes,
            request_bytes: 0,
            response_bytes: 0,
        })
    }

    /// A route leads to an upstream.
    pub fn set_route(&mut self, taken: &RouteTaken<'_>) {
        self.upstream = Some(taken.upstream as usize);
        self.route = Some(taken.route as usize);
    }

    /// No route leads anywhere, and it may pass.
    pub fn set_passage(&mut self, passage: Passage) {
        self.route = Some(self.shard.snapshot.egress_route(passage.rule));
    }

    /// There is room for it: in the audit, and in the limits of its caller and its route.
    ///
    /// # Errors
    /// `overloaded` if it cannot be recorded and must be; `rate_limited`.
    pub fn admit(&mut self, kind: RequestKind) -> Result<(), ProxyError> {
        let snapshot = &self.shard.snapshot;
        if let Some(audit) = &snapshot.audit {
            let texts = [self.method.as_str(), self.host(), self.uri.path()];
            let text_bytes = texts.map(str::len).iter().sum();
            self.notes.reserve(audit, text_bytes, kind)?;
        }
        let caller = self.caller.map(|identified| identified.caller as usize);
        let admitted = HeldLimits::acquire(snapshot, caller, self.route, kind);
        self.limits = admitted.map_err(|reached| {
            self.notes.set_rule(reached.rule());
            reached.to_error()
        })?;
        self.notes.set_admitted();
        Ok(())
    }

    /// What it holds of limits for the tunnel that it has become.
    pub fn take_tunnel_limits(&mut self) -> HeldLimits {
        self.limits.take_tunnel()
    }

    /// It passes to this origin.
    pub fn set_passed_upstream(&mut self, upstream: &Arc<BuiltUpstream>) {
        self.passed = Some(Arc::clone(upstream));
    }

    /// How it has come, to be decided about by its snapshot.
    pub fn reception<'s>(&self, snapshot: &'s Snapshot) -> Reception<'s, '_> {
        Reception {
            snapshot,
            listener: self.listener,
            caller: self.caller_index(),
            client: self.client(),
        }
    }

    /// Whether it came by a forward listener.
    pub fn is_forward(&self) -> bool {
        self.shard.snapshot.listeners[self.listener].is_forward
    }

    /// The connection that it came on.
    pub fn client(&self) -> &Arc<ClientConnection> {
        self.in_flight.client()
    }

    /// The id of this request: the client's, or one of ours.
    pub fn id(&mut self) -> &HeaderValue {
        self.id.get_or_insert_with(request_id::random)
    }

    /// This is its body, or there is none any more.
    pub fn set_upload(&mut self, upload: Option<&Rc<Upload>>) {
        if let Some(over) = std::mem::replace(&mut self.upload, upload.cloned()) {
            self.request_bytes = over.received_bytes();
        }
    }

    /// Its body, until its end has been counted.
    pub fn upload(&self) -> Option<&Rc<Upload>> {
        self.upload.as_ref()
    }

    /// The upstream that it was matched to, or the origin that it passes to, which has no name.
    pub fn upstream(&self) -> Option<&BuiltUpstream> {
        let configured = self.upstream.map(|at| &*self.shard.snapshot.upstreams[at]);
        configured.or(self.passed.as_deref())
    }

    fn upstream_name(&self) -> &str {
        self.upstream().map_or("", |upstream| &upstream.config.name)
    }

    /// Some of the response body goes to the client.
    pub fn count_response_data(&mut self, data: Option<&Bytes>) {
        self.response_bytes += data.map_or(0, Bytes::len) as u64;
    }

    /// A CONNECT has opened a tunnel.
    pub fn set_tunnel_opened(&mut self) {
        self.opened_tunnel = true;
    }

    /// It becomes a tunnel, which is counted while it is open, and has a line of its own at its end.
    pub fn begin_tunnel_record(&mut self) -> Box<TunnelRecord> {
        let access = self.shard.snapshot.config.log.access;
        let id = (access != AccessLog::Off).then(|| self.id().clone());
        let (client, metrics) = (self.client().peer, self.traffic().tunnels());
        let caller = self.caller_name().map(Box::from);
        let mut record = TunnelRecord::begin(client, caller, id, access, self.start, metrics);
        record.set_trace(self.trace.id());
        if let Some(audited) = self.record_tunnel() {
            record.set_audited(audited);
        }
        Box::new(record)
    }

    /// The response head is sent.
    pub fn record_status(&mut self, status: StatusCode) {
        self.status = Some(status);
        let named = self.caller_index().zip(self.caller_name());
        self.traffic().count_response(status, named);
    }

    /// The answer is an error of ours.
    pub fn record_error(&mut self, error: &ProxyError) {
        if let Some(rule) = error.rule {
            self.notes.set_rule(rule);
        }
        if let Some(denial) = error.egress {
            let snapshot = &self.shard.snapshot;
            passing::count_denial(snapshot, self.listener, denial);
            let route = snapshot.egress_route(denial.rule);
            self.route.get_or_insert(route);
        }
        // Some addresses show only when they are dialled, and a reload may have ended a permission meanwhile.
        if let ErrorKind::DestinationDenied | ErrorKind::Loop | ErrorKind::NotPermitted = error.kind
        {
            self.notes.set_denied();
        }
        self.note(error.kind, || match &error.source {
            Some(cause) => describe_with_causes(cause.as_ref()),
            None => error.detail.to_string(),
        });
    }

    /// The response broke off after its head was sent.
    pub fn record_cut(&mut self, kind: ErrorKind, cause: &dyn Error) {
        self.cut = true;
        self.note(kind, || describe_with_causes(cause));
        if self.http1 {
            // In HTTP/2 the stream is reset, and others of the connection go on.
            self.in_flight.client().reset();
        }
    }

    fn note(&mut self, kind: ErrorKind, cause: impl FnOnce() -> String) {
        self.error = Some(kind);
        self.traffic().count_error(kind.code(), self.caller_name());
        if self.is_logged() {
            self.cause = Some(cause().into());
        }
    }

    fn traffic(&self) -> &crate::metrics::TrafficMetrics {
        self.shard.snapshot.traffic(self.listener, self.upstream)
    }

    /// Records the span for its answer, if its trace is recorded.
    fn end_trace(&mut self) {
        let mut trace = std::mem::take(&mut self.trace);
        trace.end(|| {
            let snapshot = &self.shard.snapshot;
            let listener = &snapshot.listeners[self.listener];
            AnsweredRequest {
                method: &self.method,
                scheme: self.uri.scheme_str().unwrap_or(match listener.tls {
                    Some(_) => "https",
                    None => "http",
                }),
                host: self.host(),
                path: self.uri.path(),
                route: self.route.map(|at| snapshot.route_label(at)),
                listener: &listener.name,
                upstream: self.upstream().map(|it| it.config.name.as_str()),
                caller: self.caller_name(),
                client: self
                    .client()
                    .peer
                    .ip()
                    .map(|ip| ip.to_canonical().to_string()),
                status: self.status,
                error: self.error.map(ErrorKind::code),
                cut: self.cut,
            }
        });
        self.trace = trace;
    }

    /// The host that it names, with its port.
    fn host(&self) -> &str {
        let authority = self.uri.authority().map(|authority| authority.as_str());
        let host = authority
            .or_else(|| self.host.as_ref()?.to_str().ok())
            .unwrap_or_default();
        // What is before it is a name and a password, and the request was refused for it.
        host.rsplit('@').next().unwrap_or_default()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_recorded_elsewhere {
            return;
        }
        let took = self.start.elapsed();
        self.traffic().observe_duration(took);
        self.set_upload(None);
        self.record(took);
        self.end_trace();
        if self.is_logged() && self.has_own_line() {
            self.log(took);
        }
    }
}

/// An error with everything beneath it; libraries do not repeat their cause in their own words.
fn describe_with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = match cause.downcast_ref::<h2::Error>().map(h2::Error::reason) {
            // Its own words quote what the upstream sent along, which may be our token.
            Some(Some(reason)) => format!("HTTP/2 {reason:?}"),
            Some(None) => "HTTP/2".to_owned(),
            None => without_documentation_link(cause.to_string()),
        };
        if !words.ends_with(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        next = cause.source();
    }
    words
}
