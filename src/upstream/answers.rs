//! A connection whose answer is read even when nobody takes the rest of the request.
//!
//! A server that refuses an upload in the middle often closes at once, which resets the
//! connection. The next write then fails while the refusal waits to be read; the library of HTTP/2
//! would take the failed write for the end of everything.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;
use super::places::Place;
use crate::http2::{Arrived, Frames};

/// After a write has failed, writes go nowhere, and reading tells how the connection ended.
#[derive(Debug)]
pub struct Answers {
    io: Io,
    wire: Arc<Wire>,
    frames: Frames,
    /// Held until the connection is closed.
    _place: Option<Place>,
}

/// What has become of a connection's bytes: the library of HTTP/2 does not tell.
#[derive(Debug, Default)]
pub struct Wire {
    read: AtomicUsize,
    frames: AtomicUsize,
    written: AtomicU64,
    unheard: AtomicBool,
    goaway: AtomicBool,
    http1: AtomicBool,
    alert: OnceLock<rustls::Error>,
}

impl Wire {
    /// How many bytes have arrived. It wraps: compare with what it was.
    pub fn read(&self) -> usize {
        self.read.load(Relaxed)
    }

    /// What has arrived, as HTTP/2.
    pub fn arrived(&self) -> Arrived {
        Arrived {
            bytes: self.read(),
            frames: self.frames.load(Relaxed),
        }
    }

    /// How many bytes the system has taken.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Whether nothing has been written since it was so many bytes. If so, nothing will be: what waits is
    /// to be sent elsewhere.
    pub fn stays_at(&self, written: u64) -> bool {
        let stays = self.written() == written;
        if stays {
            self.unheard.store(true, Relaxed);
        }
        stays
    }

    /// Whether a write has failed: the connection may still answer, but hears nothing more.
    pub fn is_unheard(&self) -> bool {
        self.unheard.load(Relaxed)
    }

    /// Whether the server has said by GOAWAY which requests it may have acted on.
    pub fn has_goaway(&self) -> bool {
        self.goaway.load(Relaxed)
    }

    /// Whether what arrived began as an answer of HTTP/1 does, whatever was to be spoken.
    pub fn begins_http1(&self) -> bool {
        self.http1.load(Relaxed)
    }

    /// The TLS alert that ended it. HTTP/2 passes errors on as text alone.
    pub fn alert(&self) -> Option<&rustls::Error> {
        self.alert.get()
    }

    fn failed(&self, error: &io::Error) {
        let tls = error.get_ref().and_then(|e| e.downcast_ref());
        if let Some(alert @ rustls::Error::AlertReceived(_)) = tls {
            // The first says it all.
            let _ = self.alert.set(alert.clone());
        }
    }
}

impl Answers {
    /// A connection that has not failed.
    pub fn new(io: Io) -> Self {
        Self {
            io,
            wire: Arc::default(),
            frames: Frames::of_server(),
            _place: None,
        }
    }

    /// The same, one of a limited number.
    pub(super) fn holding(place: Place, io: Io) -> Self {
        Self {
            _place: Some(place),
            ..Self::new(io)
        }
    }

    /// What becomes of its bytes, for whoever uses the connection.
    pub fn wire(&self) -> Arc<Wire> {
        Arc::clone(&self.wire)
    }

    fn written(
        &mut self,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        self.wire.written.store(self.io.written(), Relaxed);
        Poll::Ready(Ok(ready!(polled).unwrap_or_else(|_| {
            self.wire.unheard.store(true, Relaxed);
            length
        })))
    }
}

impl AsyncRead for Answers {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let arrived = &buf.filled()[before..];
        self.frames.scan(arrived);
        let frames = self.frames.arrived().frames;
        self.wire.frames.store(frames, Relaxed);
        self.wire.goaway.store(self.frames.has_goaway(), Relaxed);
        let first = self.wire.read.fetch_add(arrived.len(), Relaxed) == 0;
        if first && arrived.starts_with(b"HTTP/1") {
            self.wire.http1.store(true, Relaxed);
        }
        Poll::Ready(read.inspect_err(|error| self.wire.failed(error)))
    }
}

impl AsyncWrite for Answers {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.wire.is_unheard() {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.wire.is_unheard() {
            return Poll::Ready(Ok(length));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_unheard() {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.written(polled.map_ok(|()| 0), 0).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_unheard() {
            // Else TLS would still send what it holds.
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
    async fn what_was_not_written_when_it_is_sent_elsewhere_never_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let mut answers = Answers::new(Io::Tcp(tcp.unwrap().into()));
        let wire = answers.wire();
        answers.write_all(b"sent").await.unwrap();
        assert!(!wire.stays_at(0));
        assert!(wire.stays_at(4));
        answers.write_all(b"waited").await.unwrap();
        answers.shutdown().await.unwrap();
        drop(answers);
        let mut arrived = Vec::new();
        server.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived, b"sent");
    }

    #[tokio::test]
    async fn after_a_failed_write_the_answer_is_read_and_it_is_known_that_nothing_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let mut answers = Answers::new(Io::Tcp(tcp.unwrap().into()));
        let wire = answers.wire();
        answers.write_all(b"request").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        server.write_all(b"refused").await.unwrap();
        // Closed on unread bytes: a reset.
        drop(server);
        while !wire.is_unheard() {
            answers.write_all(&[0; 1000]).await.unwrap();
        }
        answers.write_all(b"nowhere").await.unwrap();
        assert_eq!(wire.read(), 0);
        let mut answer = [0; 7];
        answers.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, wire.read()), (b"refused", 7));
        assert!(wire.alert().is_none());
    }
}
