//! One request to the upstream, sent again where that is provably safe.

mod attempt;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use tokio::sync::Notify;

use super::error::{ErrorKind, ProxyError};
use super::failure::{self, Broken};
use super::interim::InterimSink;
use super::request::{self, TunnelRequest};
use super::response::{self, Framing};
use super::token_verdict;
use super::upload::{ClientBody, Outgoing, Upload};
use crate::config;
use crate::dpop::Nonce;
use crate::http1::HeaderCase;
use crate::oauth::challenge;
use crate::snapshot::{Injection, Upstream};
use crate::token::Token;
use crate::upstream::{Checkout, Incoming, Pool};

/// A request as it will be sent, less the token; kept for sending it again.
pub struct Forward {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// This shard's connections to it.
    pub pool: Rc<Pool<Outgoing>>,
    /// The method.
    pub method: Method,
    /// The path and query, rewritten.
    pub target: PathAndQuery,
    /// Scrubbed; with the client's Host, and without token.
    pub headers: HeaderMap,
    /// How the client spelled the names of its headers, where that is unusual.
    header_case: Option<HeaderCase>,
    /// The body; `None` when the request has none.
    pub upload: Option<Rc<Upload>>,
    /// That it has no body is to be said by a length.
    says_empty: bool,
    /// The tunnel that the client asks for.
    asked: Option<Box<TunnelRequest>>,
    /// What the upstream wants in the proof of this request, whatever it has told others meanwhile:
    /// some take each nonce only once.
    own_nonce: RefCell<Option<Box<Nonce>>>,
    /// Told when the upstream says 100: the client waits for it before it sends the body.
    consent: Option<Arc<Notify>>,
    /// Who gets the upstream's interim responses.
    informed: InterimSink,
}

/// A response, its body still to be read.
pub type Answer = Response<Incoming<Outgoing>>;

/// A request that got no response.
struct Failed {
    error: Broken,
    /// Nothing of it was sent.
    unsent: bool,
    /// Its connection had carried others before, and the upstream may have closed it meanwhile.
    unnoticed: bool,
    /// Its connection was a new one of HTTP/2 that ended without a word.
    ended_new: bool,
    /// What came over HTTP/2 began as HTTP/1.1 does.
    http1_instead: bool,
    /// The alert that ended the connection.
    alert: Option<rustls::Error>,
}

impl Forward {
    /// Takes a scrubbed head and a body; `asked` is the tunnel to ask for, if any.
    pub fn new(
        upstream: Arc<Upstream>,
        pool: Rc<Pool<Outgoing>>,
        target: PathAndQuery,
        asked: Option<TunnelRequest>,
        mut head: http::request::Parts,
        body: Option<ClientBody>,
        informed: InterimSink,
    ) -> Self {
        let config = &upstream.config;
        let injection = upstream.injection.as_ref();
        let says_empty =
            head.version == Version::HTTP_2 && body.is_none() && anticipates_content(&head.method);
        let upload = body.map(|body| {
            Upload::new(
                body,
                config.replay_buffer,
                injection.map(|injection| injection.header.clone()),
            )
        });
        let waits = |_: &&Rc<Upload>| request::expects_continue(&head);
        let consent = upload.as_ref().filter(waits).map(|upload| {
            let consent = Arc::new(Notify::new());
            let given = Arc::clone(&consent);
            let patience = continue_within(config);
            upload.wait_for(async move {
                // Without a word from the upstream the body is asked for (RFC 9110 section 10.1.1).
                let _ = tokio::time::timeout(patience, given.notified()).await;
            });
            consent
        });
        Self {
            upstream,
            pool,
            method: head.method,
            target,
            headers: head.headers,
            header_case: head.extensions.remove(),
            says_empty,
            upload,
            asked: asked.map(Box::new),
            own_nonce: RefCell::default(),
            consent,
            informed,
        }
    }

    /// Whether it asks for a tunnel over HTTP/2.
    pub fn connects(&self) -> bool {
        matches!(
            self.asked.as_deref(),
            Some(TunnelRequest::ExtendedConnect(_))
        )
    }

    /// Whether the same request can be sent once more: its body was kept, or never asked for.
    pub fn can_replay(&self) -> bool {
        self.can_restart(true)
    }

    /// Whether the upstream rejects the token that this request carried. When an `Authorization` of
    /// the client's own went with it, in a header of its own, nobody can tell which of them is meant.
    pub fn was_rejected(&self, answer: &Answer, token: &Token) -> bool {
        token_verdict::rejects(answer, &self.schemes(token))
            && !self.carries_authorization_of_client()
    }

    /// Notes that the upstream takes this token, if the answer says so.
    pub fn note_accepted(&self, injection: &Injection, answer: &Answer, token: &Token) {
        let known = injection.fresh.is_content_with(token);
        if !known && token_verdict::accepts(answer) {
            injection.fresh.accept(token, || injection.now());
        }
    }

    /// Notes that the rejection of this token goes to the client.
    pub fn note_rejected(&self, injection: &Injection, answer: &Answer, token: &Token) {
        injection.fresh.reject(token, injection.now(), || {
            let reason = challenge::reason(answer.headers(), &self.schemes(token));
            let clean = |text: &str| injection.redactor.clean(text);
            (clean(&reason.error), clean(&reason.description))
        });
    }

    /// The schemes whose challenges are about our token.
    fn schemes<'a>(&'a self, token: &'a Token) -> [&'a str; 2] {
        let injection = self.upstream.injection.as_ref();
        let prefix = injection.and_then(Injection::scheme);
        [token.token_type(), prefix.unwrap_or(token.token_type())]
    }

    fn carries_authorization_of_client(&self) -> bool {
        // The headers are scrubbed and without our token.
        self.headers.contains_key(header::AUTHORIZATION)
    }

    /// Sends it with `token`, which is replaced if it expires while a connection is opened. An
    /// upstream that wants a nonce of its own in the proof gets it, once (RFC 9449 section 9); one
    /// that refuses the proof gets one that is dated by its own clock, if that differs from ours.
    /// Each time that it is sent counts in `attempts`.
    pub async fn send(
        &self,
        token: &mut Option<Arc<Token>>,
        attempts: &Cell<u32>,
    ) -> Result<Answer, ProxyError> {
        let injection = self.upstream.injection.as_ref();
        let is_bound = |token: &Option<Arc<Token>>| {
            let token = token.as_ref();
            token.is_some_and(|token| token.binding().is_some())
        };
        let Some(injection) = injection.filter(|_| is_bound(token)) else {
            return self.transmit(token, attempts).await;
        };
        let sent = injection.now().wall;
        let mut answer = self.transmit(token, attempts).await?;
        let nonce = self.take_nonce(&mut answer, token.as_deref());
        let dated =
            self.learn_clock(injection, &answer, sent) && token_verdict::refuses_proof(&answer);
        let wanted = nonce.is_some() && token_verdict::wants_nonce(&answer);
        if !(wanted || dated) || !self.can_replay() {
            nonce
                .into_iter()
                .for_each(|nonce| injection.nonce.set(nonce));
            return Ok(answer);
        }
        drop(answer);
        *self.own_nonce.borrow_mut() = nonce.clone().map(Box::new);
        let mut answer = Box::pin(self.transmit(token, attempts)).await?;
        let next = self.take_nonce(&mut answer, token.as_deref());
        let last = next.or(nonce);
        last.into_iter()
            .for_each(|nonce| injection.nonce.set(nonce));
        Ok(answer)
    }

    /// An upstream that refuses a request with a proof may do so because of the proof's date: the
    /// next ones are dated by its clock. Whether that is another than before.
    fn learn_clock(&self, injection: &Injection, answer: &Answer, sent: Duration) -> bool {
        if answer.status() != StatusCode::UNAUTHORIZED {
            return false;
        }
        let during = UNIX_EPOCH + sent..=UNIX_EPOCH + injection.now().wall;
        if !injection.clock.learn(answer.headers(), &during) {
            return false;
        }
        injection.clock.measure(answer.headers(), &during);
        let upstream = &self.upstream.config.name;
        let difference = injection.clock.difference();
        let difference = difference
            .as_deref()
            .unwrap_or("its clock agrees with ours again");
        tracing::warn!(%upstream, "{difference}");
        true
    }

    /// What the next proof has to say, if the token is bound to a key.
    fn take_nonce(&self, response: &mut Answer, token: Option<&Token>) -> Option<Nonce> {
        token?.binding()?;
        let max = self.upstream.injection.as_ref()?.max_nonce_bytes;
        Nonce::take(response.headers_mut(), max)
    }

    async fn transmit(
        &self,
        token: &mut Option<Arc<Token>>,
        attempts: &Cell<u32>,
    ) -> Result<Answer, ProxyError> {
        if let Some(TunnelRequest::Upgrade(protocol)) = self.asked.as_deref() {
            return Box::pin(self.upgrade(protocol, token, attempts)).await;
        }
        let connects = self.connects();
        if connects && self.upstream.endpoint.connector.only_http1() {
            return Err(no_connect());
        }
        let mut waited = connects;
        let mut checkout = match self.pool.idle() {
            Some(idle) => idle,
            None => {
                waited = true;
                self.connection(false).await?
            }
        };
        let mut retries = 0;
        loop {
            if connects {
                let open = Box::pin(supporting_connect(checkout)).await;
                checkout = open.ok_or_else(no_connect)?;
            }
            if waited {
                self.renew_if_expired(token).await?;
                if !checkout.is_fit() {
                    checkout = self.connection(true).await?;
                    continue;
                }
            }
            attempts.update(|sent| sent + 1);
            // Beyond it the upstream is closing connections as fast as they open.
            let retries_left = retries < self.upstream.config.max_retries;
            let failed = {
                let mut attempt = self.begin(checkout, token.as_deref());
                match self.wait(&mut attempt).await? {
                    Ok(_) if attempt.was_crossed() && retries_left && self.can_replay() => None,
                    Ok(answer) => {
                        unasked(answer.status(), connects)?;
                        return received(answer);
                    }
                    Err(failed) => Some(failed),
                }
            };
            if let Some(failed) = failed {
                self.may_repeat(failed, retries)?;
            }
            retries += 1;
            checkout = self.connection(true).await?;
            waited = true;
        }
    }

    /// The error, unless the same request can be sent once more without doing anything twice.
    #[cold]
    fn may_repeat(&self, failed: Failed, retries: usize) -> Result<(), ProxyError> {
        let not_processed = failed.unsent || failure::is_refused_stream(&failed.error);
        // The upstream closed a connection that was idle: nothing of this request has had an
        // effect that a second one would double.
        // A new one may have been closed before the upstream was ready to serve; twice means something
        // else.
        let unnoticed = (failed.unnoticed || failed.ended_new && retries == 0)
            && self.method.is_idempotent()
            && failure::is_closed_early(&failed.error);
        let again = (not_processed || unnoticed) && self.can_restart(failed.unsent);
        let retries_left = retries < self.upstream.config.max_retries;
        match again && retries_left && failed.alert.is_none() {
            true => Ok(()),
            false => Err(self.failed(failed)),
        }
    }

    /// A connection when none is idle; `new`: an old one has failed.
    async fn connection(&self, new: bool) -> Result<Checkout<Outgoing>, ProxyError> {
        self.pool.open(new).await.map_err(failure::connect)
    }

    /// Sends it on a connection of its own that can be upgraded.
    async fn upgrade(
        &self,
        protocol: &HeaderValue,
        token: &mut Option<Arc<Token>>,
        attempts: &Cell<u32>,
    ) -> Result<Answer, ProxyError> {
        let opened = self.pool.dedicated().await;
        let single = opened.map_err(|error| failure::connect(Arc::new(error)))?;
        self.renew_if_expired(token).await?;
        let asks = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, protocol.clone()),
        ];
        attempts.update(|sent| sent + 1);
        let mut attempt = self.begin_http1(single, token.as_deref(), &asks);
        let answer = self.wait(&mut attempt).await?;
        let answer = answer.map_err(|failed| self.failed(failed))?;
        response::check_http1(answer.headers())?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            response::check_switch(protocol, answer.headers())?;
            if !answer.body().is_sent() {
                return Err(switched_early());
            }
        }
        Ok(answer)
    }

    /// An unsent body was not touched, whatever its size.
    fn can_restart(&self, unsent: bool) -> bool {
        let upload = self.upload.as_ref();
        upload.is_none_or(|upload| unsent && upload.is_untouched() || upload.can_restart())
    }

    async fn renew_if_expired(&self, token: &mut Option<Arc<Token>>) -> Result<(), ProxyError> {
        let (Some(current), Some(injection)) = (token.as_ref(), &self.upstream.injection) else {
            return Ok(());
        };
        if !current.is_usable(injection.now()) {
            *token = Some(injection.token().await.map_err(failure::token)?);
        }
        Ok(())
    }

    fn failed(&self, failed: Failed) -> ProxyError {
        if let Some(fault) = self.upload.as_ref().and_then(|upload| upload.fault()) {
            return failure::client(fault);
        }
        let connector = &self.upstream.endpoint.connector;
        let refused = failed
            .alert
            .and_then(|alert| connector.certificate_refused(&alert));
        match refused {
            Some(refused) => failure::connect(Arc::new(refused)),
            None => failure::exchange(failed.error, failed.http1_instead),
        }
    }
}

/// Whether servers may take a request without content for one that lacks its length (RFC 9110 section 8.6).
/// In HTTP/2 the end of the stream says it.
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

/// The answer, if it can be passed on. One that cannot leaves its connection behind.
fn received(mut answer: Answer) -> Result<Answer, ProxyError> {
    if answer.version() == Version::HTTP_2 {
        response::check_http2(answer.headers())?;
    } else if response::check_http1(answer.headers())? == Framing::Doubtful {
        answer.body_mut().retire();
    }
    Ok(answer)
}

/// The connection, if the upstream takes extended CONNECT on it.
async fn supporting_connect(checkout: Checkout<Outgoing>) -> Option<Checkout<Outgoing>> {
    let takes = match &checkout {
        Checkout::Http1(_) => false,
        Checkout::Http2(stream) => stream.supports_connect().await,
    };
    takes.then_some(checkout)
}

/// An answer may begin a tunnel only where one was asked for, and in the way it was.
fn unasked(status: StatusCode, connects: bool) -> Result<(), ProxyError> {
    // Over HTTP/2 nothing else becomes a tunnel.
    let tunnels = connects && status.is_success() && status != StatusCode::OK;
    if status != StatusCode::SWITCHING_PROTOCOLS && !tunnels {
        return Ok(());
    }
    Err(ProxyError::new(
        ErrorKind::UpstreamProtocol,
        "the upstream switched protocols unasked",
    ))
}

/// What is left of the request would be taken for the new protocol (RFC 9110 section 7.8).
#[cold]
fn switched_early() -> ProxyError {
    ProxyError::new(
        ErrorKind::UpstreamProtocol,
        "the upstream switched protocols before it had all of the request",
    )
}

/// How long the upstream may think about an `Expect: 100-continue`. Waiting longer than the pause
/// that a body may make would end the request instead.
fn continue_within(config: &config::Upstream) -> Duration {
    let pause = config.stream_idle_timeout.map(|idle| idle / 2);
    pause.map_or(config.continue_timeout, |pause| {
        config.continue_timeout.min(pause)
    })
}

#[cold]
fn no_connect() -> ProxyError {
    ProxyError::new(
        ErrorKind::MethodNotAllowed,
        "the upstream does not take extended CONNECT (RFC 8441); ask for the upgrade over HTTP/1.1",
    )
}
