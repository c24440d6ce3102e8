//! What is recorded of a request for its trace: a span for its answer, one for each attempt, and one for each wait for a
//! token.

mod attributes;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::time::Instant;

use attributes::{Attributes, add_method, add_server, version};

use super::outgoing::OutgoingRequest;
use crate::route::RouteLabel;
use crate::token::TokenSource;
use crate::trace::{
    AttributeValue, Carriers, Span, SpanId, SpanKind, TraceContext, TraceHeaders, TraceId, Tracer,
};

/// The trace of a request; nothing where there is no tracing.
#[derive(Debug, Default)]
pub struct RequestTrace(Option<Traced>);

#[derive(Debug)]
struct Traced {
    /// The span for its answer.
    context: TraceContext,
    carriers: Carriers,
    /// What is recorded of it. Without, nothing is allocated.
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    tracer: Arc<Tracer>,
    /// The span of another process that it belongs to.
    parent: Option<SpanId>,
    /// The `tracestate` of the request.
    state: Option<Arc<str>>,
    version: Version,
    start: SystemTime,
    /// The same by the clock that durations are measured by.
    began: Instant,
    attempts: Cell<u32>,
    attempt: RefCell<Option<OpenSpan>>,
}

/// A span that has not ended, or whose end is not known yet.
#[derive(Debug)]
struct OpenSpan {
    span: Span,
    began: Instant,
    /// Whether it is known how it went. An answer may still be coming.
    is_settled: bool,
}

/// What is known of a request at its end.
pub struct AnsweredRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// `https`, or `http`.
    pub scheme: &'a str,
    /// The host that it names, with its port.
    pub host: &'a str,
    /// The path without the query, which may hold secrets.
    pub path: &'a str,
    /// The route that it took.
    pub route: Option<RouteLabel<'a>>,
    /// The listener that it came in by.
    pub listener: &'a str,
    /// The upstream that it was for.
    pub upstream: Option<&'a str>,
    /// Who sent it.
    pub caller: Option<&'a str>,
    /// The address that it came from.
    pub client: Option<String>,
    /// The status that was sent.
    pub status: Option<StatusCode>,
    /// The error of ours that it ended in.
    pub error: Option<&'static str>,
    /// Its answer broke off.
    pub cut: bool,
}

/// A wait for a token, until it ends.
pub struct TokenWait<'t> {
    recording: Option<&'t Recording>,
    open: Option<OpenSpan>,
}

impl RequestTrace {
    /// A request with this head has arrived.
    pub fn begin(tracer: Option<&Arc<Tracer>>, head: &Parts) -> Self {
        Self(tracer.map(|tracer| {
            let (incoming, context) = tracer.begin(&head.headers);
            let recording = context.is_sampled().then(|| {
                Box::new(Recording {
                    tracer: Arc::clone(tracer),
                    parent: incoming.parent.map(|parent| parent.span),
                    state: incoming.carriers.state(&head.headers),
                    version: head.version,
                    start: SystemTime::now(),
                    began: Instant::now(),
                    attempts: Cell::default(),
                    attempt: RefCell::default(),
                })
            });
            Traced {
                context,
                carriers: incoming.carriers,
                recording,
            }
        }))
    }

    /// The trace that it belongs to.
    pub fn id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|traced| traced.context.trace)
    }

    /// Takes from the head what is written anew for each attempt.
    pub fn scrub(&self, headers: &mut HeaderMap) {
        if let Some(traced) = &self.0 {
            traced.carriers.scrub(headers);
        }
    }

    /// What an attempt that is sent now says of its span.
    pub fn headers(&self) -> Option<TraceHeaders> {
        let traced = self.0.as_ref()?;
        let open = traced.recording.as_ref().and_then(|recording| {
            let attempt = recording.attempt.borrow();
            attempt.as_ref().map(|open| open.span.context)
        });
        Some(TraceHeaders {
            context: open.unwrap_or_else(|| traced.context.child()),
            carriers: traced.carriers,
        })
    }

    /// An attempt begins, with the search for a connection.
    pub fn begin_attempt(&self, request: &OutgoingRequest<'_>) {
        let Some((traced, recording)) = self.recording() else {
            return;
        };
        recording.end_attempt();
        let upstream = request.upstream;
        let (scheme, authority) = (upstream.scheme.as_str(), upstream.authority.as_str());
        let mut attributes = Attributes::new();
        let name = add_method(&mut attributes, request.method());
        add_server(&mut attributes, authority, scheme);
        // The target `*` means the server, and is no part of a URL.
        let path = Some(request.path()).filter(|path| *path != "*");
        let url = format!("{scheme}://{authority}{}", path.unwrap_or_default());
        attributes.push(("url.full", url.into()));
        if !upstream.config.name.is_empty() {
            let name = upstream.config.name.clone();
            attributes.push(("sidebearer.upstream", name.into()));
        }
        let before = recording.attempts.get();
        recording.attempts.set(before + 1);
        if before > 0 {
            attributes.push(("http.request.resend_count", before.into()));
        }
        recording.open_attempt(traced.context, name, attributes);
    }

    /// A tunnel is opened to this host and port, as CONNECT asks for.
    pub fn begin_tunnel(&self, leads_to: &str) {
        if let Some((traced, recording)) = self.recording() {
            let mut attributes = Attributes::new();
            let name = add_method(&mut attributes, &Method::CONNECT);
            add_server(&mut attributes, leads_to, "https");
            recording.open_attempt(traced.context, name, attributes);
        }
    }

    /// The attempt is answered; the end of the answer may still be on its way.
    pub fn note_answer(&self, status: StatusCode) {
        self.settle(|span| {
            let attributes = &mut span.attributes;
            attributes.push(("http.response.status_code", status.as_u16().into()));
            if status.is_client_error() || status.is_server_error() {
                attributes.push(("error.type", status.as_str().to_owned().into()));
                span.failed = true;
            }
        });
    }

    /// A tunnel is open.
    pub fn note_tunnel(&self) {
        self.settle(|_| ());
    }

    /// The attempt has failed, with this error of ours.
    pub fn note_failure(&self, code: &'static str) {
        self.settle(|span| span.fail(code));
    }

    /// It waits for a token of this source. The request for that token is recorded too.
    pub fn wait_for_token(&self, source: &TokenSource) -> TokenWait<'_> {
        let Some((traced, recording)) = self.recording() else {
            return TokenWait {
                recording: None,
                open: None,
            };
        };
        // What was answered before has been read by now.
        recording.end_attempt();
        source.record_fetch();
        let credential = source.name().to_owned();
        let attributes = vec![("sidebearer.credential", credential.into())];
        let open = recording.open(
            traced.context,
            SpanKind::Internal,
            "wait for a token",
            attributes,
        );
        TokenWait {
            recording: Some(recording),
            open: Some(open),
        }
    }

    /// It has ended. What is known of it is asked for only where it is recorded.
    pub fn end<'a>(&mut self, request: impl FnOnce() -> AnsweredRequest<'a>) {
        let Some(traced) = &mut self.0 else {
            return;
        };
        if let Some(recording) = traced.recording.take() {
            let request = request();
            if request.cut
                && let Some(error) = request.error
            {
                recording.cut_attempt(error);
            }
            recording.end_attempt();
            recording.end(traced.context, request);
        }
    }

    fn recording(&self) -> Option<(&Traced, &Recording)> {
        let traced = self.0.as_ref()?;
        Some((traced, traced.recording.as_deref()?))
    }

    fn settle(&self, note: impl FnOnce(&mut Span)) {
        let Some((_, recording)) = self.recording() else {
            return;
        };
        if let Some(open) = &mut *recording.attempt.borrow_mut()
            && !open.is_settled
        {
            open.is_settled = true;
            note(&mut open.span);
        }
    }
}

impl Recording {
    fn open(
        &self,
        parent: TraceContext,
        kind: SpanKind,
        name: &'static str,
        attributes: Attributes,
    ) -> OpenSpan {
        let now = Instant::now();
        OpenSpan {
            span: Span {
                context: parent.child(),
                parent: Some((parent.span, false)),
                name: name.into(),
                kind,
                start: self.start + now.duration_since(self.began),
                duration: Duration::ZERO,
                attributes,
                link: None,
                failed: false,
                state: self.state.clone(),
            },
            began: now,
            is_settled: false,
        }
    }

    fn open_attempt(&self, parent: TraceContext, name: &'static str, attributes: Attributes) {
        let open = self.open(parent, SpanKind::Client, name, attributes);
        *self.attempt.borrow_mut() = Some(open);
    }

    /// The answer of the attempt that is open has broken off, for this reason.
    fn cut_attempt(&self, error: &'static str) {
        if let Some(open) = &mut *self.attempt.borrow_mut()
            && !open.span.failed
        {
            open.span.fail(error);
        }
    }

    /// The attempt that is open has ended: with what follows it, or with the request. One that was not answered was given
    /// up with its request.
    fn end_attempt(&self) {
        let Some(mut open) = self.attempt.take() else {
            return;
        };
        if !open.is_settled {
            open.span.fail(CANCELLED);
        }
        self.record(open);
    }

    fn record(&self, open: OpenSpan) {
        self.tracer.record(Span {
            duration: open.began.elapsed(),
            ..open.span
        });
    }

    fn end(&self, context: TraceContext, request: AnsweredRequest<'_>) {
        let mut attributes = Attributes::with_capacity(16);
        let method = add_method(&mut attributes, request.method);
        attributes.push(("url.scheme", request.scheme.to_owned().into()));
        add_server(&mut attributes, request.host, request.scheme);
        let version = version(self.version);
        attributes.push(("network.protocol.version", version.into()));
        if let Some(client) = request.client {
            attributes.push(("client.address", client.into()));
        }
        let named = [
            ("url.path", Some(request.path)),
            ("sidebearer.listener", Some(request.listener)),
            ("sidebearer.upstream", request.upstream),
            ("sidebearer.caller", request.caller),
        ];
        let named = named
            .into_iter()
            .filter_map(|(key, name)| Some((key, name?)));
        let named = named.filter(|(_, name)| !name.is_empty());
        attributes.extend(named.map(|(key, name)| (key, name.to_owned().into())));
        if let Some(route) = request.route {
            attributes.push(("http.route", route.to_string().into()));
        }
        let failed_here = request.status.filter(StatusCode::is_server_error);
        if let Some(status) = request.status {
            attributes.push(("http.response.status_code", status.as_u16().into()));
        }
        let of_status = failed_here.map(|status| status.as_str().to_owned().into());
        let given_up = (request.status.is_none()).then(|| CANCELLED.into());
        let error = request.error.map(AttributeValue::from);
        if let Some(error) = error.or(of_status).or(given_up) {
            attributes.push(("error.type", error));
        }
        let name = match request.route {
            Some(route) => format!("{method} {route}").into(),
            None => method.into(),
        };
        self.tracer.record(Span {
            context,
            parent: self.parent.map(|parent| (parent, true)),
            name,
            kind: SpanKind::Server,
            start: self.start,
            duration: self.began.elapsed(),
            attributes,
            link: None,
            failed: failed_here.is_some() || request.cut || request.status.is_none(),
            state: self.state.clone(),
        });
    }
}

/// The client gave up.
const CANCELLED: &str = "cancelled";

impl TokenWait<'_> {
    /// It has ended, with the end of a token request of this span; or without a token, for this reason.
    pub fn end(mut self, fetch: Option<TraceContext>, error: Option<&'static str>) {
        let (Some(recording), Some(mut open)) = (self.recording, self.open.take()) else {
            return;
        };
        open.span.link = fetch;
        if let Some(error) = error {
            open.span.fail(error);
        }
        recording.record(open);
    }
}

impl Drop for TokenWait<'_> {
    /// It was given up with its request.
    fn drop(&mut self) {
        if let (Some(recording), Some(mut open)) = (self.recording, self.open.take()) {
            open.span.fail(CANCELLED);
            recording.record(open);
        }
    }
}
