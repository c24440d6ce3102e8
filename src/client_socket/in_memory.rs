//! A socket that lives in memory and behaves as badly as the contract of a client's socket allows.

use std::task::Waker;

use tokio::io::DuplexStream;

use super::*;

/// What a test may use as a client's socket.
pub trait InMemory: AsyncRead + AsyncWrite + fmt::Debug + Unpin {}

impl<S: AsyncRead + AsyncWrite + fmt::Debug + Unpin> InMemory for S {}

/// Holds everything back until it is flushed, as TLS may do; takes no vectored writes.
#[derive(Debug)]
pub struct HoldsUntilFlushed {
    pipe: DuplexStream,
    held: Vec<u8>,
    /// The most that is held.
    room: usize,
}

impl HoldsUntilFlushed {
    /// Writes to `pipe`, and holds at most `room` bytes.
    pub fn new(pipe: DuplexStream, room: usize) -> Self {
        let held = Vec::new();
        Self { pipe, held, room }
    }
}

impl AsyncRead for HoldsUntilFlushed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for HoldsUntilFlushed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() == self.room {
            std::task::ready!(self.as_mut().poll_flush(cx))?;
        }
        let length = buf.len().min(self.room - self.held.len());
        self.held.extend_from_slice(&buf[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.held.is_empty() {
            let pipe = Pin::new(&mut this.pipe);
            let written = std::task::ready!(pipe.poll_write(cx, &this.held))?;
            this.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Wakes only the task that polled it last, be it to read or to write: TLS may have to read for a write, and to write
/// for a read.
#[derive(Debug)]
pub struct WakesLast<S> {
    socket: S,
    last: std::sync::Arc<Last>,
}

#[derive(Debug, Default)]
struct Last(std::sync::Mutex<Option<Waker>>);

impl std::task::Wake for Last {
    fn wake(self: std::sync::Arc<Self>) {
        let last = self.0.lock().unwrap().take();
        last.into_iter().for_each(Waker::wake);
    }
}

impl<S> WakesLast<S> {
    /// Behaves as `socket` does in every other way.
    pub fn new(socket: S) -> Self {
        let last = std::sync::Arc::default();
        Self { socket, last }
    }

    fn register(&self, cx: &Context<'_>) -> Waker {
        *self.last.0.lock().unwrap() = Some(cx.waker().clone());
        std::sync::Arc::clone(&self.last).into()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WakesLast<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let waker = self.register(cx);
        Pin::new(&mut self.socket).poll_read(&mut Context::from_waker(&waker), buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WakesLast<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waker = self.register(cx);
        Pin::new(&mut self.socket).poll_write(&mut Context::from_waker(&waker), buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = self.register(cx);
        Pin::new(&mut self.socket).poll_flush(&mut Context::from_waker(&waker))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = self.register(cx);
        Pin::new(&mut self.socket).poll_shutdown(&mut Context::from_waker(&waker))
    }
}
