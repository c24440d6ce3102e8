//! HTTP/2 towards clients.
//!
//! The task that drives a [`ServerConnection`] gets its requests one by one. Each is answered by its [`Responder`], in
//! any order.

mod body;
mod responder;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::Method;
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Error;
use super::frames::Arrived;
use super::pings::{Next, PingInterval, Pings};
use super::receiving::Receiving;
use super::response::content_length;
use super::windows::{Sizes, Windows};

pub use body::{BodyError, RequestBody};
pub use responder::{Responder, ResponseProgress, TunnelReceiver};

/// The settings of connections of clients.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// How much may arrive before it is read.
    pub windows: Sizes,
    /// The most requests at once.
    pub max_streams: u32,
    /// By how many bytes in all the frames of unread uploads may be shorter than 256 bytes, before the
    /// connection is ended.
    pub small_frames: usize,
    /// Bytes of a request head, counted as RFC 9113 section 6.5.2 does.
    pub max_header_bytes: u32,
    /// Bytes of each response that are buffered until they can be sent.
    pub send_buffer: usize,
    /// Bytes of interim responses to one request.
    pub max_interim_bytes: usize,
    /// How long a client that waits for a response may be silent before it is sent a ping.
    pub ping_interval: Arc<PingInterval>,
    /// How long it has to answer a ping.
    pub ping_timeout: Duration,
    /// Whether the client is told that extended CONNECT (RFC 8441) is understood.
    pub extended_connect: bool,
}

/// A connection of a client.
pub struct ServerConnection<I> {
    connection: h2::server::Connection<I, Bytes>,
    pings: Option<Pings>,
    windows: Windows,
    max_interim_bytes: usize,
}

/// A request that has come: all of its head, and perhaps some of its body.
pub struct IncomingRequest {
    /// The head. An extended CONNECT (RFC 8441) has its protocol among the extensions.
    pub head: Parts,
    /// What follows the head.
    pub content: RequestContent,
    /// Takes the response.
    pub responder: Rc<Responder>,
}

/// What follows the head of a request.
pub enum RequestContent {
    /// Nothing.
    Empty,
    /// A body.
    Body(RequestBody),
    /// The client's direction of a tunnel.
    Tunnel(TunnelReceiver),
}

impl<I: AsyncRead + AsyncWrite + Unpin> ServerConnection<I> {
    /// Begins HTTP/2 on `io`, from its preface on.
    ///
    /// # Errors
    /// What arrives is not HTTP/2, or the connection has failed.
    pub async fn begin(io: I, settings: &ServerSettings) -> Result<Self, Error> {
        let windows = Windows::of_client(&settings.windows);
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(settings.max_header_bytes)
            .max_local_error_reset_streams(Some(super::MAX_FAULTY_STREAMS))
            .initial_window_size(windows.inbound().stream_window())
            .initial_connection_window_size(windows.inbound().connection_window())
            .data_frame_budget(settings.small_frames)
            .max_send_buffer_size(settings.send_buffer);
        if settings.extended_connect {
            builder.enable_connect_protocol();
        }
        let mut connection = builder.handshake(io).await?;
        let pings = connection.ping_pong();
        let pings = pings.map(|pings| {
            Pings::new(
                pings,
                Arc::clone(&settings.ping_interval),
                settings.ping_timeout,
            )
        });
        Ok(Self {
            connection,
            pings,
            windows,
            max_interim_bytes: settings.max_interim_bytes,
        })
    }

    /// The next request. This also drives the connection; `None` when it has ended. `arrived` is what has come
    /// so far, and `in_flight` is how many requests wait for a response. No ping is sent while the client
    /// `stalls`: a client that does not read would not see it.
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        arrived: impl Fn() -> Arrived,
        in_flight: usize,
        stalls: bool,
    ) -> Poll<Option<IncomingRequest>> {
        let (long, pings) = (self.windows.inbound().long(), self.pings.as_mut());
        self.windows
            .adjust(arrived(), long, pings, &mut self.connection);
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let incoming = self.incoming(request, respond);
                    if incoming.is_some() {
                        return Poll::Ready(incoming);
                    }
                    continue;
                }
                // The library has sent the reason to the client.
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            let Some(pings) = &mut self.pings else {
                return Poll::Pending;
            };
            if stalls {
                pings.pause();
                return Poll::Pending;
            }
            match ready!(pings.poll(cx, arrived().bytes, in_flight > 0)) {
                Next::Send => {}
                Next::GiveUp => return Poll::Ready(None),
            }
        }
    }

    /// Whether more uploads have begun than its windows have room for, and so much is unread that new ones should
    /// have another connection.
    pub fn is_crowded(&self) -> bool {
        self.windows.is_crowded()
    }

    /// Takes no more requests, and ends when those that have come have been answered.
    pub fn close(&mut self) {
        self.connection.graceful_shutdown();
    }

    fn incoming(
        &mut self,
        request: http::Request<h2::RecvStream>,
        respond: h2::server::SendResponse<Bytes>,
    ) -> Option<IncomingRequest> {
        let (head, mut stream) = request.into_parts();
        let inbound = self.windows.inbound();
        let responder = Responder::new(respond, self.max_interim_bytes);
        let length = content_length(&head.headers);
        let connects = head.method == Method::CONNECT;
        if connects && length.is_some_and(|length| length != 0) {
            responder.reset(Reason::PROTOCOL_ERROR);
            return None;
        }
        let content = if connects {
            RequestContent::Tunnel(TunnelReceiver(Receiving::new(stream, None, inbound)))
        } else if length.is_none() && has_ended_empty(&mut stream) || stream.is_end_stream() {
            RequestContent::Empty
        } else {
            let stream = Receiving::new(stream, length, inbound);
            RequestContent::Body(RequestBody::new(stream, length, &head, &responder))
        };
        Some(IncomingRequest {
            head,
            content,
            responder,
        })
    }
}

/// Whether the end has come, and nothing before it: some clients send it in a frame of its own, mostly together with the
/// headers.
fn has_ended_empty(stream: &mut h2::RecvStream) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    while stream.flow_control().used_capacity() == 0 && !stream.is_end_stream() {
        let Poll::Ready(Some(Ok(_empty))) = stream.poll_data(&mut cx) else {
            return false;
        };
    }
    stream.is_end_stream()
}
