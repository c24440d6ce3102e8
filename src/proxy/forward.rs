//! One request to the upstream, sent again where that is provably safe.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::Client;
use super::error::{ErrorKind, ProxyError};
use super::failure::{self, Broken};
use super::received::{self, Framing};
use super::request::{self, Asked};
use super::upload::{Outgoing, Source, Upload};
use super::{interim, judge};
use crate::config;
use crate::deadline::Deadline;
use crate::dpop::{DPOP, Nonce};
use crate::http1::{RequestLine, Sent, Spelling};
use crate::snapshot::Upstream;
use crate::token::Token;
use crate::upstream::{Checkout, Incoming, Pool, Single, Stream};

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
    spelling: Option<Spelling>,
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

/// A response, its body still to be read.
pub type Answer = Response<Incoming<Outgoing>>;

/// A request that got no response.
struct Failed {
    error: Broken,
    /// Nothing of it was sent.
    unsent: bool,
    /// Its connection had carried others before, and the upstream may have closed it meanwhile.
    unnoticed: bool,
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
        asked: Option<Asked>,
        mut head: http::request::Parts,
        body: Option<Source>,
        client: &Arc<Client>,
    ) -> Self {
        let config = &upstream.config;
        let injection = upstream.injection.as_ref();
        let upload = body.map(|body| {
            // Without a token nothing else but a connection that was closed meanwhile asks for it.
            let again = injection.is_some() || head.method.is_idempotent();
            let keep = if again { config.replay_buffer } else { 0 };
            Upload::new(
                body,
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
        Self {
            upstream,
            pool,
            method: head.method,
            target,
            headers: head.headers,
            spelling: head.extensions.remove(),
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
        if !judge::wants_nonce(&answer) || !self.can_replay() {
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
    fn take_nonce(&self, response: &mut Answer, token: Option<&Token>) -> Option<Nonce> {
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
            let checkout = match idle {
                Some(checkout) => checkout,
                None => self.pool.open().await.map_err(failure::connect)?,
            };
            if connects && !takes_connect(&checkout).await {
                return Err(no_connect());
            }
            if waited {
                self.renew_if_expired(token).await?;
            }
            let attempt = match checkout {
                Checkout::Http1(single) => self.over_http1(single, token.as_deref(), &[]).await?,
                Checkout::Http2(stream) => {
                    Box::pin(self.over_http2(stream, token.as_deref())).await?
                }
            };
            let failed = match attempt {
                Ok(answer) => {
                    unasked(answer.status(), connects)?;
                    return received(answer);
                }
                Err(failed) => failed,
            };
            let not_processed = failed.unsent || failure::is_refused_stream(&failed.error);
            // The upstream closed a connection that was idle: nothing of this request has had an
            // effect that a second one would double.
            let unnoticed = failed.unnoticed
                && self.method.is_idempotent()
                && failure::is_closed_early(&failed.error);
            let again = (not_processed || unnoticed) && self.can_restart(failed.unsent);
            retries += 1;
            // Beyond it the upstream is closing connections as fast as they open.
            if !again || retries > self.upstream.config.max_retries || failed.alert.is_some() {
                return Err(self.failed(failed));
            }
        }
    }

    /// Sends it on a connection of its own that can be upgraded.
    async fn upgrade(
        &self,
        protocol: &HeaderValue,
        token: &mut Option<Arc<Token>>,
    ) -> Result<Answer, ProxyError> {
        let opened = self.pool.dedicated().await;
        let single = opened.map_err(|error| failure::connect(Arc::new(error)))?;
        self.renew_if_expired(token).await?;
        let asks = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, protocol.clone()),
        ];
        let attempt = self.over_http1(single, token.as_deref(), &asks).await?;
        let answer = attempt.map_err(|failed| self.failed(failed))?;
        received::check_http1(answer.headers())?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            received::check_switch(protocol, answer.headers())?;
        }
        Ok(answer)
    }

    /// One attempt over HTTP/1.1; `asks` are more headers.
    async fn over_http1(
        &self,
        single: Single<Outgoing>,
        token: Option<&Token>,
        asks: &[(HeaderName, HeaderValue)],
    ) -> Result<Result<Answer, Failed>, ProxyError> {
        let (reused, upload) = (single.reused, self.upload.as_ref());
        let mut more = self.injected(token);
        more.extend_from_slice(asks);
        if upload.is_some_and(|upload| upload.exact().is_none()) {
            let chunked = HeaderValue::from_static("chunked");
            more.push((header::TRANSFER_ENCODING, chunked));
        }
        let request = Sent {
            line: RequestLine {
                method: &self.method,
                target: &self.target,
                host: &self.upstream.host,
            },
            headers: &self.headers,
            spelling: self.spelling.as_ref(),
            more: &more,
        };
        let (mut trip, mut lease) = single.begin(request, upload.map(Upload::attempt));
        let before = trip.io().written();
        let mut own = Deadline::default();
        let timer = lease.timer().unwrap_or(&mut own);
        let head = self
            .wait(timer, |cx| {
                trip.poll_head(cx, &mut |interim| self.told(interim))
            })
            .await?;
        Ok(match head {
            Ok(head) => {
                lease.answered(head.headers());
                Ok(head.map(|()| Incoming::http1(trip, lease)))
            }
            Err(error) => Err(Failed {
                alert: failure::alert(&error),
                error: error.into(),
                unsent: trip.io().written() == before,
                unnoticed: reused && !trip.has_heard(),
                http1_instead: false,
            }),
        })
    }

    /// One attempt over HTTP/2.
    async fn over_http2(
        &self,
        mut stream: Stream<Outgoing>,
        token: Option<&Token>,
    ) -> Result<Result<Answer, Failed>, ProxyError> {
        let request = self.request_http2(token);
        let reused = stream.reused;
        let mut timer = Deadline::default();
        let sent = {
            let mut sending = std::pin::pin!(stream.send(request));
            self.wait(&mut timer, |cx| sending.as_mut().poll(cx))
                .await?
        };
        Ok(match sent {
            Ok(response) => Ok(response.map(|body| Incoming::http2(body, stream.into_lease()))),
            Err(error) => Err(Failed {
                unsent: error.message().is_some(),
                unnoticed: reused,
                http1_instead: stream.wire().begins_http1(),
                alert: stream.wire().alert().cloned(),
                error: error.into_error().into(),
            }),
        })
    }

    /// An interim response has come.
    fn told(&self, interim: Response<()>) {
        if interim.status() == StatusCode::CONTINUE
            && let Some(consent) = &self.consent
        {
            consent.notify_one();
        }
        if let Some(client) = &self.informed
            && let Some(bytes) = interim::passed_on(interim)
        {
            client.inform(&bytes);
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

    fn request_http2(&self, token: Option<&Token>) -> Request<Outgoing> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.upstream.scheme.clone());
        uri.authority = Some(self.upstream.authority.clone());
        uri.path_and_query = Some(self.target.clone());
        let body = match &self.upload {
            Some(upload) => upload.attempt(),
            None => Outgoing::Empty,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.version_mut() = Version::HTTP_2;
        // Scheme and authority come both or neither, and there is always a path.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.remove(header::HOST);
        headers.remove(header::EXPECT);
        headers.extend(self.injected(token));
        if let Some(Asked::Connect(protocol)) = &self.asked {
            request.extensions_mut().insert(protocol.clone());
        }
        if let Some(consent) = &self.consent {
            // hyper hides a 100 that comes over HTTP/2.
            consent.notify_one();
        }
        request
    }

    /// The token, and the proof that goes with it. There is no other of either: the request has been
    /// scrubbed.
    fn injected(&self, token: Option<&Token>) -> Vec<(HeaderName, HeaderValue)> {
        let (Some(token), Some(injection)) = (token, &self.upstream.injection) else {
            return Vec::new();
        };
        let mut injected = Vec::with_capacity(4);
        injected.push((injection.header.clone(), injection.value(token)));
        let upstream = &self.upstream;
        let target = [
            upstream.scheme.as_str(),
            upstream.authority.as_str(),
            self.target.path(),
        ];
        let nonce = self.own_nonce.borrow_mut().take();
        let nonce = nonce.or_else(|| injection.nonce.get());
        if let Some(proof) = injection.prove(token, &self.method, target, nonce.as_ref()) {
            injected.push((DPOP, proof));
        }
        injected
    }

    /// Waits for the response: `response_timeout` from the end of the request body, and before
    /// that `stream_idle_timeout` between its chunks.
    async fn wait<T>(
        &self,
        timer: &mut Deadline,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, ProxyError> {
        let mut start = None;
        let config = &self.upstream.config;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            let start = *start.get_or_insert_with(Instant::now);
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

/// The answer, if it can be passed on. One that cannot leaves its connection behind.
fn received(mut answer: Answer) -> Result<Answer, ProxyError> {
    if answer.version() == Version::HTTP_2 {
        received::check_http2(answer.headers())?;
    } else if received::check_http1(answer.headers())? == Framing::Doubtful {
        answer.body_mut().retire();
    }
    Ok(answer)
}

async fn takes_connect(checkout: &Checkout<Outgoing>) -> bool {
    match checkout {
        Checkout::Http1(_) => false,
        Checkout::Http2(stream) => stream.takes_connect().await,
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
