//! A request as it goes to the upstream, less the token.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::{ErrorKind, ProxyError};
use super::headers::OwnHeaders;
use super::interim::InterimSink;
use super::request::{self, TunnelRequest};
use super::role::{self, ProxyRole};
use super::upload::{AttemptBody, Upload};
use crate::config;
use crate::dpop::{DPOP, Nonce};
use crate::http1::{HeaderCase, RequestHead, RequestLine};
use crate::snapshot::{BuiltUpstream, Injection};
use crate::token::Token;
use crate::trace::TraceHeaders;

/// A request as the server hands it over.
pub struct ReceivedRequest {
    /// Its head; scrubbed once it has been matched.
    pub head: Parts,
    /// Its body; `None` when it has none.
    pub upload: Option<Rc<Upload>>,
    /// Where interim responses to it go.
    pub interim: InterimSink,
}

/// A request as it will be sent, less the token; kept for sending it again.
pub struct OutgoingRequest<'r> {
    /// The upstream.
    pub upstream: &'r BuiltUpstream,
    /// How its token is chosen and written, if it gets one.
    pub injection: Option<&'r Injection>,
    /// Scrubbed; with the client's `Host`, and without token.
    head: &'r Parts,
    /// The path and query, rewritten.
    target: PathAndQuery,
    /// The body; `None` when the request has none.
    pub upload: Option<&'r Rc<Upload>>,
    /// The upstream has to be told by a length that there is no body.
    says_empty: bool,
    /// The tunnel that the client asks for.
    tunnel: Option<Box<TunnelRequest>>,
    /// The nonce that the upstream wants in the proof of this request, whatever it has told others
    /// meanwhile: some upstreams accept each nonce only once.
    own_nonce: RefCell<Option<Box<Nonce>>>,
    role: ProxyRole,
    /// Notified when the upstream says 100: the client waits for it before it sends the body.
    continue_signal: Option<Arc<Notify>>,
    interim: &'r InterimSink,
}

/// What is written into one attempt alone.
#[derive(Clone, Copy, Default)]
pub struct AttemptHeaders<'a> {
    /// The token that it carries.
    pub token: Option<&'a Token>,
    /// Its span.
    pub trace: Option<TraceHeaders>,
}

impl<'r> OutgoingRequest<'r> {
    /// Takes a request whose head has been scrubbed; `tunnel` is the tunnel to ask for, if any.
    pub fn new(
        upstream: &'r BuiltUpstream,
        injection: Option<&'r Injection>,
        own: OwnHeaders<&HeaderName>,
        request: &'r ReceivedRequest,
        target: PathAndQuery,
        tunnel: Option<TunnelRequest>,
        role: ProxyRole,
    ) -> Self {
        let head = &request.head;
        let config = &upstream.config;
        let upload = request.upload.as_ref();
        if let Some(upload) = upload {
            upload.keep_for_replay(config.replay_buffer, own.cloned());
        }
        let waits = |_: &&Rc<Upload>| request::expects_continue(head);
        let continue_signal = upload.filter(waits).map(|upload| {
            let signal = Arc::new(Notify::new());
            let given = Arc::clone(&signal);
            let patience = continue_within(config);
            upload.hold_until(async move {
                // Without a word from the upstream the body is asked for (RFC 9110 section 10.1.1).
                let _ = tokio::time::timeout(patience, given.notified()).await;
            });
            signal
        });
        Self {
            upstream,
            injection,
            head,
            target,
            upload,
            says_empty: head.version == Version::HTTP_2
                && upload.is_none()
                && anticipates_content(&head.method),
            tunnel: tunnel.map(Box::new),
            own_nonce: RefCell::default(),
            role,
            continue_signal,
            interim: &request.interim,
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path of its target.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The protocols that it asks to upgrade to over HTTP/1.1.
    pub fn upgrade(&self) -> Option<&HeaderValue> {
        match self.tunnel.as_deref() {
            Some(TunnelRequest::Upgrade(protocols)) => Some(protocols),
            _ => None,
        }
    }

    /// Whether it asks for a tunnel over HTTP/2.
    pub fn is_extended_connect(&self) -> bool {
        matches!(
            self.tunnel.as_deref(),
            Some(TunnelRequest::ExtendedConnect(_))
        )
    }

    /// Whether the same request can be sent once more: its body was kept, or never asked for.
    /// `unsent`: nothing of it has been written, and a body that was not touched can be sent whatever
    /// its size.
    pub fn can_restart(&self, unsent: bool) -> bool {
        let can = |upload: &Rc<Upload>| unsent && upload.is_untouched() || upload.can_restart();
        self.upload.is_none_or(can)
    }

    /// Whether the same request can be sent once more after it has been answered.
    pub fn can_replay(&self) -> bool {
        self.can_restart(true)
    }

    /// Whether an `Authorization` of the client's own goes with it, in addition to our token in another header.
    pub fn carries_authorization_of_client(&self) -> bool {
        // The headers are scrubbed and without our token.
        self.head.headers.contains_key(header::AUTHORIZATION)
    }

    /// The nonce for the proof of its next attempt, in place of the one that others use.
    pub fn set_nonce(&self, nonce: Option<Nonce>) {
        *self.own_nonce.borrow_mut() = nonce.map(Box::new);
    }

    /// The head and the body of an attempt over HTTP/1.1, given to `send`; `more` are headers in
    /// addition to those of the client.
    pub fn send_http1<T>(
        &self,
        written: AttemptHeaders<'_>,
        more: &[(HeaderName, HeaderValue)],
        send: impl FnOnce(RequestHead<'_>, Option<AttemptBody>) -> T,
    ) -> T {
        let mut added = More::new();
        self.write(written, |name, value| added.push((name, value)));
        added.extend(more.iter().cloned());
        let headers = &self.head.headers;
        if headers.contains_key(header::TE) {
            name_te(&mut added);
        }
        if self.says_empty && !headers.contains_key(header::CONTENT_LENGTH) {
            added.push((header::CONTENT_LENGTH, HeaderValue::from_static("0")));
        }
        if self
            .upload
            .is_some_and(|upload| upload.declared_length().is_none())
        {
            let chunked = HeaderValue::from_static("chunked");
            added.push((header::TRANSFER_ENCODING, chunked));
        }
        let head = RequestHead {
            line: RequestLine {
                method: &self.head.method,
                target: &self.target,
                host: self.named_host().unwrap_or(&self.upstream.host),
                proxied: None,
            },
            headers,
            header_case: self.head.extensions.get::<HeaderCase>(),
            more: &added,
        };
        send(head, self.upload.map(Upload::begin_attempt))
    }

    /// The head and the body of an attempt over HTTP/2.
    pub fn to_http2(&self, written: AttemptHeaders<'_>) -> Request<Option<AttemptBody>> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.upstream.scheme.clone());
        let authority = self.named_authority();
        uri.authority = Some(authority.unwrap_or_else(|| self.upstream.authority.clone()));
        uri.path_and_query = Some(self.target.clone());
        let mut request = Request::new(self.upload.map(Upload::begin_attempt));
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        // Scheme and authority come both or neither, and there is always a path.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = self.head.headers.clone();
        let headers = request.headers_mut();
        headers.remove(header::HOST);
        headers.remove(header::EXPECT);
        self.write(written, |name, value| {
            headers.insert(name, value);
        });
        if let Some(TunnelRequest::ExtendedConnect(protocol)) = self.tunnel.as_deref() {
            request.extensions_mut().insert(protocol.clone());
        }
        if let Some(signal) = &self.continue_signal {
            // Many servers never send 100 over HTTP/2, and the client would wait for nothing.
            signal.notify_one();
        }
        request
    }

    /// The `Host` of the client, where the upstream is the very server that it was connecting to.
    fn named_host(&self) -> Option<&HeaderValue> {
        let host = self.head.headers.get(header::HOST);
        host.filter(|_| self.role == ProxyRole::Transparent)
    }

    /// The same for HTTP/2, where it may have come as `:authority`.
    fn named_authority(&self) -> Option<Authority> {
        let authority = self.head.uri.authority().cloned();
        let authority = authority.filter(|_| self.role == ProxyRole::Transparent);
        authority.or_else(|| self.named_host()?.to_str().ok()?.parse().ok())
    }

    /// What stands in one attempt alone. There is no other of any: the request has been scrubbed.
    fn write(&self, written: AttemptHeaders<'_>, mut add: impl FnMut(HeaderName, HeaderValue)) {
        self.inject(written.token, &mut add);
        if let Some(trace) = written.trace {
            trace.write(add);
        }
    }

    /// The token, and the proof that goes with it.
    fn inject(&self, token: Option<&Token>, mut add: impl FnMut(HeaderName, HeaderValue)) {
        let (Some(token), Some(injection)) = (token, self.injection) else {
            return;
        };
        add(injection.header.clone(), injection.value(token));
        let upstream = self.upstream;
        let target = [
            upstream.scheme.as_str(),
            upstream.authority.as_str(),
            // The URI of a server as a whole has no path (RFC 9110 section 7.1).
            self.target.path().trim_start_matches('*'),
        ];
        let nonce = self.own_nonce.borrow_mut().take().map(|nonce| *nonce);
        let nonce = nonce.or_else(|| injection.nonce.get());
        if let Some(proof) = injection.prove(token, &self.head.method, target, nonce.as_ref()) {
            add(DPOP, proof);
        }
    }

    /// Whether it came by a forward listener.
    pub fn is_by_proxy(&self) -> bool {
        self.role != ProxyRole::Reverse
    }

    /// Makes the headers of a response fit for the way that the request came by.
    pub fn scrub_response(&self, headers: &mut HeaderMap) {
        let host = || self.head.headers.get(header::HOST)?.to_str().ok();
        let named = || {
            let target = self.head.uri.authority().map(Authority::as_str);
            target.or_else(host)
        };
        role::scrub_response(headers, self.role, self.upstream, named);
    }

    /// Passes an interim response of the upstream on.
    pub fn send_interim(&self, mut interim: Response<()>) {
        self.scrub_response(interim.headers_mut());
        if interim.status() == StatusCode::CONTINUE
            && let Some(signal) = &self.continue_signal
        {
            signal.notify_one();
        }
        self.interim.send(interim);
    }

    /// Until when an attempt that began at `start` waits for its response: `response_timeout` from the
    /// end of the request body, and before that `stream_idle_timeout` from its last chunk. The task is
    /// woken when the body moves.
    pub fn response_deadline(&self, start: Instant, cx: &mut Context<'_>) -> Option<Instant> {
        let config = &self.upstream.config;
        let Some(upload) = &self.upload else {
            return Some(start + config.response_timeout);
        };
        if let Some(finished) = upload.finished_at() {
            return Some(finished.max(start) + config.response_timeout);
        }
        upload.register(cx);
        let idle = config.stream_idle_timeout?;
        Some(upload.last_progress().max(start) + idle)
    }

    /// The error when an attempt has waited for too long.
    #[cold]
    pub fn timeout_error(&self) -> ProxyError {
        let starved =
            |upload: &Rc<Upload>| upload.finished_at().is_none() && upload.is_waiting_for_client();
        if self.upload.is_some_and(starved) {
            return ProxyError::new(
                ErrorKind::RequestTimeout,
                "the request body stopped arriving; send it faster, or raise the upstream's stream_idle_timeout",
            );
        }
        ProxyError::new(
            ErrorKind::UpstreamTimeout,
            "the upstream did not answer in time; look at it, or raise its response_timeout",
        )
    }
}

/// Names `TE` in `Connection`, as HTTP/1.1 wants it (RFC 9110 section 10.1.4): it is for the next server alone.
#[cold]
fn name_te(added: &mut More) {
    let mut names = added.iter_mut();
    match names.find(|(name, _)| *name == header::CONNECTION) {
        // All that is ever there.
        Some((_, names)) => *names = HeaderValue::from_static("upgrade, TE"),
        None => added.push((header::CONNECTION, HeaderValue::from_static("TE"))),
    }
}

/// Headers in addition to those of the client: so few that they need no allocation.
type More = SmallVec<[(HeaderName, HeaderValue); 6]>;

/// Whether servers may take a request without content for one that lacks its length (RFC 9110 section
/// 8.6). In HTTP/2 the end of the stream says it.
fn anticipates_content(method: &Method) -> bool {
    let none = [
        Method::GET,
        Method::HEAD,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    !none.contains(method)
}

/// How long the upstream may think about an `Expect: 100-continue`. Waiting longer than the pause
/// that a body may make would end the request instead.
fn continue_within(config: &config::Upstream) -> Duration {
    let pause = config.stream_idle_timeout.map(|idle| idle / 2);
    pause.map_or(config.continue_timeout, |pause| {
        config.continue_timeout.min(pause)
    })
}
