//! Servers that are dialled in memory, for tests on paused time.
//!
//! What is dialled on the thread of a test leads to such a server if it listens at the address, and else to
//! the network.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::{mpsc, oneshot};

/// What a connection holds in each direction until it is read.
const CAPACITY: usize = 64 << 10;

thread_local! {
    static SERVERS: RefCell<HashMap<SocketAddr, mpsc::UnboundedSender<ServerEndSender>>> = RefCell::default();
}

type ServerEndSender = oneshot::Sender<DuplexStream>;

/// A server that is dialled in memory. Once it is dropped, its address refuses.
#[derive(Debug)]
pub struct InMemoryListener(mpsc::UnboundedReceiver<ServerEndSender>);

impl InMemoryListener {
    /// Listens at an address, for what is dialled on this thread.
    pub fn bind(address: SocketAddr) -> Self {
        let (dialed, dials) = mpsc::unbounded_channel();
        SERVERS.with_borrow_mut(|servers| servers.insert(address, dialed));
        Self(dials)
    }

    /// The next connection. A dialler waits until it is accepted.
    pub async fn accept(&mut self) -> DuplexStream {
        loop {
            let dialed = self.dialed().await;
            let (near, far) = duplex(CAPACITY);
            // A dialler that has given up gets no connection.
            if dialed.send(far).is_ok() {
                return near;
            }
        }
    }

    /// The next dial. While this is kept, the dialler waits.
    pub async fn dialed(&mut self) -> ServerEndSender {
        let dialed = self.0.recv().await;
        dialed.expect("the address listens for as long as this is there")
    }
}

/// A connection to such a server.
#[derive(Debug)]
pub struct InMemoryPipe {
    stream: DuplexStream,
    address: SocketAddr,
}

/// Dials; `None` if nothing in memory has this address.
pub(super) async fn dial(address: SocketAddr) -> Option<io::Result<InMemoryPipe>> {
    let server = SERVERS.with_borrow(|servers| servers.get(&address).cloned())?;
    let (dialed, accepted) = oneshot::channel();
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    if server.send(dialed).is_err() {
        return Some(Err(refused()));
    }
    let stream = accepted.await.map_err(|_| refused());
    Some(stream.map(|stream| InMemoryPipe { stream, address }))
}

impl InMemoryPipe {
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    /// Reads what has come, without waiting.
    pub(super) fn read_now(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut read = ReadBuf::new(bytes);
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(done) => done.map(|()| read.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsyncRead for InMemoryPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for InMemoryPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
