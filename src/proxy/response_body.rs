//! The body of an upstream's response, with the connection that it arrives on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::upload::AttemptBody;
use crate::deadline::Deadline;
use crate::http1::{self, RoundTrip, Unsolicited};
use crate::http2;
use crate::upstream::{Lease, UpstreamIo};

/// A request over HTTP/1.1 and the lease of the connection that carries it.
pub type Http1Exchange = Box<(RoundTrip<UpstreamIo, AttemptBody>, Lease)>;

/// The body of a response, over either protocol. At its end the connection goes back to its pool. When it is
/// dropped before its end, the connection is closed, or over HTTP/2 the stream is reset.
pub struct ResponseBody {
    /// `None` once it has ended.
    incoming: Option<IncomingResponse>,
}

enum IncomingResponse {
    Http1(Http1Exchange),
    Http2(http2::IncomingBody, Lease),
}

/// Why the body of a response ended too early.
#[derive(Debug, thiserror::Error)]
pub enum ResponseBodyError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] http2::Error),
}

impl ResponseBody {
    /// One that has ended.
    pub fn ended() -> Self {
        Self { incoming: None }
    }

    /// Of a response over HTTP/1.1, whose head has been read.
    pub fn http1(exchange: Http1Exchange) -> Self {
        Self {
            incoming: Some(IncomingResponse::Http1(exchange)),
        }
    }

    /// Of a response over HTTP/2.
    pub fn http2(body: http2::IncomingBody, lease: Lease) -> Self {
        Self {
            incoming: Some(IncomingResponse::Http2(body, lease)),
        }
    }

    /// Whether all of the request has been written. Over HTTP/2 a task of its own writes it, so that the
    /// answer is always yes.
    pub fn is_sent(&self) -> bool {
        match &self.incoming {
            Some(IncomingResponse::Http1(exchange)) => exchange.0.is_sent(),
            Some(IncomingResponse::Http2(..)) | None => true,
        }
    }

    /// Continues to send the request while nobody reads the response. Over HTTP/2 a task of its own sends it.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn send_upload(&mut self, cx: &mut Context<'_>) -> Result<(), ResponseBodyError> {
        match &mut self.incoming {
            Some(IncomingResponse::Http1(exchange)) if !exchange.0.is_sent() => {
                let _ = exchange.0.poll_sent(cx)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a proxy reads the requests on its connection, so that the response may be one of the proxy.
    pub fn is_read_by_proxy(&self) -> bool {
        match &self.incoming {
            Some(IncomingResponse::Http1(exchange)) => exchange.1.is_read_by_proxy(),
            Some(IncomingResponse::Http2(..)) | None => false,
        }
    }

    /// Prevents that another request follows on its connection.
    pub fn retire(&mut self) {
        if let Some(IncomingResponse::Http1(exchange)) = &mut self.incoming {
            exchange.0.retire();
        }
    }

    /// Stops sending the request.
    pub fn abandon(&mut self) {
        if let Some(IncomingResponse::Http1(exchange)) = &mut self.incoming {
            exchange.0.abandon();
        }
    }

    /// After a 101: the connection, what has already come of the new protocol, and the lease that must be
    /// held until the end. `None` over HTTP/2.
    pub fn into_tunnel(self) -> Option<(UpstreamIo, Bytes, Lease)> {
        match self.incoming? {
            IncomingResponse::Http1(exchange) => {
                let (trip, lease) = *exchange;
                let (io, received) = trip.into_tunnel();
                Some((io, received, lease))
            }
            IncomingResponse::Http2(..) => None,
        }
    }

    /// The tunnel that an upstream has accepted over HTTP/2, and the lease that must be held until its
    /// end.
    pub fn into_http2_tunnel(self) -> Option<(http2::Tunnel, Lease)> {
        match self.incoming? {
            IncomingResponse::Http1(_) => None,
            IncomingResponse::Http2(body, lease) => Some((body.into_tunnel()?, lease)),
        }
    }

    /// Gives the connection back if the body has ended. If the request has not been sent yet, this goes on
    /// in a task of its own, for as long as something can be sent within `idle`.
    pub fn release_at_end(&mut self, idle: Option<Duration>) {
        if let Some(IncomingResponse::Http2(body, _)) = &mut self.incoming {
            body.release_at_end(idle);
            return;
        }
        if !self.is_end_stream() {
            return;
        }
        let Some(IncomingResponse::Http1(exchange)) = self.incoming.take() else {
            return;
        };
        if exchange.0.is_sent() {
            return release(*exchange);
        }
        tokio::task::spawn_local(async move {
            let mut exchange = exchange;
            let mut deadline = Deadline::default();
            let mut since = Instant::now();
            let sent = std::future::poll_fn(|cx| {
                let before = exchange.0.io().bytes_written();
                if let Poll::Ready(sent) = exchange.0.poll_sent(cx) {
                    return Poll::Ready(sent.is_ok());
                }
                if exchange.0.io().bytes_written() != before {
                    since = Instant::now();
                }
                match idle {
                    Some(idle) => deadline.poll(cx, since + idle).map(|()| false),
                    None => Poll::Pending,
                }
            });
            if sent.await {
                release(*exchange);
            }
        });
    }
}

fn release((trip, lease): (RoundTrip<UpstreamIo, AttemptBody>, Lease)) {
    if trip.unsolicited() == Some(Unsolicited::Stray) {
        lease.record_unsolicited();
    }
    if let Some(io) = trip.into_idle() {
        lease.release(io);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        match &mut self.get_mut().incoming {
            None => Poll::Ready(None),
            Some(IncomingResponse::Http1(exchange)) => {
                let polled = Pin::new(&mut exchange.0).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(ResponseBodyError::from)))
            }
            Some(IncomingResponse::Http2(body, _)) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(ResponseBodyError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.incoming {
            None => true,
            Some(IncomingResponse::Http1(exchange)) => exchange.0.is_end_stream(),
            Some(IncomingResponse::Http2(body, _)) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            None => SizeHint::with_exact(0),
            Some(IncomingResponse::Http1(exchange)) => exchange.0.size_hint(),
            Some(IncomingResponse::Http2(body, _)) => body.size_hint(),
        }
    }
}
