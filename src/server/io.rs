//! The bytes of a client connection, between the socket and the HTTP library.
//!
//! Sees what the library does not tell: that the first byte of a request has arrived, that a line
//! ends without CR, that a write is stuck, and what the library answers by itself when it refuses a request, so that this can be
//! said in our own words.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::frames::Frames;
use super::framing::{Framing, POISON, Scanned};
use crate::proxy::Client;

/// How the library begins its own refusals. They have no body.
const REFUSALS: [(&[u8], StatusCode); 3] = [
    (b"HTTP/1.1 400 ", StatusCode::BAD_REQUEST),
    (b"HTTP/1.1 414 ", StatusCode::URI_TOO_LONG),
    (
        b"HTTP/1.1 431 ",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ),
];
/// Longer than any of them.
const REFUSAL_BYTES: usize = 256;

/// A client's socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// What the watcher of a connection reads about its bytes.
#[derive(Debug, Default)]
pub struct Activity {
    /// The last write could not go out.
    pub blocked: AtomicBool,
    /// Bytes went out since this was last cleared.
    pub sent: AtomicBool,
    /// Something that looks like a refusal is held back: the connection must be polled again, and
    /// if it reads on, it was none.
    pub holding: AtomicBool,
    http2: bool,
    framing: Mutex<Framing>,
    frames: Mutex<Frames>,
}

impl Activity {
    /// Of a connection that speaks HTTP/2, or HTTP/1.1.
    pub fn new(http2: bool) -> Self {
        let framing = match http2 {
            true => Framing::opaque(),
            false => Framing::default(),
        };
        Self {
            http2,
            framing: Mutex::new(framing),
            ..Self::default()
        }
    }

    /// Which head has come in part: numbers tell those of one HTTP/2 connection apart.
    pub fn in_head(&self) -> Option<u64> {
        match self.http2 {
            true => self.frames().in_head(),
            false => self.framing().in_head().then_some(0),
        }
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where in its requests the connection is. One thread has it: nobody ever waits.
    pub fn framing(&self) -> MutexGuard<'_, Framing> {
        self.framing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket of one client.
#[derive(Debug)]
pub struct ClientIo {
    stream: Stream,
    client: Arc<Client>,
    activity: Arc<Activity>,
    /// Read ahead: to tell HTTP/1.1 from HTTP/2, or behind a head.
    ahead: Bytes,
    http2: bool,
    held: Option<(StatusCode, Bytes)>,
    /// An interim response that is being sent.
    interim: Bytes,
}

impl ClientIo {
    /// A socket of which `ahead` has been read already, and shows the version of the protocol.
    pub fn new(
        stream: Stream,
        client: Arc<Client>,
        activity: Arc<Activity>,
        ahead: Bytes,
        http2: bool,
    ) -> Self {
        Self {
            stream,
            client,
            activity,
            ahead,
            http2,
            held: None,
            interim: Bytes::new(),
        }
    }

    /// The library's refusal, if that is what it ended with; it has not been sent.
    pub fn take_refusal(&mut self) -> Option<StatusCode> {
        self.held.take().map(|(status, _)| status)
    }

    /// Sends what is held back, which was no refusal, and closes.
    ///
    /// # Errors
    /// Nobody is left to read.
    pub async fn end(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_held(cx)).await?;
        self.shutdown().await
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((_, held)) = &mut self.held {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, held))?;
            held.advance(written);
            if held.is_empty() {
                self.held = None;
                self.activity.holding.store(false, Relaxed);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the upstream says before its response. The library has written everything else
    /// by then, unless a write is stuck: then these hints would end up in the middle of it, and are
    /// left out.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty()
            && let Some(interim) = self.client.take_interim()
            && !self.activity.blocked.load(Relaxed)
        {
            self.interim = interim.into();
        }
        while !self.interim.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_write(cx, &self.interim);
            let written = ready!(self.written(polled))?;
            self.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn put_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(length));
    }

    /// Where a refusal of the library's begins in what it writes.
    fn refusal(&self, buf: &[u8]) -> Option<(usize, StatusCode)> {
        if self.http2 || !buf.ends_with(b"\r\n\r\n") || self.client.in_flight() > 0 {
            return None;
        }
        let tail = buf.len().saturating_sub(REFUSAL_BYTES);
        let at = tail
            + buf[tail..]
                .windows(9)
                .rposition(|window| window == b"HTTP/1.1 ")?;
        let known = REFUSALS
            .iter()
            .find(|(start, _)| buf[at..].starts_with(start))?;
        Some((at, known.1))
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.blocked.store(polled.is_pending(), Relaxed);
        if polled.is_ready() {
            self.activity.sent.store(true, Relaxed);
        }
        polled
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_some() {
            ready!(self.poll_held(cx))?;
        }
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            self.put_ahead(buf);
        }
        let read = &buf.filled()[before..];
        if self.http2 {
            self.activity.frames().scan(read);
            return Poll::Ready(Ok(()));
        }
        let scanned = self.activity.framing().scan(read);
        match scanned {
            Scanned::Pass(length) if length == read.len() => {}
            Scanned::Pass(length) => {
                let mut behind = BytesMut::from(&read[length..]);
                behind.extend_from_slice(&self.ahead);
                self.ahead = behind.freeze();
                buf.set_filled(before + length);
            }
            Scanned::Poison(length) => {
                self.ahead = Bytes::from_static(POISON);
                buf.set_filled(before + length);
                if length == 0 {
                    // Nothing at all would be the end.
                    self.put_ahead(buf);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.is_some() {
            ready!(self.poll_held(cx))?;
        }
        ready!(self.poll_interim(cx))?;
        match self.refusal(buf) {
            Some((0, status)) => {
                self.held = Some((status, Bytes::copy_from_slice(buf)));
                self.activity.holding.store(true, Relaxed);
                Poll::Ready(Ok(buf.len()))
            }
            Some((at, _)) => {
                let polled = Pin::new(&mut self.stream).poll_write(cx, &buf[..at]);
                self.written(polled)
            }
            None => {
                let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
                self.written(polled)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        // A refusal stands alone, or behind what is left of the response before it.
        if let (Some(only), None) = (filled.next(), filled.next()) {
            return self.poll_write(cx, only);
        }
        if self.held.is_some() {
            ready!(self.poll_held(cx))?;
        }
        ready!(self.poll_interim(cx))?;
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets do not buffer here.
        self.poll_interim(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_some() {
            // Perhaps the end of a refused request: whoever drives the connection knows, and ends it.
            return Poll::Ready(Ok(()));
        }
        if self.client.is_reset() {
            // A FIN before the reset would look like the proper end.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if let Stream::Tcp(stream) = &self.stream
            && !self.http2 // There a stream is reset, and the others go on to their end.
            && self.client.is_reset()
        {
            // A close without FIN: what was sent must not look complete. Closing works either way.
            let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
