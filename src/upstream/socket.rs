//! The socket of a connection to a server.

use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

#[cfg(test)]
use super::in_memory::InMemoryPipe;

/// A socket that counts the bytes that the system has accepted for sending.
#[derive(Debug)]
pub struct CountingSocket {
    socket: Socket,
    written: u64,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    /// A pipe in memory, for tests.
    #[cfg(test)]
    Memory(InMemoryPipe),
}

/// Does the same with a socket of whatever kind.
macro_rules! for_each_kind {
    ($counting:expr, $socket:ident => $work:expr) => {
        match $counting {
            Socket::Tcp($socket) => $work,
            #[cfg(test)]
            Socket::Memory($socket) => $work,
        }
    };
}

/// What the system has received of a socket, read without waiting. While there is nothing, a read fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
pub(super) struct ReadNow<'a>(&'a mut Socket);

impl Read for ReadNow<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Socket::Tcp(tcp) => (&*SockRef::from(&*tcp)).read(bytes),
            #[cfg(test)]
            Socket::Memory(pipe) => pipe.read_now(bytes),
        }
    }
}

impl From<TcpStream> for CountingSocket {
    fn from(tcp: TcpStream) -> Self {
        Socket::Tcp(tcp).into()
    }
}

#[cfg(test)]
impl From<InMemoryPipe> for CountingSocket {
    fn from(pipe: InMemoryPipe) -> Self {
        Socket::Memory(pipe).into()
    }
}

impl From<Socket> for CountingSocket {
    fn from(socket: Socket) -> Self {
        Self { socket, written: 0 }
    }
}

impl CountingSocket {
    /// How many bytes the system has accepted for sending so far.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// The address that it is connected to.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        for_each_kind!(&self.socket, socket => socket.peer_addr())
    }

    /// Reads without waiting.
    pub(super) fn now(&mut self) -> ReadNow<'_> {
        ReadNow(&mut self.socket)
    }

    /// Whether the runtime knows that something has come. What has come since it looked is unknown to it.
    pub(super) fn is_known_readable(&self) -> bool {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.try_io(Interest::READABLE, || Ok(())).is_ok(),
            #[cfg(test)]
            Socket::Memory(_) => true,
        }
    }

    /// When it is closed from now on, it is reset. If this fails, it is closed without a reset.
    pub(super) fn reset_at_close(&self) {
        if let Some(tcp) = self.tcp() {
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// The TCP socket below, if there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.socket {
            Socket::Tcp(tcp) => Some(tcp),
            #[cfg(test)]
            Socket::Memory(_) => None,
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(length)) = polled {
            self.written += *length as u64;
        }
    }
}

impl AsyncRead for CountingSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        for_each_kind!(&mut self.socket, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for CountingSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled =
            for_each_kind!(&mut self.socket, socket => Pin::new(socket).poll_write(cx, buf));
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = for_each_kind!(
            &mut self.socket,
            socket => Pin::new(socket).poll_write_vectored(cx, bufs)
        );
        self.wrote(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        for_each_kind!(&self.socket, socket => socket.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for_each_kind!(&mut self.socket, socket => Pin::new(socket).poll_shutdown(cx))
    }
}
