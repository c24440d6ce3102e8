//! The bytes of an HTTP/2 connection, which can be read even after a write has failed.
//!
//! A server that refuses an upload in the middle often closes at once, which resets the connection. The
//! next write then fails although the refusal has arrived and can be read. The HTTP/2 library would end
//! the connection for the failed write, and nobody would see the refusal.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::UpstreamIo;
use super::permits::ConnectionPermit;
use crate::http2::{Arrived, Frames};

/// The bytes of an HTTP/2 connection. After a write has failed, everything that is written is discarded, and
/// reading tells how the connection ended.
#[derive(Debug)]
pub struct Http2Io {
    io: UpstreamIo,
    status: Arc<TransportStatus>,
    frames: Frames,
    /// Held until the connection is closed.
    _permit: Option<ConnectionPermit>,
}

/// What has been read and written on an HTTP/2 connection, and how it failed. The HTTP/2 library does not tell.
#[derive(Debug, Default)]
pub struct TransportStatus {
    read: AtomicUsize,
    frames: AtomicUsize,
    settings: AtomicBool,
    written: AtomicU64,
    write_failed: AtomicBool,
    goaway: AtomicBool,
    http1: AtomicBool,
    alert: OnceLock<rustls::Error>,
}

impl TransportStatus {
    /// How many bytes have arrived. The number wraps: it can only be compared with an earlier one.
    pub fn bytes_read(&self) -> usize {
        self.read.load(Relaxed)
    }

    /// What has arrived.
    pub fn arrived(&self) -> Arrived {
        Arrived {
            bytes: self.bytes_read(),
            frames: self.frames.load(Relaxed),
            has_settings: self.settings.load(Relaxed),
        }
    }

    /// How many bytes the system has accepted for sending.
    pub fn bytes_written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Whether nothing has been written since [`bytes_written`](Self::bytes_written) was this number. If so, nothing
    /// will be written any more, so that the caller can safely send the same elsewhere.
    pub fn stop_if_unwritten_since(&self, written: u64) -> bool {
        let is_unwritten = self.bytes_written() == written;
        if is_unwritten {
            self.write_failed.store(true, Relaxed);
        }
        is_unwritten
    }

    /// Whether a write has failed. Answers may still be read, but nothing more can be sent.
    pub fn has_write_failed(&self) -> bool {
        self.write_failed.load(Relaxed)
    }

    /// Whether the server has sent GOAWAY, which tells which requests it may have processed.
    pub fn has_goaway(&self) -> bool {
        self.goaway.load(Relaxed)
    }

    /// Whether what arrived begins like an HTTP/1 response, although HTTP/2 was expected.
    pub fn looks_like_http1(&self) -> bool {
        self.http1.load(Relaxed)
    }

    /// The TLS alert that ended the connection. The HTTP/2 library passes errors on only as text.
    pub fn alert(&self) -> Option<&rustls::Error> {
        self.alert.get()
    }

    fn record_error(&self, error: &io::Error) {
        let tls = error.get_ref().and_then(|e| e.downcast_ref());
        if let Some(alert @ rustls::Error::AlertReceived(_)) = tls {
            // Only the first alert counts.
            let _ = self.alert.set(alert.clone());
        }
    }
}

impl Http2Io {
    /// A connection on which nothing has failed yet.
    pub fn new(io: UpstreamIo) -> Self {
        Self {
            io,
            status: Arc::default(),
            frames: Frames::of_server(),
            _permit: None,
        }
    }

    /// The same, with the permit that is held until the connection is closed.
    pub(super) fn with_permit(permit: ConnectionPermit, io: UpstreamIo) -> Self {
        Self {
            _permit: Some(permit),
            ..Self::new(io)
        }
    }

    /// What has been read and written, for those who use the connection.
    pub fn status(&self) -> Arc<TransportStatus> {
        Arc::clone(&self.status)
    }

    fn after_write(
        &mut self,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        self.status.written.store(self.io.bytes_written(), Relaxed);
        Poll::Ready(Ok(ready!(polled).unwrap_or_else(|_| {
            self.status.write_failed.store(true, Relaxed);
            length
        })))
    }
}

impl AsyncRead for Http2Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let arrived = &buf.filled()[before..];
        self.frames.scan(arrived);
        let all = self.frames.arrived();
        self.status.frames.store(all.frames, Relaxed);
        self.status.settings.store(all.has_settings, Relaxed);
        self.status.goaway.store(self.frames.has_goaway(), Relaxed);
        let first = self.status.read.fetch_add(arrived.len(), Relaxed) == 0;
        if first && arrived.starts_with(b"HTTP/1") {
            self.status.http1.store(true, Relaxed);
        }
        Poll::Ready(read.inspect_err(|error| self.status.record_error(error)))
    }
}

impl AsyncWrite for Http2Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.status.has_write_failed() {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.after_write(polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.status.has_write_failed() {
            return Poll::Ready(Ok(length));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.after_write(polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.status.has_write_failed() {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.after_write(polled.map_ok(|()| 0), 0).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.status.has_write_failed() {
            // Otherwise TLS would still send what it has buffered.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn what_is_sent_elsewhere_is_never_written_here() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let mut io = Http2Io::new(UpstreamIo::Tcp(tcp.unwrap().into()));
        let status = io.status();
        io.write_all(b"sent").await.unwrap();
        assert!(!status.stop_if_unwritten_since(0));
        assert!(status.stop_if_unwritten_since(4));
        io.write_all(b"waited").await.unwrap();
        io.shutdown().await.unwrap();
        drop(io);
        let mut arrived = Vec::new();
        server.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived, b"sent");
    }

    #[tokio::test]
    async fn after_a_failed_write_the_answer_is_still_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let mut io = Http2Io::new(UpstreamIo::Tcp(tcp.unwrap().into()));
        let status = io.status();
        io.write_all(b"request").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        server.write_all(b"refused").await.unwrap();
        // Closed on unread bytes: a reset.
        drop(server);
        while !status.has_write_failed() {
            io.write_all(&[0; 1000]).await.unwrap();
        }
        io.write_all(b"nowhere").await.unwrap();
        assert_eq!(status.bytes_read(), 0);
        let mut answer = [0; 7];
        io.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, status.bytes_read()), (b"refused", 7));
        assert!(status.alert().is_none());
    }
}
