//! A connection after it was upgraded: bytes both ways, until both sides have ended.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::client::Client;
use super::exchange::Exchange;
use super::forward::Answer;
use super::tunnelled::Tunnelled;
use super::upload::Outgoing;
use crate::deadline::Deadline;
use crate::snapshot::Upstream;
use crate::upstream::{Incoming, Io, Lease};

/// What an upstream's connection over HTTP/1.1 has become: to be joined with the client's once the 101
/// has been sent.
pub struct Switched {
    server: Io,
    /// What has come of the new protocol already.
    received: Bytes,
    /// Held until the end.
    lease: Lease<Outgoing>,
    idle: Option<Duration>,
    buffer: usize,
    tunnelled: Option<Box<Tunnelled>>,
}

/// What follows an answer over HTTP/1.1, if the upstream switched protocols.
pub fn switched(
    mut answer: Answer,
    exchange: &mut Exchange,
    upstream: &Upstream,
) -> (Answer, Option<Box<Switched>>) {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return (answer, None);
    }
    let protocol = answer.headers().get(header::UPGRADE).cloned();
    super::headers::scrub_response(answer.headers_mut(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    let (head, incoming) = answer.into_parts();
    let switched = incoming.into_tunnel().map(|(server, received, lease)| {
        Box::new(Switched {
            server,
            received,
            lease,
            idle: upstream.config.stream_idle_timeout,
            buffer: exchange.view.snapshot.config.server.tunnel_buffer,
            tunnelled: exchange.tunnels(),
        })
    });
    (Answer::from_parts(head, Incoming::ended()), switched)
}

impl Switched {
    /// Joins both sides until both have ended, or nothing moves.
    ///
    /// # Errors
    /// One broke off, or the connection is cut, before all was sent to the client: it is to be reset.
    pub async fn join<C>(self, connection: C, client: &Client) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut tunnel = Tunnel {
            client: connection,
            server: self.server,
            up: Flow::new(self.buffer),
            down: Flow::new(self.buffer),
            idle: self.idle,
            last: Instant::now(),
            deadline: Deadline::default(),
            tunnelled: self.tunnelled,
        };
        tunnel.down.buffer.extend_from_slice(&self.received);
        let joined = std::future::poll_fn(|cx| {
            client.register(cx);
            match client.is_cut() {
                true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                false => tunnel.poll(cx),
            }
        });
        let joined = joined.await;
        if joined.is_err() && !tunnel.up.closed {
            tunnel.server.reset_at_close();
        }
        drop(self.lease);
        match tunnel.down.closed {
            // Whatever becomes of the other direction.
            true => Ok(()),
            false => joined,
        }
    }
}

/// If the upstream agreed to extended CONNECT over HTTP/2, joins both streams once the 200 has been
/// sent. Everything else is a plain answer.
pub fn connected(
    answer: Answer,
    client: OnUpgrade,
    exchange: &mut Exchange,
    upstream: &Upstream,
) -> Answer {
    if answer.status() != StatusCode::OK {
        return answer;
    }
    let (head, incoming) = answer.into_parts();
    // The stream stays one of its connection's until the end.
    let Some((server, lease)) = incoming.into_stream_tunnel() else {
        return Answer::from_parts(head, Incoming::ended());
    };
    // Still in flight until then.
    let in_flight = exchange.in_flight.client().begin();
    let idle = upstream.config.stream_idle_timeout;
    let tunnelled = exchange.tunnels();
    let buffer = exchange.view.snapshot.config.server.tunnel_buffer;
    tokio::task::spawn_local(async move {
        // An error is the client's going away before the switch: the upstream sees a reset.
        if let Ok(client) = client.await {
            let mut tunnel = Tunnel {
                client: TokioIo::new(client),
                server,
                up: Flow::new(buffer),
                down: Flow::new(buffer),
                idle,
                last: Instant::now(),
                deadline: Deadline::default(),
                tunnelled,
            };
            // The client's connection lives on, and ends its streams when it is cut. hyper can end a
            // stream of a tunnel, but not reset it.
            let joined = std::future::poll_fn(|cx| match in_flight.client().is_cut() {
                true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                false => tunnel.poll(cx),
            });
            if joined.await.is_err() && !tunnel.up.closed {
                tunnel.server.reset();
            }
        }
        drop((lease, in_flight));
    });
    Answer::from_parts(head, Incoming::ended())
}

struct Tunnel<C, S> {
    client: C,
    server: S,
    up: Flow,
    down: Flow,
    idle: Option<Duration>,
    last: Instant,
    deadline: Deadline,
    /// Written to the log in the end, where tunnels are.
    tunnelled: Option<Box<Tunnelled>>,
}

impl<C, S> Drop for Tunnel<C, S> {
    fn drop(&mut self) {
        if let Some(tunnelled) = &mut self.tunnelled {
            tunnelled.bytes = [self.up.total, self.down.total];
        }
    }
}

/// One direction.
struct Flow {
    /// Without memory while there is nothing to move: a tunnel may be open for days beside
    /// thousands of others.
    buffer: BytesMut,
    most: usize,
    /// Bytes moved so far.
    total: u64,
    ended: bool,
    closed: bool,
}

impl<C, S> Tunnel<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let up = self.up.poll(cx, &mut self.client, &mut self.server);
        let down = self.down.poll(cx, &mut self.server, &mut self.client);
        let (up, down) = (up?, down?);
        if self.up.closed && self.down.closed {
            return Poll::Ready(Ok(()));
        }
        if up || down {
            self.last = Instant::now();
        }
        match self.idle {
            Some(idle) => self.deadline.poll(cx, self.last + idle).map(Ok),
            None => Poll::Pending,
        }
    }
}

impl Flow {
    /// A direction that buffers at most so many bytes.
    fn new(most: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            most,
            total: 0,
            ended: false,
            closed: false,
        }
    }

    /// Moves what can be moved; tells whether anything did.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> io::Result<bool>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut moved = false;
        loop {
            while !self.buffer.is_empty() {
                match pin!(&mut *to).poll_write(cx, &self.buffer) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(written)) => {
                        moved = true;
                        self.total += written as u64;
                        let _ = self.buffer.split_to(written);
                    }
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Ok(moved),
                }
            }
            if self.ended {
                if !self.closed && pin!(&mut *to).poll_shutdown(cx)?.is_ready() {
                    self.closed = true;
                }
                return Ok(moved);
            }
            self.buffer.reserve(self.most);
            let mut space = (&mut self.buffer).limit(self.most);
            match pin!(from.read_buf(&mut space)).poll(cx) {
                Poll::Ready(Ok(length)) => self.ended = length == 0,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.buffer = BytesMut::new();
                    // What is buffered below must leave before we wait for more.
                    return match pin!(&mut *to).poll_flush(cx) {
                        Poll::Ready(Err(error)) => Err(error),
                        _ => Ok(moved),
                    };
                }
            }
        }
    }
}
