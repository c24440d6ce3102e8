//! One attempt to send a request on one connection.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::error::{ErrorKind, ProxyError};
use super::super::failure;
use super::super::request::TunnelRequest;
use super::super::upload::{Outgoing, Upload};
use super::{Answer, Failed, Forward};
use crate::deadline::Deadline;
use crate::dpop::DPOP;
use crate::http1::{RequestHead, RequestLine};
use crate::http2;
use crate::token::Token;
use crate::upstream::{Carried, Checkout, Incoming, Single, Stream};

/// A server that gives up on a request that it has, or on one that is slow to come, has waited for longer
/// than this. A 408 that comes sooner on a connection that was idle before has crossed the request.
const CROSSES_WITHIN: Duration = Duration::from_secs(1);

/// Headers beside those of the client, so few that they need no memory of their own.
type More = SmallVec<[(HeaderName, HeaderValue); 4]>;

/// A request on its way, until the head of its response has come. Dropping it closes the connection, or
/// resets the stream.
///
/// Polled by hand, since a thousand of them wait at a time: what an async function is called with, or
/// takes apart, stays in its future to the end.
pub(super) enum Attempt {
    Http1(OverHttp1),
    Http2(OverHttp2),
    /// It could not be sent.
    Refused(Option<Failed>),
}

pub(super) struct OverHttp1 {
    /// `None` once it is over.
    held: Option<Carried<Outgoing>>,
    /// What had been written to the connection before.
    written: u64,
    reused: bool,
    /// The answer is a 408 that may have been sent before the request came.
    crossed: bool,
    /// Since when it is waited for.
    start: Option<Instant>,
}

pub(super) struct OverHttp2 {
    /// `None` once it is over.
    stream: Option<Stream<Outgoing>>,
    trip: http2::RoundTrip,
    /// What had been written to the connection before, and what had been read.
    written: u64,
    read: usize,
    timer: Deadline,
}

impl Attempt {
    /// The response, or why there is none. Ready once.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        forward: &Forward,
    ) -> Poll<Result<Answer, Failed>> {
        match self {
            Self::Http1(over) => over.poll_answer(cx, forward),
            Self::Http2(over) => over.poll_answer(cx, forward),
            Self::Refused(failed) => failed.take().map_or(Poll::Pending, |f| Poll::Ready(Err(f))),
        }
    }

    /// Whether the answer is no answer to this request: the server had given up an idle connection and
    /// says so, as HAProxy does. It has not received the request, which may be repeated whatever its
    /// method (RFC 9110 section 15.5.9).
    pub(super) fn was_crossed(&self) -> bool {
        let Self::Http1(over) = self else {
            return false;
        };
        let soon = |start: Instant| start.elapsed() < CROSSES_WITHIN;
        over.crossed && over.start.is_none_or(soon)
    }

    /// Ready at this time, while it waits.
    fn poll_late(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let timer = match self {
            Self::Http1(over) => over.held.as_mut().and_then(|held| held.1.timer()),
            Self::Http2(over) => Some(&mut over.timer),
            Self::Refused(_) => None,
        };
        ready!(timer.map_or(Poll::Pending, |timer| timer.poll(cx, at)));
        if let Self::Http2(over) = self
            && let Some(stream) = &over.stream
            && stream.wire().read() == over.read
        {
            stream.doubt();
        }
        Poll::Ready(())
    }
}

impl OverHttp1 {
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        forward: &Forward,
    ) -> Poll<Result<Answer, Failed>> {
        let Some(held) = &mut self.held else {
            return Poll::Pending;
        };
        let mut told = |interim| forward.told(interim);
        let head = ready!(held.0.poll_head(cx, &mut told));
        let Some(mut held) = self.held.take() else {
            return Poll::Pending;
        };
        let (trip, lease) = &mut *held;
        Poll::Ready(match head {
            Ok(head) => {
                lease.answered(head.headers());
                let timed_out = head.status() == StatusCode::REQUEST_TIMEOUT;
                self.crossed = timed_out && self.reused && trip.is_only_closing_response();
                Ok(head.map(|()| Incoming::http1(held)))
            }
            Err(error) => {
                let failed = Failed {
                    alert: failure::alert(&error),
                    error: error.into(),
                    unsent: trip.io().written() == self.written,
                    unnoticed: self.reused && !trip.has_received(),
                    ended_new: false,
                    http1_instead: false,
                };
                if failed.unnoticed && failure::is_closed_early(&failed.error) {
                    lease.ended();
                }
                Err(failed)
            }
        })
    }
}

impl OverHttp2 {
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        forward: &Forward,
    ) -> Poll<Result<Answer, Failed>> {
        let mut told = |interim| forward.told(interim);
        let head = ready!(self.trip.poll_head(cx, &mut told));
        let Some(stream) = self.stream.take() else {
            return Poll::Pending;
        };
        stream.keep_timer(std::mem::take(&mut self.timer));
        Poll::Ready(match head {
            Ok(response) => Ok(response.map(|body| Incoming::http2(body, stream.answered()))),
            Err(error) => {
                let unsent = matches!(error, http2::Error::Io(_));
                let unsent = unsent && stream.wire().stays_at(self.written);
                Err(Failed::over_http2(
                    &stream,
                    error,
                    unsent,
                    self.trip.has_response_begun(),
                ))
            }
        })
    }
}

impl Failed {
    #[cold]
    fn over_http2(
        stream: &Stream<Outgoing>,
        error: http2::Error,
        unsent: bool,
        heard: bool,
    ) -> Self {
        Self {
            unsent,
            unnoticed: stream.reused && !heard,
            ended_new: !stream.reused && !heard && !stream.wire().has_goaway(),
            http1_instead: stream.wire().begins_http1(),
            alert: stream.wire().alert().cloned(),
            error: error.into(),
        }
    }
}

impl Forward {
    /// Sends it on this connection.
    pub(super) fn begin(&self, checkout: Checkout<Outgoing>, token: Option<&Token>) -> Attempt {
        match checkout {
            Checkout::Http1(single) => self.begin_http1(single, token, &[]),
            Checkout::Http2(stream) => self.begin_http2(stream, token),
        }
    }

    /// Sends it over HTTP/1.1; `asks` are more headers.
    pub(super) fn begin_http1(
        &self,
        single: Single<Outgoing>,
        token: Option<&Token>,
        asks: &[(HeaderName, HeaderValue)],
    ) -> Attempt {
        let upload = self.upload.as_ref();
        let mut more = More::new();
        self.inject(token, |name, value| more.push((name, value)));
        more.extend(asks.iter().cloned());
        if self.says_empty && !self.headers.contains_key(header::CONTENT_LENGTH) {
            more.push((header::CONTENT_LENGTH, HeaderValue::from_static("0")));
        }
        if upload.is_some_and(|upload| upload.exact().is_none()) {
            let chunked = HeaderValue::from_static("chunked");
            more.push((header::TRANSFER_ENCODING, chunked));
        }
        let request = RequestHead {
            line: RequestLine {
                method: &self.method,
                target: &self.target,
                host: &self.upstream.host,
            },
            headers: &self.headers,
            header_case: self.header_case.as_ref(),
            more: &more,
        };
        let reused = single.reused;
        let held = single.begin(request, upload.map(Upload::attempt));
        Attempt::Http1(OverHttp1 {
            written: held.0.io().written(),
            held: Some(held),
            reused,
            crossed: false,
            start: None,
        })
    }

    fn begin_http2(&self, stream: Stream<Outgoing>, token: Option<&Token>) -> Attempt {
        let (written, read) = (stream.wire().written(), stream.wire().read());
        match stream.send(self.request_http2(token)) {
            Ok(trip) => Attempt::Http2(OverHttp2 {
                timer: stream.timer(),
                stream: Some(stream),
                trip,
                written,
                read,
            }),
            Err(error) => {
                // Else it is the request that cannot be sent.
                let unsent = stream.is_closed();
                Attempt::Refused(Some(Failed::over_http2(&stream, error, unsent, false)))
            }
        }
    }

    /// An interim response has come.
    fn told(&self, interim: Response<()>) {
        if interim.status() == StatusCode::CONTINUE
            && let Some(consent) = &self.consent
        {
            consent.notify_one();
        }
        self.informed.pass_on(interim);
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
        self.inject(token, |name, value| {
            headers.insert(name, value);
        });
        if let Some(TunnelRequest::ExtendedConnect(protocol)) = self.asked.as_deref() {
            request.extensions_mut().insert(protocol.clone());
        }
        if let Some(consent) = &self.consent {
            // Many servers never send 100 over HTTP/2, and the client would wait in vain.
            consent.notify_one();
        }
        request
    }

    /// The token, and the proof that goes with it. There is no other of either: the request has been
    /// scrubbed.
    fn inject(&self, token: Option<&Token>, mut add: impl FnMut(HeaderName, HeaderValue)) {
        let (Some(token), Some(injection)) = (token, &self.upstream.injection) else {
            return;
        };
        add(injection.header.clone(), injection.value(token));
        let upstream = &self.upstream;
        let target = [
            upstream.scheme.as_str(),
            upstream.authority.as_str(),
            // The URI of a server as a whole has no path (RFC 9110 section 7.1).
            self.target.path().trim_start_matches('*'),
        ];
        let nonce = self.own_nonce.borrow_mut().take().map(|nonce| *nonce);
        let nonce = nonce.or_else(|| injection.nonce.get());
        if let Some(proof) = injection.prove(token, &self.method, target, nonce.as_ref()) {
            add(DPOP, proof);
        }
    }

    /// Waits for the response: `response_timeout` from the end of the request body, and before
    /// that `stream_idle_timeout` between its chunks.
    pub(super) async fn wait(
        &self,
        attempt: &mut Attempt,
    ) -> Result<Result<Answer, Failed>, ProxyError> {
        let mut start = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = attempt.poll_answer(cx, self) {
                return Poll::Ready(Ok(answer));
            }
            let start = *start.get_or_insert_with(Instant::now);
            if let Attempt::Http1(over) = attempt {
                over.start = Some(start);
            }
            match self.answer_by(start, cx) {
                Some(at) => attempt.poll_late(cx, at).map(|()| Err(self.no_response())),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn answer_by(&self, start: Instant, cx: &mut Context<'_>) -> Option<Instant> {
        let config = &self.upstream.config;
        let Some(upload) = &self.upload else {
            return Some(start + config.response_timeout);
        };
        if let Some(finished) = upload.finished() {
            return Some(finished.max(start) + config.response_timeout);
        }
        upload.register(cx);
        let idle = config.stream_idle_timeout?;
        Some(upload.progress().max(start) + idle)
    }

    #[cold]
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
