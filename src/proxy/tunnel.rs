//! A connection after it was upgraded: bytes both ways, until both sides have ended.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::client_connection::ClientConnection;
use super::exchange::Exchange;
use super::forward::Answer;
use super::tunnel_record::TunnelRecord;
use crate::deadline::Deadline;
use crate::http2;
use crate::snapshot::Upstream;
use crate::upstream::{Lease, ResponseBody, UpstreamIo};

/// What an upstream's connection over HTTP/1.1, or its stream of HTTP/2, has become: to be joined with the
/// client's once the answer that says so has been sent.
pub struct UpstreamTunnel {
    server: Server,
    /// What has come of the new protocol already.
    received: Bytes,
    /// Held until the end.
    lease: Lease,
    idle: Option<Duration>,
    buffer: usize,
    record: Option<Box<TunnelRecord>>,
}

enum Server {
    Http1(UpstreamIo),
    Http2(http2::Tunnel),
}

/// What follows an answer, if the upstream switched protocols, or over HTTP/2 agreed to extended CONNECT.
pub fn accepted(
    answer: Answer,
    connects: bool,
    exchange: &mut Exchange,
    upstream: &Upstream,
) -> (Answer, Option<Box<UpstreamTunnel>>) {
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => upgraded(answer, exchange, upstream),
        StatusCode::OK if connects => {
            let (head, incoming) = answer.into_parts();
            let tunnel = incoming.into_http2_tunnel().map(|(server, lease)| {
                let server = Server::Http2(server);
                UpstreamTunnel::new(server, Bytes::new(), lease, exchange, upstream)
            });
            (Answer::from_parts(head, ResponseBody::ended()), tunnel)
        }
        _ => (answer, None),
    }
}

fn upgraded(
    mut answer: Answer,
    exchange: &mut Exchange,
    upstream: &Upstream,
) -> (Answer, Option<Box<UpstreamTunnel>>) {
    let protocol = answer.headers().get(header::UPGRADE).cloned();
    super::headers::scrub_response(answer.headers_mut(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    let (head, incoming) = answer.into_parts();
    let switched = incoming.into_tunnel().map(|(server, received, lease)| {
        UpstreamTunnel::new(Server::Http1(server), received, lease, exchange, upstream)
    });
    (Answer::from_parts(head, ResponseBody::ended()), switched)
}

impl UpstreamTunnel {
    fn new(
        server: Server,
        received: Bytes,
        lease: Lease,
        exchange: &mut Exchange,
        upstream: &Upstream,
    ) -> Box<Self> {
        Box::new(Self {
            server,
            received,
            lease,
            idle: upstream.config.stream_idle_timeout,
            buffer: exchange.shard.snapshot.config.server.tunnel_buffer,
            record: exchange.tunnels(),
        })
    }

    /// Joins both sides until both have ended, or nothing moves.
    ///
    /// # Errors
    /// One broke off, or the connection is cut, before all was sent to the client: it is to be reset.
    pub async fn join<C>(self, connection: C, client: &ClientConnection) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let cut = |cx: &mut Context<'_>| {
            client.register(cx);
            client.is_cut()
        };
        self.join_until(connection, cut).await
    }

    /// The same with a stream of a client's connection, which lives on: it has to wake this task itself
    /// when it is cut.
    ///
    /// # Errors
    /// As [`UpstreamTunnel::join`].
    pub async fn join_stream<C>(self, stream: C, client: &ClientConnection) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        self.join_until(stream, |_| client.is_cut()).await
    }

    async fn join_until<C>(
        self,
        client: C,
        mut is_cut: impl FnMut(&mut Context<'_>) -> bool,
    ) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut tunnel = Tunnel {
            client,
            server: self.server,
            up: Flow::new(self.buffer),
            down: Flow::new(self.buffer),
            idle: self.idle,
            last: Instant::now(),
            deadline: Deadline::default(),
            record: self.record,
        };
        tunnel.down.buffer.extend_from_slice(&self.received);
        let joined = std::future::poll_fn(|cx| match is_cut(cx) {
            true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            false => tunnel.poll(cx),
        });
        let joined = joined.await;
        if joined.is_err() && !tunnel.up.closed {
            tunnel.server.break_off();
        }
        drop(self.lease);
        match tunnel.down.closed {
            // Whatever becomes of the other direction.
            true => Ok(()),
            false => joined,
        }
    }
}

impl Server {
    /// Whoever reads it must not take this for an end.
    fn break_off(&mut self) {
        match self {
            Self::Http1(io) => io.reset_at_close(),
            Self::Http2(tunnel) => tunnel.reset(),
        }
    }
}

impl AsyncRead for Server {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_read(cx, buf),
            Self::Http2(tunnel) => Pin::new(tunnel).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Server {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_write(cx, buf),
            Self::Http2(tunnel) => Pin::new(tunnel).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_flush(cx),
            Self::Http2(tunnel) => Pin::new(tunnel).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http1(io) => Pin::new(io).poll_shutdown(cx),
            Self::Http2(tunnel) => Pin::new(tunnel).poll_shutdown(cx),
        }
    }
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
    record: Option<Box<TunnelRecord>>,
}

impl<C, S> Drop for Tunnel<C, S> {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record {
            record.bytes = [self.up.total, self.down.total];
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
