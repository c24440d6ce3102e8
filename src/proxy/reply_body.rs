//! The response body on its way from the upstream to the client.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::client_connection::ConnectionTarget;
use super::error::ErrorKind;
use super::exchange::Exchange;
use super::headers::{self, OwnHeaders};
use super::intercept::PendingInterception;
use super::response_body::{ResponseBody, ResponseBodyError};
use super::role;
use super::token_echo;
use super::tunnel::UpstreamTunnel;
use crate::deadline::Deadline;
use crate::snapshot::BuiltUpstream;

/// A response body: the upstream's, streamed, or a short one of ours. It bounds the pauses of the
/// upstream's body and scrubs its trailers. The exchange counts what passes, and ends with it.
pub struct Reply {
    content: ReplySource,
    exchange: Box<Exchange>,
    successor: Option<Successor>,
}

/// What a connection over HTTP/1.1, or a stream of HTTP/2, becomes behind the head of a response.
pub enum Successor {
    /// A tunnel.
    Tunnel(Box<UpstreamTunnel>),
    /// A connection that carries plain HTTP, of either version, for the host and port of a CONNECT.
    PlainHttp(ConnectionTarget),
    /// A connection on which TLS follows that is ended here, and in it HTTP for the destination of a CONNECT.
    Intercepted(Box<PendingInterception>),
}

enum ReplySource {
    Proxy(Option<Bytes>),
    Upstream(StreamedBody),
}

/// The upstream's body.
struct StreamedBody {
    /// What arrives, and the connection it arrives on.
    incoming: ResponseBody,
    /// The longest pause between two chunks, either way.
    idle: Option<Duration>,
    waiting_since: Option<Instant>,
    deadline: Deadline,
    /// Why it broke off. The client is told only after the data before that could be sent.
    broken: Option<Box<ReplyError>>,
}

/// The response cannot be completed: the connection or stream is then reset.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The upstream broke off.
    #[error("the upstream broke off its response")]
    BrokenOff(#[source] ResponseBodyError),
    /// Nothing moved for `stream_idle_timeout`.
    #[error("nothing moved for the stream_idle_timeout")]
    Idle,
}

impl Reply {
    /// A whole body of ours.
    pub fn of_proxy(body: Bytes, exchange: Box<Exchange>) -> Self {
        Self {
            content: ReplySource::Proxy((!body.is_empty()).then_some(body)),
            exchange,
            successor: None,
        }
    }

    /// No body: the answer to a CONNECT, behind which the connection or stream becomes something else.
    pub fn connected(successor: Successor, exchange: Box<Exchange>) -> Self {
        Self {
            content: ReplySource::Proxy(None),
            exchange,
            successor: Some(successor),
        }
    }

    /// The upstream's body, which has yet to be read; `tunnel` is what the connection becomes behind it.
    pub fn of_upstream(
        incoming: ResponseBody,
        tunnel: Option<Box<UpstreamTunnel>>,
        exchange: Box<Exchange>,
    ) -> Self {
        if let Some(upload) = exchange.upload() {
            upload.end_attempts();
        }
        let upstream = exchange.upstream();
        let mut streamed = StreamedBody {
            incoming,
            idle: upstream.and_then(|upstream| upstream.config.stream_idle_timeout),
            waiting_since: None,
            deadline: Deadline::default(),
            broken: None,
        };
        // The sender may not poll again once the declared length has passed, so the end of the body is
        // looked for as soon as that is so.
        streamed.incoming.release_at_end(streamed.idle);
        Self {
            content: ReplySource::Upstream(streamed),
            exchange,
            successor: tunnel.map(Successor::Tunnel),
        }
    }

    /// What the connection or stream becomes behind this response, if it becomes something else.
    pub fn take_successor(&mut self) -> Option<Successor> {
        self.successor.take()
    }

    /// How long the client may take to make room for the next piece.
    pub fn patience(&self) -> Option<Duration> {
        match &self.content {
            ReplySource::Proxy(_) => Some(self.exchange.shard.snapshot.config.server.idle_timeout),
            ReplySource::Upstream(streamed) => streamed.idle,
        }
    }

    /// Continues to send the request body while nobody polls the response body.
    pub fn send_upload(&mut self, cx: &mut Context<'_>) {
        if let ReplySource::Upstream(streamed) = &mut self.content
            && let Err(error) = streamed.incoming.send_upload(cx)
        {
            streamed
                .broken
                .get_or_insert(Box::new(ReplyError::BrokenOff(error)));
        }
    }
}

impl StreamedBody {
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(*broken)));
        }
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting_since = None;
                self.incoming.release_at_end(self.idle);
                Poll::Ready(Some(Ok(scrubbed(frame, exchange))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.broken = Some(Box::new(ReplyError::BrokenOff(error)));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.incoming.release_at_end(self.idle);
                Poll::Ready(None)
            }
            Poll::Pending => self
                .poll_idle(cx, exchange)
                .map(|()| Some(Err(ReplyError::Idle))),
        }
    }

    /// Ready when neither the response nor the request body has moved for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>, exchange: &Exchange) -> Poll<()> {
        let Some(idle) = self.idle else {
            return Poll::Pending;
        };
        let waiting_since = *self.waiting_since.get_or_insert_with(Instant::now);
        let uploaded = exchange.upload().map(|upload| upload.last_progress());
        let last = uploaded.map_or(waiting_since, |at| at.max(waiting_since));
        self.deadline.poll(cx, last + idle)
    }
}

/// A piece of the response as the client gets it: the token never comes back in a trailer.
fn scrubbed(frame: Frame<Bytes>, exchange: &Exchange) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let injected = exchange.upstream().and_then(BuiltUpstream::injected_header);
            headers::scrub_trailers(&mut trailers, OwnHeaders::injected(injected));
            if let Some(upstream) = exchange.upstream() {
                token_echo::mask_trailers(upstream, &exchange.sent, &mut trailers);
            }
            if exchange.is_forward() {
                role::scrub_trailers(&mut trailers);
            }
            Frame::trailers(trailers)
        }
        // Data, or a kind of frame that there is not today.
        Err(frame) => frame,
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self.get_mut();
        let streamed = match &mut this.content {
            ReplySource::Proxy(body) => {
                this.exchange.count_response_data(body.as_ref());
                return Poll::Ready(body.take().map(|body| Ok(Frame::data(body))));
            }
            ReplySource::Upstream(streamed) => streamed,
        };
        let frame = std::task::ready!(streamed.poll_next(cx, &this.exchange));
        if let Some(Ok(frame)) = &frame {
            this.exchange.count_response_data(frame.data_ref());
        }
        if let Some(Err(error)) = &frame {
            let kind = match error {
                ReplyError::BrokenOff(_) => ErrorKind::UpstreamConnect,
                ReplyError::Idle => ErrorKind::UpstreamTimeout,
            };
            this.exchange.record_cut(kind, error);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            ReplySource::Proxy(body) => body.is_none(),
            ReplySource::Upstream(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            ReplySource::Proxy(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64)
            }
            ReplySource::Upstream(streamed) => streamed.incoming.size_hint(),
        }
    }
}
