//! Bytes both ways between a client and its upstream.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;

use super::side::UpstreamSide;
use crate::deadline::Deadline;
use crate::proxy::tunnel_record::TunnelRecord;

/// Both directions of a tunnel.
pub struct TunnelCopy<C> {
    client: C,
    pub upstream: UpstreamSide,
    up: Direction,
    down: Direction,
    /// How long nothing may move; `None`: without end.
    pub idle: Option<Duration>,
    last: Instant,
    deadline: Deadline,
    /// Written to the log in the end, where tunnels are.
    pub record: Option<Box<TunnelRecord>>,
}

impl<C> Drop for TunnelCopy<C> {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record {
            record.bytes = [self.up.total, self.down.total];
        }
    }
}

/// One direction.
struct Direction {
    /// Without memory while there is nothing to move: a tunnel may be open for days beside
    /// thousands of others.
    buffer: BytesMut,
    most: usize,
    /// Bytes moved so far.
    total: u64,
    ended: bool,
    closed: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> TunnelCopy<C> {
    /// Between a client and an upstream of which `received` has been read already. Each direction
    /// buffers at most `buffer` bytes.
    pub fn new(client: C, upstream: UpstreamSide, received: Bytes, buffer: usize) -> Self {
        let mut down = Direction::new(buffer);
        down.buffer.extend_from_slice(&received);
        Self {
            client,
            upstream,
            up: Direction::new(buffer),
            down,
            idle: None,
            last: Instant::now(),
            deadline: Deadline::default(),
            record: None,
        }
    }

    /// Whether bytes wait for the client to read.
    pub fn client_stalls(&self) -> bool {
        !self.down.buffer.is_empty()
    }

    /// Whether all that the client sent has been handed on, and its end.
    pub fn is_upstream_closed(&self) -> bool {
        self.up.closed
    }

    /// Whether all that the upstream sent has been handed on, and its end.
    pub fn is_client_closed(&self) -> bool {
        self.down.closed
    }

    /// Moves what can be moved. Ready when both directions have ended, or nothing has moved for too long.
    ///
    /// # Errors
    /// One side broke off.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let up = self.up.poll(cx, &mut self.client, &mut self.upstream);
        let down = self.down.poll(cx, &mut self.upstream, &mut self.client);
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

impl Direction {
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
