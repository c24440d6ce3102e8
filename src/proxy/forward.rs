//! One request to the upstream, sent again where that is provably safe.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Client;
use super::error::{ErrorKind, ProxyError};
use super::received::{self, Framing};
use super::request::{self, Asked};
use super::upload::{Outgoing, Upload};
use super::{failure, headers, interim, judge};
use crate::config;
use crate::deadline::Deadline;
use crate::dpop::{DPOP, Nonce};
use crate::snapshot::Upstream;
use crate::token::Token;
use crate::upstream::{Checkout, Lease, Pool, Wire};

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
    /// How the client spelled the names of its headers: to the library alone.
    spelling: Extensions,
    /// The body; `None` when the request has none.
    pub upload: Option<Rc<Upload>>,
    /// The tunnel that the client asks for.
    asked: Option<Asked>,
    /// What the upstream wants in the proof of this request, whatever it has told others meanwhile:
    /// some take each nonce only once.
    own_nonce: RefCell<Option<Nonce>>,
    /// Told when the upstream says 100: the client waits for it before it sends the body.
    consent: Option<Arc<Notify>>,
    /// Who gets the upstream's interim responses.
    informed: Option<Arc<Client>>,
}

/// A response head, its body still to be read.
pub type Answer = (Response<Incoming>, Option<Lease<Outgoing>>);

impl Forward {
    /// Takes a scrubbed head and a body; `asked` is the tunnel to ask for, if any.
    pub fn new(
        upstream: Arc<Upstream>,
        pool: Rc<Pool<Outgoing>>,
        target: PathAndQuery,
        asked: Option<Asked>,
        mut head: http::request::Parts,
        body: Incoming,
        client: &Arc<Client>,
    ) -> Self {
        let config = &upstream.config;
        let injection = upstream.injection.as_ref();
        let upload = (!body.is_end_stream()).then(|| {
            // Without a token nothing else but a connection that was closed meanwhile asks for it.
            let again = injection.is_some() || head.method.is_idempotent();
            let keep = if again { config.replay_buffer } else { 0 };
            Upload::new(
                body,
                head.version,
                keep,
                injection.map(|injection| injection.header.clone()),
            )
        });
        let expects = request::expects_continue(&head);
        let consent = upload.as_ref().filter(|_| expects).map(|upload| {
            let consent = Arc::new(Notify::new());
            let given = Arc::clone(&consent);
            let patience = continue_within(config);
            upload.wait_for(async move {
                // Without a word from the upstream the body is asked for (RFC 9110 section 10.1.1).
                let _ = tokio::time::timeout(patience, given.notified()).await;
            });
            consent
        });
        head.extensions.remove::<OnUpgrade>();
        Self {
            upstream,
            pool,
            method: head.method,
            target,
            headers: head.headers,
            spelling: head.extensions,
            upload,
            asked,
            own_nonce: RefCell::default(),
            consent,
            informed: (head.version == Version::HTTP_11).then(|| Arc::clone(client)),
        }
    }

    /// Whether the same request can be sent once more: its body was kept, or never asked for.
    pub fn can_replay(&self) -> bool {
        self.can_restart(true)
    }

    /// Sends it with `token`, which is replaced if it expires while a connection is opened. An
    /// upstream that wants a nonce of its own in the proof gets it, once (RFC 9449 section 9).
    pub async fn send(&self, token: &mut Option<Arc<Token>>) -> Result<Answer, ProxyError> {
        let mut answer = self.transmit(token).await?;
        let Some(injection) = &self.upstream.injection else {
            return Ok(answer);
        };
        let Some(nonce) = self.take_nonce(&mut answer, token.as_deref()) else {
            return Ok(answer);
        };
        if !judge::wants_nonce(&answer.0) || !self.can_replay() {
            injection.nonce.set(nonce);
            return Ok(answer);
        }
        drop(answer);
        *self.own_nonce.borrow_mut() = Some(nonce.clone());
        let mut answer = Box::pin(self.transmit(token)).await?;
        let next = self.take_nonce(&mut answer, token.as_deref());
        injection.nonce.set(next.unwrap_or(nonce));
        Ok(answer)
    }

    /// What the next proof has to say, if the token is bound to a key.
    fn take_nonce(&self, (response, _): &mut Answer, token: Option<&Token>) -> Option<Nonce> {
        token?.binding()?;
        let max = self.upstream.injection.as_ref()?.max_nonce_bytes;
        Nonce::take(response.headers_mut(), max)
    }

    async fn transmit(&self, token: &mut Option<Arc<Token>>) -> Result<Answer, ProxyError> {
        if let Some(Asked::Upgrade(protocol)) = &self.asked {
            return Box::pin(self.upgrade(protocol, token)).await;
        }
        let connects = matches!(self.asked, Some(Asked::Connect(_)));
        if connects && self.upstream.endpoint.connector.only_http1() {
            return Err(no_connect());
        }
        let mut retries = 0;
        let mut idle = self.pool.idle();
        loop {
            let idle = idle.take();
            let waited = connects || idle.is_none();
            let mut checkout = match idle {
                Some(checkout) => checkout,
                None => self.pool.open().await.map_err(failure::connect)?,
            };
            if connects && !checkout.takes_connect().await {
                checkout.release();
                return Err(no_connect());
            }
            if waited {
                self.renew_if_expired(token).await?;
            }
            let request = self.request(&checkout, token.as_deref());
            let mut timer = checkout.timer();
            let error = match self.response(checkout.send(request), &mut timer).await? {
                Ok(response) => {
                    checkout.keep(timer);
                    unasked(response.status(), connects)?;
                    return self.received(response, checkout);
                }
                Err(error) => error,
            };
            let not_processed =
                error.message().is_some() || failure::is_refused_stream(error.error());
            // The upstream closed a connection that was idle: nothing of this request has had an
            // effect that a second one would double.
            let unnoticed = checkout.reused
                && self.method.is_idempotent()
                && failure::is_closed_early(error.error())
                && (checkout.is_http2() || !checkout.has_heard());
            let again = (not_processed || unnoticed) && self.can_restart(error.message().is_some());
            retries += 1;
            // Beyond it the upstream is closing connections as fast as they open.
            if !again
                || retries > self.upstream.config.max_retries
                || checkout.wire().alert().is_some()
            {
                return Err(self.failed(error, checkout.is_http2(), checkout.wire()));
            }
        }
    }

    /// The answer, if it can be passed on. One that cannot leaves its connection behind.
    fn received(
        &self,
        response: Response<Incoming>,
        checkout: Checkout<Outgoing>,
    ) -> Result<Answer, ProxyError> {
        let http2 = checkout.is_http2();
        let mut lease = checkout.into_lease();
        if http2 {
            received::check_http2(response.headers())?;
        } else if received::check_http1(response.headers())? == Framing::Doubtful {
            lease.retire();
        }
        Ok((response, Some(lease)))
    }

    /// Sends it on a connection of its own that can be upgraded.
    async fn upgrade(
        &self,
        protocol: &HeaderValue,
        token: &mut Option<Arc<Token>>,
    ) -> Result<Answer, ProxyError> {
        let opened = self.pool.dedicated().await;
        let (mut connection, wire) = opened.map_err(|error| failure::connect(Arc::new(error)))?;
        self.renew_if_expired(token).await?;
        let mut request = self.request_http1(token.as_deref());
        let headers = request.headers_mut();
        headers.insert(header::UPGRADE, protocol.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        let mut timer = Deadline::default();
        match self
            .response(connection.try_send_request(request), &mut timer)
            .await?
        {
            Ok(response) => {
                received::check_http1(response.headers())?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    received::check_switch(protocol, response.headers())?;
                }
                Ok((response, None))
            }
            Err(error) => Err(self.failed(error, false, &wire)),
        }
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

    fn request(&self, checkout: &Checkout<Outgoing>, token: Option<&Token>) -> Request<Outgoing> {
        if !checkout.is_http2() {
            return self.request_http1(token);
        }
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.upstream.scheme.clone());
        uri.authority = Some(self.upstream.authority.clone());
        uri.path_and_query = Some(self.target.clone());
        let mut request = self.bare(uri, token);
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::EXPECT);
        if let Some(Asked::Connect(protocol)) = &self.asked {
            request.extensions_mut().insert(protocol.clone());
        }
        if let Some(consent) = &self.consent {
            // hyper hides a 100 that comes over HTTP/2.
            consent.notify_one();
        }
        request
    }

    fn request_http1(&self, token: Option<&Token>) -> Request<Outgoing> {
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(self.target.clone());
        let mut request = self.bare(uri, token);
        *request.extensions_mut() = self.spelling.clone();
        let unknown_length = self
            .upload
            .as_ref()
            .is_some_and(|upload| upload.exact().is_none());
        let headers = request.headers_mut();
        // In the place of the client's.
        headers.insert(header::HOST, self.upstream.host.clone());
        if unknown_length {
            // Without it hyper drops the body of a GET.
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        let (consent, informed) = (self.consent.clone(), self.informed.clone());
        if consent.is_none() && informed.is_none() {
            return request;
        }
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE
                && let Some(consent) = &consent
            {
                consent.notify_one();
            }
            if let Some(client) = &informed
                && let Some(bytes) = interim::passed_on(response.status(), response.headers())
            {
                client.inform(&bytes);
            }
        });
        request
    }

    fn bare(&self, uri: http::uri::Parts, token: Option<&Token>) -> Request<Outgoing> {
        let body = match &self.upload {
            Some(upload) => upload.attempt(),
            None => Outgoing::Empty,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        // Scheme and authority come both or neither, and there is always a path.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        if let (Some(token), Some(injection)) = (token, &self.upstream.injection) {
            let headers = request.headers_mut();
            headers::inject(headers, &injection.header, injection.value(token));
            let upstream = &self.upstream;
            let target = [
                upstream.scheme.as_str(),
                upstream.authority.as_str(),
                self.target.path(),
            ];
            let nonce = self.own_nonce.borrow_mut().take();
            let nonce = nonce.or_else(|| injection.nonce.get());
            if let Some(proof) = injection.prove(token, &self.method, target, nonce.as_ref()) {
                headers::inject(headers, &DPOP, proof);
            }
        }
        request
    }

    /// Waits for the response: `response_timeout` from the end of the request body, and before
    /// that `stream_idle_timeout` between its chunks.
    async fn response<F, T>(
        &self,
        sent: F,
        timer: &mut Deadline,
    ) -> Result<Result<T, TrySendError<Request<Outgoing>>>, ProxyError>
    where
        F: Future<Output = Result<T, TrySendError<Request<Outgoing>>>>,
    {
        let start = Instant::now();
        let config = &self.upstream.config;
        let mut sent = pin!(sent);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            let at = match &self.upload {
                None => Some(start + config.response_timeout),
                Some(upload) => match upload.finished() {
                    Some(finished) => Some(finished.max(start) + config.response_timeout),
                    None => {
                        upload.register(cx);
                        config
                            .stream_idle_timeout
                            .map(|idle| upload.progress().max(start) + idle)
                    }
                },
            };
            match at {
                Some(at) => timer.poll(cx, at).map(|()| Err(self.no_response())),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn failed(
        &self,
        error: TrySendError<Request<Outgoing>>,
        http2: bool,
        wire: &Wire,
    ) -> ProxyError {
        if let Some(fault) = self.upload.as_ref().and_then(|upload| upload.fault()) {
            return failure::client(fault);
        }
        let connector = &self.upstream.endpoint.connector;
        let refused = wire
            .alert()
            .and_then(|alert| connector.certificate_refused(alert));
        match refused {
            Some(refused) => failure::connect(Arc::new(refused)),
            None => failure::exchange(error.into_error(), http2, wire),
        }
    }

    fn no_response(&self) -> ProxyError {
        let upload = self.upload.as_ref();
        if upload.is_some_and(|upload| upload.finished().is_none() && upload.is_starved()) {
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

/// An answer may begin a tunnel only where one was asked for, and in the way it was.
fn unasked(status: StatusCode, connects: bool) -> Result<(), ProxyError> {
    // hyper takes no other status for success.
    let tunnels = connects && status.is_success() && status != StatusCode::OK;
    if status != StatusCode::SWITCHING_PROTOCOLS && !tunnels {
        return Ok(());
    }
    Err(ProxyError::new(
        ErrorKind::UpstreamProtocol,
        "the upstream switched protocols unasked",
    ))
}

/// How long the upstream may think about an `Expect: 100-continue`. Waiting longer than the pause
/// that a body may make would end the request instead.
fn continue_within(config: &config::Upstream) -> Duration {
    let pause = config.stream_idle_timeout.map(|idle| idle / 2);
    pause.map_or(config.continue_timeout, |pause| {
        config.continue_timeout.min(pause)
    })
}

fn no_connect() -> ProxyError {
    ProxyError::new(
        ErrorKind::MethodNotAllowed,
        "the upstream does not take extended CONNECT (RFC 8441); ask for the upgrade over HTTP/1.1",
    )
}
