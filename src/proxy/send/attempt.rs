//! One attempt to send a request on one connection.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::http2;
use crate::proxy::error::ProxyError;
use crate::proxy::failure::{self, ExchangeFailure};
use crate::proxy::outgoing::{AttemptHeaders, OutgoingRequest};
use crate::proxy::response::UpstreamResponse;
use crate::proxy::response_body::{Http1Exchange, ResponseBody};
use crate::upstream::{Checkout, Http1Connection, Http2Stream};

/// A server that gives up on a request that it has, or on one that is slow to come, has waited for longer
/// than this. A 408 that comes sooner, on a connection that was idle before, was sent before the request
/// arrived.
const CROSSES_WITHIN: Duration = Duration::from_secs(1);

/// Passes an interim response of the upstream on.
pub(super) type InterimSender<'a> = &'a dyn Fn(Response<()>);

/// A request on its way, until the head of its response has come. Dropping it closes the connection, or
/// resets the stream.
///
/// It is polled by hand and not an async function, since thousands of them may wait at a time: the future of an async
/// function keeps its arguments, and what it takes apart, until it ends.
pub(super) enum Attempt {
    Http1(OverHttp1),
    Http2(OverHttp2),
    /// It could not be sent.
    Refused(Option<AttemptFailure>),
}

pub(super) struct OverHttp1 {
    /// `None` once it is over.
    held: Option<Http1Exchange>,
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
    stream: Option<Http2Stream>,
    trip: http2::RoundTrip,
    /// What had been written to the connection before, and what had been read.
    written: u64,
    read: usize,
    timer: Deadline,
}

/// A request that got no response.
pub(super) struct AttemptFailure {
    pub(super) error: ExchangeFailure,
    /// Nothing of it was sent.
    pub(super) unsent: bool,
    /// Its connection had carried others before, and the upstream may have closed it meanwhile.
    pub(super) unnoticed: bool,
    /// Its connection was a new one of HTTP/2 that ended without a GOAWAY and without any response.
    pub(super) ended_new: bool,
    /// What came over HTTP/2 began as HTTP/1.1 does.
    pub(super) http1_instead: bool,
    /// The alert that ended the connection.
    pub(super) alert: Option<rustls::Error>,
}

impl Attempt {
    /// Sends the request on this connection.
    pub(super) fn begin(
        request: &OutgoingRequest<'_>,
        checkout: Checkout,
        headers: AttemptHeaders<'_>,
    ) -> Self {
        match checkout {
            Checkout::Http1(connection) => Self::over_http1(request, connection, headers, &[]),
            Checkout::Http2(stream) => Self::over_http2(request, stream, headers),
        }
    }

    /// Sends it over HTTP/1.1; `more` are headers in addition to those of the client.
    pub(super) fn over_http1(
        request: &OutgoingRequest<'_>,
        connection: Http1Connection,
        headers: AttemptHeaders<'_>,
        more: &[(HeaderName, HeaderValue)],
    ) -> Self {
        let reused = connection.reused;
        let held = request.send_http1(headers, more, |head, body| connection.begin(head, body));
        Self::Http1(OverHttp1 {
            written: held.0.io().bytes_written(),
            held: Some(held),
            reused,
            crossed: false,
            start: None,
        })
    }

    fn over_http2(
        request: &OutgoingRequest<'_>,
        stream: Http2Stream,
        headers: AttemptHeaders<'_>,
    ) -> Self {
        let (written, read) = (
            stream.transport().bytes_written(),
            stream.transport().bytes_read(),
        );
        match stream.send(request.to_http2(headers)) {
            Ok(trip) => Self::Http2(OverHttp2 {
                timer: stream.timer(),
                stream: Some(stream),
                trip,
                written,
                read,
            }),
            Err(error) => {
                // Else it is the request that cannot be sent.
                let unsent = stream.is_closed();
                let failure = AttemptFailure::over_http2(&stream, error, unsent, false);
                Self::Refused(Some(failure))
            }
        }
    }

    /// Waits for the response to the request, for as long as its upstream and its body may take. The
    /// inner error tells why this attempt got none; the outer one ends the request.
    pub(super) async fn response(
        &mut self,
        request: &OutgoingRequest<'_>,
        send_interim: InterimSender<'_>,
    ) -> Result<Result<UpstreamResponse, AttemptFailure>, ProxyError> {
        let mut start = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = self.poll_answer(cx, send_interim) {
                return Poll::Ready(Ok(answer));
            }
            let start = *start.get_or_insert_with(Instant::now);
            if let Self::Http1(over) = self {
                over.start = Some(start);
            }
            match request.response_deadline(start, cx) {
                Some(at) => self
                    .poll_late(cx, at)
                    .map(|()| Err(request.timeout_error())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The response, or why there is none. Ready once.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        send_interim: InterimSender<'_>,
    ) -> Poll<Result<UpstreamResponse, AttemptFailure>> {
        match self {
            Self::Http1(over) => over.poll_answer(cx, send_interim),
            Self::Http2(over) => over.poll_answer(cx, send_interim),
            Self::Refused(failed) => failed.take().map_or(Poll::Pending, |f| Poll::Ready(Err(f))),
        }
    }

    /// Whether the answer is not an answer to this request: the server had given up an idle connection and
    /// says so, as HAProxy does. It has not received the request, which may be repeated whatever its
    /// method (RFC 9110 section 15.5.9).
    pub(super) fn is_for_idle_connection(&self) -> bool {
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
            && stream.transport().bytes_read() == over.read
        {
            stream.mark_suspect();
        }
        Poll::Ready(())
    }
}

impl OverHttp1 {
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        send_interim: InterimSender<'_>,
    ) -> Poll<Result<UpstreamResponse, AttemptFailure>> {
        let Some(held) = &mut self.held else {
            return Poll::Pending;
        };
        let mut interim = |response| send_interim(response);
        let head = ready!(held.0.poll_head(cx, &mut interim));
        let Some(mut held) = self.held.take() else {
            return Poll::Pending;
        };
        let (trip, lease) = &mut *held;
        Poll::Ready(match head {
            Ok(head) => {
                lease.record_answer(head.headers());
                let timed_out = head.status() == StatusCode::REQUEST_TIMEOUT;
                self.crossed = timed_out && self.reused && trip.is_only_closing_response();
                Ok(head.map(|()| ResponseBody::http1(held)))
            }
            Err(error) => {
                let failed = AttemptFailure {
                    alert: failure::received_alert(&error),
                    error: error.into(),
                    unsent: trip.io().bytes_written() == self.written,
                    unnoticed: self.reused && !trip.has_received(),
                    ended_new: false,
                    http1_instead: false,
                };
                if failed.unnoticed && failure::is_closed_early(&failed.error) {
                    lease.record_idle_close();
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
        send_interim: InterimSender<'_>,
    ) -> Poll<Result<UpstreamResponse, AttemptFailure>> {
        let mut interim = |response| send_interim(response);
        let head = ready!(self.trip.poll_head(cx, &mut interim));
        let Some(stream) = self.stream.take() else {
            return Poll::Pending;
        };
        stream.return_timer(std::mem::take(&mut self.timer));
        Poll::Ready(match head {
            Ok(response) => Ok(response.map(|body| ResponseBody::http2(body, stream.into_lease()))),
            Err(error) => {
                let unsent = matches!(error, http2::Error::Io(_));
                let unsent = unsent && stream.transport().stop_if_unwritten_since(self.written);
                Err(AttemptFailure::over_http2(
                    &stream,
                    error,
                    unsent,
                    self.trip.has_response_begun(),
                ))
            }
        })
    }
}

impl AttemptFailure {
    #[cold]
    fn over_http2(stream: &Http2Stream, error: http2::Error, unsent: bool, heard: bool) -> Self {
        Self {
            unsent,
            unnoticed: stream.reused && !heard,
            ended_new: !stream.reused && !heard && !stream.transport().has_goaway(),
            http1_instead: stream.transport().looks_like_http1(),
            alert: stream.transport().alert().cloned(),
            error: error.into(),
        }
    }
}
