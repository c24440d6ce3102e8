//! One attempt to send a request on one connection.

use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::error::{ErrorKind, ProxyError};
use super::super::request::Asked;
use super::super::upload::{Outgoing, Upload};
use super::super::{failure, interim};
use super::{Answer, Failed, Forward};
use crate::deadline::Deadline;
use crate::dpop::DPOP;
use crate::http1::{RequestLine, RoundTrip, Sent};
use crate::http2;
use crate::token::Token;
use crate::upstream::{Incoming, Io, Lease, Single, Stream};

/// Headers beside those of the client, so few that they need no memory of their own.
type More = SmallVec<[(HeaderName, HeaderValue); 4]>;

impl Forward {
    /// One attempt over HTTP/1.1; `asks` are more headers.
    pub(super) async fn over_http1(
        &self,
        single: Single<Outgoing>,
        token: Option<&Token>,
        asks: &[(HeaderName, HeaderValue)],
    ) -> Result<Result<Answer, Failed>, ProxyError> {
        let reused = single.reused;
        let mut held = self.begin_http1(single, token, asks);
        let (trip, lease) = &mut *held;
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
                Ok(head.map(|()| Incoming::http1(held)))
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

    fn begin_http1(
        &self,
        single: Single<Outgoing>,
        token: Option<&Token>,
        asks: &[(HeaderName, HeaderValue)],
    ) -> Box<(RoundTrip<Io, Outgoing>, Lease<Outgoing>)> {
        let upload = self.upload.as_ref();
        let mut more = More::new();
        self.inject(token, |name, value| more.push((name, value)));
        more.extend(asks.iter().cloned());
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
        single.begin(request, upload.map(Upload::attempt))
    }

    /// One attempt over HTTP/2.
    pub(super) async fn over_http2(
        &self,
        stream: Stream<Outgoing>,
        token: Option<&Token>,
    ) -> Result<Result<Answer, Failed>, ProxyError> {
        let written = stream.wire().written();
        let (head, unsent) = match stream.send(self.request_http2(token)) {
            Ok(mut trip) => {
                let mut timer = stream.timer();
                let head = self.wait(&mut timer, |cx| trip.poll_head(cx)).await?;
                stream.keep_timer(timer);
                let unsent = matches!(head, Err(http2::Error::Io(_)));
                (head, unsent && stream.wire().stays_at(written))
            }
            // Else it is the request that cannot be sent.
            Err(error) => (Err(error), stream.is_closed()),
        };
        Ok(match head {
            Ok(response) => Ok(response.map(|body| Incoming::http2(body, stream.answered()))),
            Err(error) => Err(Failed {
                unsent,
                unnoticed: stream.reused,
                http1_instead: stream.wire().begins_http1(),
                alert: stream.wire().alert().cloned(),
                error: error.into(),
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
        if let Some(Asked::Connect(protocol)) = &self.asked {
            let protocol = h2::ext::Protocol::from(protocol.as_str());
            request.extensions_mut().insert(protocol);
        }
        if let Some(consent) = &self.consent {
            // A 100 that comes over HTTP/2 is not listened for.
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
            self.target.path(),
        ];
        let nonce = self.own_nonce.borrow_mut().take();
        let nonce = nonce.or_else(|| injection.nonce.get());
        if let Some(proof) = injection.prove(token, &self.method, target, nonce.as_ref()) {
            add(DPOP, proof);
        }
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
