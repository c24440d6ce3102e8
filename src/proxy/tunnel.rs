//! A connection after it was upgraded: bytes both ways, until one side ends.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::client::InFlight;
use super::exchange::Exchange;
use super::forward::Answer;
use crate::deadline::Deadline;
use crate::snapshot::Upstream;

/// If the upstream switched protocols, joins both sides once the 101 has been sent, or for extended
/// CONNECT over HTTP/2 the 200. Everything else is a plain answer.
pub fn joined(
    mut answer: Answer,
    client: OnUpgrade,
    http2: bool,
    exchange: &Exchange,
    upstream: &Upstream,
) -> Answer {
    let response = &mut answer.0;
    let agreed = match http2 {
        true => StatusCode::OK,
        false => StatusCode::SWITCHING_PROTOCOLS,
    };
    if response.status() != agreed {
        return answer;
    }
    let server = hyper::upgrade::on(&mut *response);
    let protocol = response.headers().get(header::UPGRADE).cloned();
    super::headers::scrub_response(response.headers_mut(), agreed);
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    if !http2 {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // The stream stays one of its connection's until the end.
    let lease = answer.1.take();
    // Still in flight: what passes here may look like a refusal of the HTTP library's.
    let in_flight = exchange.in_flight.client().begin();
    let idle = upstream.config.stream_idle_timeout;
    let buffer = exchange.view.snapshot.config.server.tunnel_buffer;
    tokio::task::spawn_local(async move {
        // An error is one side's going away before the switch: the other side sees it end.
        if let (Ok(client), Ok(server)) = (client.await, server.await) {
            Tunnel::new(client, server, idle, buffer, in_flight, http2).await;
        }
        if let Some(lease) = lease {
            lease.release();
        }
    });
    answer
}

struct Tunnel {
    client: TokioIo<Upgraded>,
    server: TokioIo<Upgraded>,
    up: Flow,
    down: Flow,
    idle: Option<Duration>,
    last: Instant,
    deadline: Deadline,
    in_flight: InFlight,
    /// Whether it is one of the streams of the client's connection.
    http2: bool,
}

/// One direction.
struct Flow {
    /// Without memory while there is nothing to move: a tunnel may be open for days beside
    /// thousands of others.
    buffer: BytesMut,
    most: usize,
    ended: bool,
    closed: bool,
}

impl Tunnel {
    fn new(
        client: Upgraded,
        server: Upgraded,
        idle: Option<Duration>,
        buffer: usize,
        in_flight: InFlight,
        http2: bool,
    ) -> Self {
        Self {
            client: TokioIo::new(client),
            server: TokioIo::new(server),
            up: Flow::new(buffer),
            down: Flow::new(buffer),
            idle,
            last: Instant::now(),
            deadline: Deadline::default(),
            in_flight,
            http2,
        }
    }
}

impl Future for Tunnel {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let connection = this.in_flight.client();
        if !this.http2 {
            // In HTTP/2 the connection lives on, and ends its streams when it is cut.
            connection.register(cx);
        }
        if connection.is_cut() {
            return Poll::Ready(());
        }
        let up = this.up.poll(cx, &mut this.client, &mut this.server);
        let down = this.down.poll(cx, &mut this.server, &mut this.client);
        let (Ok(up), Ok(down)) = (up, down) else {
            return Poll::Ready(());
        };
        if this.up.closed && this.down.closed {
            return Poll::Ready(());
        }
        if up || down {
            this.last = Instant::now();
        }
        match this.idle {
            Some(idle) => this.deadline.poll(cx, this.last + idle),
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
            ended: false,
            closed: false,
        }
    }

    /// Moves what can be moved; tells whether anything did.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> std::io::Result<bool>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut moved = false;
        loop {
            while !self.buffer.is_empty() {
                match pin!(&mut *to).poll_write(cx, &self.buffer) {
                    Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(written)) => {
                        moved = true;
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
