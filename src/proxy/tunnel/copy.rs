//! Bytes both ways between a client and its upstream.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::side::UpstreamSide;
use crate::deadline::Deadline;
use crate::metrics::TunnelEnd;
use crate::proxy::tunnel_record::TunnelRecord;

thread_local! {
    /// What a read goes to. It is written on at once, so that a tunnel holds memory only while the other side does
    /// not take what has come: thousands of tunnels may be open for days.
    static SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    /// Told what moves.
    pub record: Box<TunnelRecord>,
}

/// One direction.
struct Direction {
    /// What was read and the other side has not taken.
    kept: Bytes,
    /// The most bytes of one read.
    most: usize,
    ended: bool,
    closed: bool,
}

/// Which side of one direction broke off.
enum BrokenSide {
    Source,
    Target,
}

impl<C: AsyncRead + AsyncWrite + Unpin> TunnelCopy<C> {
    /// Between a client and an upstream, of which `received` has been read already. Each direction
    /// buffers at most `buffer` bytes beyond that.
    pub fn new(
        client: C,
        upstream: UpstreamSide,
        received: [Bytes; 2],
        buffer: usize,
        record: Box<TunnelRecord>,
    ) -> Self {
        let [up, down] = received.map(|received| Direction::new(received, buffer));
        Self {
            client,
            upstream,
            up,
            down,
            idle: None,
            last: Instant::now(),
            deadline: Deadline::default(),
            record,
        }
    }

    /// Whether bytes wait for the client to read.
    pub fn is_client_stalled(&self) -> bool {
        !self.down.kept.is_empty()
    }

    /// Whether all that the client sent has been handed on, and its end.
    pub fn is_upstream_closed(&self) -> bool {
        self.up.closed
    }

    /// Whether all that the upstream sent has been handed on, and its end.
    pub fn is_client_closed(&self) -> bool {
        self.down.closed
    }

    /// Moves what can be moved. Ready when both directions have ended, one side broke off, or nothing has moved for
    /// too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TunnelEnd> {
        let (mut sent, mut received) = (0, 0);
        let up = self
            .up
            .poll(cx, &mut self.client, &mut self.upstream, &mut sent);
        let down = self
            .down
            .poll(cx, &mut self.upstream, &mut self.client, &mut received);
        if sent > 0 || received > 0 {
            self.record.count_bytes(sent, received);
            self.last = Instant::now();
        }
        match (up, down) {
            (Err(BrokenSide::Source), _) | (_, Err(BrokenSide::Target)) => {
                return Poll::Ready(TunnelEnd::Client);
            }
            (Err(BrokenSide::Target), _) | (_, Err(BrokenSide::Source)) => {
                return Poll::Ready(TunnelEnd::Upstream);
            }
            (Ok(()), Ok(())) => {}
        }
        if self.up.closed && self.down.closed {
            return Poll::Ready(TunnelEnd::Closed);
        }
        match self.idle {
            Some(idle) => {
                let late = self.deadline.poll(cx, self.last + idle);
                late.map(|()| TunnelEnd::Idle)
            }
            None => Poll::Pending,
        }
    }
}

impl Direction {
    fn new(received: Bytes, most: usize) -> Self {
        Self {
            kept: received,
            most,
            ended: false,
            closed: false,
        }
    }

    /// Moves what can be moved, and adds how much that was to `moved`.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        moved: &mut usize,
    ) -> Result<(), BrokenSide>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.kept.is_empty() {
                match poll_write(cx, to, &self.kept) {
                    Poll::Ready(written) => {
                        let written = written?;
                        *moved += written;
                        self.kept.advance(written);
                    }
                    Poll::Pending => return Ok(()),
                }
            }
            // What is empty may still hold on to the memory of what has left.
            self.kept = Bytes::new();
            if self.ended {
                if !self.closed
                    && let Poll::Ready(closed) = Pin::new(&mut *to).poll_shutdown(cx)
                {
                    closed.map_err(|_| BrokenSide::Target)?;
                    self.closed = true;
                }
                return Ok(());
            }
            if self.poll_move(cx, from, to, moved)?.is_pending() {
                // What is buffered below must leave before we wait for more.
                return match Pin::new(&mut *to).poll_flush(cx) {
                    Poll::Ready(Err(_)) => Err(BrokenSide::Target),
                    _ => Ok(()),
                };
            }
        }
    }

    /// Reads once, and writes what that brought as far as the other side takes it.
    fn poll_move<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        moved: &mut usize,
    ) -> Result<Poll<()>, BrokenSide>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SPACE.with_borrow_mut(|space| {
            if space.len() < self.most {
                space.resize(self.most, 0);
            }
            let Poll::Ready(length) = poll_read(cx, from, &mut space[..self.most]) else {
                return Ok(Poll::Pending);
            };
            let length = length.map_err(|_| BrokenSide::Source)?;
            self.ended = length == 0;
            let mut rest = &space[..length];
            while !rest.is_empty() {
                match poll_write(cx, to, rest) {
                    Poll::Ready(written) => {
                        let written = written?;
                        *moved += written;
                        rest = &rest[written..];
                    }
                    Poll::Pending => {
                        self.kept = Bytes::copy_from_slice(rest);
                        break;
                    }
                }
            }
            Ok(Poll::Ready(()))
        })
    }
}

fn poll_read(
    cx: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin),
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut space = ReadBuf::new(space);
    ready!(Pin::new(from).poll_read(cx, &mut space))?;
    Poll::Ready(Ok(space.filled().len()))
}

fn poll_write(
    cx: &mut Context<'_>,
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Poll<Result<usize, BrokenSide>> {
    match ready!(Pin::new(to).poll_write(cx, bytes)) {
        Ok(0) | Err(_) => Poll::Ready(Err(BrokenSide::Target)),
        Ok(written) => Poll::Ready(Ok(written)),
    }
}
