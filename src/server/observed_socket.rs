//! The bytes of a client connection of HTTP/2, between the socket and the HTTP library. What the library
//! does not tell is seen here: that a request head has begun, and that a write cannot go out.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client_socket::ClientSocket;
use crate::http2::{Arrived, Frames};

/// What has been seen of the bytes of a connection.
#[derive(Debug)]
pub struct SocketActivity {
    /// What was last written or flushed could not go out.
    pub is_write_blocked: Cell<bool>,
    /// Bytes were written since this was last taken.
    pub has_written: Cell<bool>,
    frames: RefCell<Frames>,
}

impl SocketActivity {
    /// Nothing has come or gone yet.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            is_write_blocked: Cell::new(false),
            has_written: Cell::new(false),
            frames: RefCell::new(Frames::of_client()),
        })
    }

    /// The frames that have come so far.
    pub fn arrived(&self) -> Arrived {
        self.frames.borrow().arrived()
    }

    /// The number of the request head of which a part has come, if there is one.
    pub fn partial_head(&self) -> Option<u64> {
        self.frames.borrow().unfinished_head()
    }
}

/// The socket of one client, of which the bytes are observed.
#[derive(Debug)]
pub struct ObservedSocket {
    socket: ClientSocket,
    activity: Rc<SocketActivity>,
    /// Read ahead, to tell HTTP/1.1 from HTTP/2.
    read_ahead: Bytes,
}

impl ObservedSocket {
    /// A socket of which `read_ahead` has been read already.
    pub fn new(socket: ClientSocket, activity: Rc<SocketActivity>, read_ahead: Bytes) -> Self {
        Self {
            socket,
            activity,
            read_ahead,
        }
    }

    fn note_write(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.is_write_blocked.set(polled.is_pending());
        if polled.is_ready() {
            self.activity.has_written.set(true);
        }
        polled
    }
}

impl AsyncRead for ObservedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.read_ahead.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        } else {
            let length = self.read_ahead.len().min(buf.remaining());
            buf.put_slice(&self.read_ahead.split_to(length));
        }
        self.activity
            .frames
            .borrow_mut()
            .scan(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ObservedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note_write(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note_write(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        self.activity.is_write_blocked.set(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
