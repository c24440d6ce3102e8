//! The upstream's side of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2;
use crate::upstream::UpstreamIo;

/// The upstream's side of a tunnel: all of a connection, or a stream of HTTP/2.
pub enum UpstreamSide {
    /// A connection.
    Connection(UpstreamIo),
    /// A stream of HTTP/2.
    Stream(http2::Tunnel),
}

impl UpstreamSide {
    /// Ends it in a way that no reader can take for the proper end.
    pub fn break_off(&mut self) {
        match self {
            Self::Connection(io) => io.reset_at_close(),
            Self::Stream(tunnel) => tunnel.reset(Reason::CANCEL),
        }
    }
}

impl AsyncRead for UpstreamSide {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_read(cx, buf),
            Self::Stream(tunnel) => Pin::new(tunnel).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamSide {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_write(cx, buf),
            Self::Stream(tunnel) => Pin::new(tunnel).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_flush(cx),
            Self::Stream(tunnel) => Pin::new(tunnel).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_shutdown(cx),
            Self::Stream(tunnel) => Pin::new(tunnel).poll_shutdown(cx),
        }
    }
}
