//! The body of a response, with the connection it arrives on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::io::Io;
use super::pool::{Carried, Lease, RequestBody};
use crate::deadline::Deadline;
use crate::http1::{self, RoundTrip, Unsolicited};
use crate::http2;

/// The body of a response. The connection goes back to its pool at the end of the body, and is closed,
/// or the stream reset, when it is dropped before.
pub struct Incoming<B: RequestBody> {
    /// `None` once it has ended.
    source: Option<Source<B>>,
}

enum Source<B: RequestBody> {
    Http1(Carried<B>),
    Http2(http2::ResponseBody, Lease<B>),
}

/// Why it broke off.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] http2::Error),
}

impl<B: RequestBody> Incoming<B> {
    /// One that has ended.
    pub fn ended() -> Self {
        Self { source: None }
    }

    /// Of a response over HTTP/1.1, whose head has been read.
    pub fn http1(held: Carried<B>) -> Self {
        Self {
            source: Some(Source::Http1(held)),
        }
    }

    /// Of a response over HTTP/2.
    pub fn http2(body: http2::ResponseBody, lease: Lease<B>) -> Self {
        Self {
            source: Some(Source::Http2(body, lease)),
        }
    }

    /// Whether all of the request has been written; over HTTP/2 a task of its own does so.
    pub fn is_sent(&self) -> bool {
        match &self.source {
            Some(Source::Http1(held)) => held.0.is_sent(),
            Some(Source::Http2(..)) | None => true,
        }
    }

    /// Moves the request on while nobody asks for more of the response; over HTTP/2 its own task does.
    ///
    /// # Errors
    /// It broke off.
    pub fn send_upload(&mut self, cx: &mut Context<'_>) -> Result<(), IncomingError> {
        match &mut self.source {
            Some(Source::Http1(held)) if !held.0.is_sent() => {
                let _ = held.0.poll_sent(cx)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// No other request is to follow on its connection.
    pub fn retire(&mut self) {
        if let Some(Source::Http1(held)) = &mut self.source {
            held.0.retire();
        }
    }

    /// No more of the request is to be sent.
    pub fn abandon(&mut self) {
        if let Some(Source::Http1(held)) = &mut self.source {
            held.0.abandon();
        }
    }

    /// The bytes behind a 101, those of its new protocol that have come already, and what is held until
    /// they end. `None` over HTTP/2.
    pub fn into_tunnel(self) -> Option<(Io, Bytes, Lease<B>)> {
        match self.source? {
            Source::Http1(held) => {
                let (trip, lease) = *held;
                let (io, received) = trip.into_tunnel();
                Some((io, received, lease))
            }
            Source::Http2(..) => None,
        }
    }

    /// The tunnel that an upstream has agreed to over HTTP/2, and what is held until it ends.
    pub fn into_stream_tunnel(self) -> Option<(http2::Tunnel, Lease<B>)> {
        match self.source? {
            Source::Http1(_) => None,
            Source::Http2(body, lease) => Some((body.into_tunnel()?, lease)),
        }
    }

    /// Gives the connection back if the body has ended. An upload that goes on does so for as long as
    /// it makes a move within `idle`.
    pub fn release_at_end(&mut self, idle: Option<Duration>) {
        if let Some(Source::Http2(body, _)) = &mut self.source {
            body.release_at_end(idle);
            return;
        }
        if !self.is_end_stream() {
            return;
        }
        let Some(Source::Http1(held)) = self.source.take() else {
            return;
        };
        if held.0.is_sent() {
            return release(*held);
        }
        tokio::task::spawn_local(async move {
            let mut held = held;
            let mut deadline = Deadline::default();
            let mut since = Instant::now();
            let sent = std::future::poll_fn(|cx| {
                let before = held.0.io().written();
                if let Poll::Ready(sent) = held.0.poll_sent(cx) {
                    return Poll::Ready(sent.is_ok());
                }
                if held.0.io().written() != before {
                    since = Instant::now();
                }
                match idle {
                    Some(idle) => deadline.poll(cx, since + idle).map(|()| false),
                    None => Poll::Pending,
                }
            });
            if sent.await {
                release(*held);
            }
        });
    }
}

fn release<B: RequestBody>((trip, lease): (RoundTrip<Io, B>, Lease<B>)) {
    if trip.unsolicited() == Some(Unsolicited::Stray) {
        lease.strayed();
    }
    if let Some(io) = trip.into_idle() {
        lease.release(io);
    }
}

impl<B: RequestBody> Body for Incoming<B> {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        match &mut self.get_mut().source {
            None => Poll::Ready(None),
            Some(Source::Http1(held)) => {
                let polled = Pin::new(&mut held.0).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(IncomingError::from)))
            }
            Some(Source::Http2(body, _)) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map_err(IncomingError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            None => true,
            Some(Source::Http1(held)) => held.0.is_end_stream(),
            Some(Source::Http2(body, _)) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            None => SizeHint::with_exact(0),
            Some(Source::Http1(held)) => held.0.size_hint(),
            Some(Source::Http2(body, _)) => body.size_hint(),
        }
    }
}
