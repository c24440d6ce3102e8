//! Both directions of a stream that a CONNECT has opened, extended (RFC 8441) or not, as bytes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::receiving::Receiving;

/// A stream that has become a tunnel.
pub struct Tunnel {
    to: SendStream<Bytes>,
    from: Receiving,
    /// What has arrived and was not read yet.
    received: Bytes,
    ended: bool,
}

impl Tunnel {
    pub(super) fn new(to: SendStream<Bytes>, from: Receiving) -> Self {
        Self {
            to,
            from,
            received: Bytes::new(),
            ended: false,
        }
    }

    /// Resets the stream, because the other side of the tunnel has failed.
    pub fn reset(&mut self, reason: Reason) {
        self.to.send_reset(reason);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.received.is_empty() {
            match ready!(this.from.poll_data(cx)) {
                Some(data) => this.received = data.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = this.received.len().min(buf.remaining());
        buf.put_slice(&this.received[..length]);
        this.received.advance(length);
        this.from.release(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.to.reserve_capacity(buf.len());
        while this.to.capacity() == 0 {
            match ready!(this.to.poll_capacity(cx)) {
                Some(polled) => polled.map(drop).map_err(broken)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = buf.len().min(this.to.capacity());
        let data = Bytes::copy_from_slice(&buf[..length]);
        Poll::Ready(
            this.to
                .send_data(data, false)
                .map(|()| length)
                .map_err(broken),
        )
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::replace(&mut this.ended, true) {
            return Poll::Ready(Ok(()));
        }
        this.to.reserve_capacity(0);
        Poll::Ready(this.to.send_data(Bytes::new(), true).map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::Other.into());
    }
    io::Error::other(error)
}
