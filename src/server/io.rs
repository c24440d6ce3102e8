//! The bytes of a client connection of HTTP/2, between the socket and the HTTP library. Sees what the
//! library does not tell: that a request head has begun, and that a write is stuck.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::{Arrived, Frames};
use crate::stream::Stream;

/// What the watcher of a connection reads about its bytes.
#[derive(Debug)]
pub struct Activity {
    /// The last write could not go out.
    pub blocked: Cell<bool>,
    /// Bytes went out since this was last taken.
    pub sent: Cell<bool>,
    frames: RefCell<Frames>,
}

impl Activity {
    /// Of a connection of which nothing has been read.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            blocked: Cell::new(false),
            sent: Cell::new(false),
            frames: RefCell::new(Frames::of_client()),
        })
    }

    /// What has come.
    pub fn arrived(&self) -> Arrived {
        self.frames.borrow().arrived()
    }

    /// Which head has come in part: numbers tell them apart.
    pub fn in_head(&self) -> Option<u64> {
        self.frames.borrow().in_head()
    }
}

/// The socket of one client.
#[derive(Debug)]
pub struct ClientIo {
    stream: Stream,
    activity: Rc<Activity>,
    /// Read ahead, to tell HTTP/1.1 from HTTP/2.
    ahead: Bytes,
}

impl ClientIo {
    /// A socket of which `ahead` has been read already.
    pub fn new(stream: Stream, activity: Rc<Activity>, ahead: Bytes) -> Self {
        Self {
            stream,
            activity,
            ahead,
        }
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.blocked.set(polled.is_pending());
        if polled.is_ready() {
            self.activity.sent.set(true);
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
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(length));
        }
        self.activity
            .frames
            .borrow_mut()
            .scan(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets do not buffer here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
